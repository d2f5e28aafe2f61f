"""What the frozen beginning of the pose net gives for the training images, computed once and kept.

While neither its trunk nor its first stage is trained, and images are changed by mirroring alone,
these see only two forms of each image. `tools/benchmark.py --section counted` says what share of
a step's arithmetic they are.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from fgsam_jax import build, processes
from fgsam_jax.errors import InputError


def first_maps(
    pose: Callable[[Any, jax.Array], jax.Array],
    variables: Any,
    images: Any,
    batch: int,
    *,
    title: str | None = None,
) -> np.ndarray:
    """`models.pose.Pose.first` of images and of their mirrored forms.

    Args:
      pose: variables and images [batch, height, width, 3] to the maps [batch, h, w, channels].
      variables: of the pose net.
      images: uint8 [n, height, width, 3].
      batch: images at a time.
      title: of a progress bar.

    Returns:
      [n, 2, h, w, channels] in the type of the maps, first of the image as it is.

    Raises:
      InputError: there is not enough memory.
    """

    @jax.jit
    def both(variables: Any, rows: jax.Array) -> jax.Array:
        return jnp.stack([pose(variables, x) for x in (rows, rows[:, :, ::-1])], axis=1)

    shape = jax.eval_shape(both, variables, np.asarray(images[:1]))
    try:
        kept = np.empty((len(images), *shape.shape[1:]), shape.dtype)
    except MemoryError:
        size = len(images) * int(np.prod(shape.shape)) * shape.dtype.itemsize / 2**30
        raise InputError(
            f"the kept maps would take {size:.1f} GiB: use config.compute.keep_pose=False"
        ) from None
    silent = None if title and processes.first() else True
    for start in tqdm(range(0, len(images), batch), title, leave=False, disable=silent):
        rows = np.asarray(images[start : start + batch])
        filled = np.resize(rows, (batch, *rows.shape[1:]))  # one compiled program serves all
        kept[start : start + batch] = both(variables, filled)[: len(rows)]
    return kept


def keep_first_maps(about: build.About, params: Any, columns: dict[str, Any]) -> None:
    """Add to a phase's columns the `first_maps` of their images.

    Args:
      about: the phase.
      params: of its pose net.
      columns: "image"; gets "first".

    Raises:
      InputError: there is not enough memory.
    """
    net = about.model().pose
    columns["first"] = processes.agreed(
        lambda: first_maps(
            lambda variables, images: net.apply(variables, images).first,
            {"params": jax.device_get(params)},
            columns["image"],
            about.config.evaluation_batch,
            title=f"{about.phase}: maps to keep",
        )
    )
