"""What the frozen beginning of the pose net gives for the training images, computed once and kept.

While neither its trunk nor its first stage is trained, and images are changed by mirroring alone,
these see only two forms of each image. At full size they are 29 % of the arithmetic of a step of
the last phase; the maps of Market-1501's 12,936 images take 4.9 GB in bfloat16.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from fgsam_jax.errors import InputError


def first_maps(
    pose: Callable[[Any], jax.Array], images: Any, batch: int, *, title: str | None = None
) -> np.ndarray:
    """`models.pose.Pose.first` of images and of their mirrored forms.

    Args:
      pose: images [batch, height, width, 3] to the maps [batch, h, w, channels].
      images: uint8 [n, height, width, 3].
      batch: images at a time.
      title: of a progress bar.

    Returns:
      [n, 2, h, w, channels] in the type of the maps, first of the image as it is.

    Raises:
      InputError: there is not enough memory.
    """

    @jax.jit
    def both(rows: jax.Array) -> jax.Array:
        return jnp.stack([pose(rows), pose(rows[:, :, ::-1])], axis=1)

    shape = jax.eval_shape(both, np.asarray(images[:1]))
    try:
        kept = np.empty((len(images), *shape.shape[1:]), shape.dtype)
    except MemoryError:
        size = len(images) * int(np.prod(shape.shape)) * shape.dtype.itemsize / 2**30
        raise InputError(
            f"the kept maps would take {size:.1f} GiB: use config.compute.keep_pose=False"
        ) from None
    for start in tqdm(range(0, len(images), batch), title, leave=False, disable=title is None):
        rows = np.asarray(images[start : start + batch])
        filled = np.resize(rows, (batch, *rows.shape[1:]))  # one compiled program serves all
        kept[start : start + batch] = both(filled)[: len(rows)]
    return kept
