"""What is made once for all steps: the pose net's frozen beginning, and images on the devices."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from fgsam_jax import build, processes
from fgsam_jax.config import Compute
from fgsam_jax.errors import InputError
from fgsam_jax.sets import Batches, Feed, StreamedBatches
from fgsam_jax.step import replicate


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


def keep_first_maps(about: build.About, variables: Any, columns: dict[str, Any]) -> None:
    """Add to a phase's columns what the beginning of its pose net gives for their images.

    While neither its trunk nor its first stage is trained, and images are changed by mirroring
    alone, these see only two forms of each image. `tools/benchmark.py --section counted` says what
    share of a step's arithmetic they are.

    Args:
      about: the phase.
      variables: the parameters of its pose net.
      columns: "image"; gets "first".

    Raises:
      InputError: there is not enough memory.
    """
    net = about.model().pose
    columns["first"] = processes.agreed(
        lambda: first_maps(
            lambda variables, images: net.apply(variables, images).first,
            {"params": jax.device_get(variables)},
            columns["image"],
            about.config.evaluation_batch,
            title=f"{about.phase}: maps to keep",
        )
    )


def feeds_of(
    batches: Batches | StreamedBatches, first: int, last: int, compute: Compute
) -> tuple[dict[str, Any], Iterator[Feed]]:
    """What `parallel_train_steps` is given for the steps first, ..., last - 1.

    Returns:
      The columns that stay on the devices, empty where batches are sent instead, and the feeds.
    """
    length = compute.steps_per_call or (1 if jax.default_backend() == "cpu" else 10)
    length = min(length, batches.per_epoch)
    if not isinstance(batches, Batches) or compute.resident == "no":
        return {}, batches.feeds(first, last, length)
    # All processes must run one program.
    if compute.resident == "auto" and not processes.all_agree(_fits(batches.columns)):
        return {}, batches.feeds(first, last, length)
    columns = replicate(jax.tree.map(np.asarray, batches.columns))
    return columns, batches.feeds(first, last, length, rows=True)


def _fits(columns: dict[str, Any]) -> bool:
    """Whether the columns take at most a quarter of what is free on every device.

    Of a CPU nothing is known, and there the memory-mapped images are as near.
    """
    leaves = jax.tree.leaves(columns)
    needed = sum(math.prod(column.shape) * column.dtype.itemsize for column in leaves)
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    free = [x.get("bytes_limit", 0) - x.get("bytes_in_use", 0) for x in stats]
    return 4 * needed <= min(free)
