"""How batches come to the devices: sent with every call, or taken from images that stay there."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from fgsam_jax import processes
from fgsam_jax.config import Compute
from fgsam_jax.sets import Batches, Feed, StreamedBatches
from fgsam_jax.step import replicate


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
