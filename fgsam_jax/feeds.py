"""How batches come to the devices: sent with every call, or taken from images that stay there."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from fgsam_jax import processes
from fgsam_jax.config import Compute
from fgsam_jax.sets import Batches, Feed, StreamedBatches
from fgsam_jax.step import replicate

_USABLE = 0.9  # of what is free: not all of it is in one piece, and the step asks for one


def feeds_of(
    batches: Batches | StreamedBatches,
    first: int,
    last: int,
    compute: Compute,
    lower: Callable[[dict[str, Any], Any, int], jax.stages.Lowered],
) -> tuple[dict[str, Any], Iterator[Feed]]:
    """What `parallel_train_steps` is given for the steps first, ..., last - 1.

    Args:
      batches: of the phase, whose state is on the devices already.
      first, last: steps.
      compute: how the devices work.
      lower: columns, feed and count to the program that a call with them runs.

    Returns:
      The columns that stay on the devices, empty where batches are sent instead, and the feeds.
    """
    length = compute.steps_per_call or (1 if jax.default_backend() == "cpu" else 10)
    length = min(length, batches.per_epoch)
    if not isinstance(batches, Batches):
        return {}, batches.feeds(first, last, length)
    columns: dict[str, Any] = {}
    if compute.resident == "yes":
        columns = _placed(batches.columns)
    if compute.resident == "auto":
        rows = np.stack([batches.rows(first)] * length, axis=1)
        columns = _placed_beside(batches.columns, lambda placed: lower(placed, rows, length))
    return columns, batches.feeds(first, last, length, rows=bool(columns))


def _placed_beside(
    columns: dict[str, Any], lower: Callable[[dict[str, Any]], jax.stages.Lowered]
) -> dict[str, Any]:
    """The columns on every device; nothing where one has no room for them beside the step.

    The step is compiled for that, and the first call finds the program. It takes the columns
    themselves: of several processes `pmap` lowers for nothing less.
    """
    usable = _USABLE * _free()
    leaves = jax.tree.leaves(columns)
    size = sum(math.prod(column.shape) * column.dtype.itemsize for column in leaves)
    if not processes.all_agree(size <= usable):  # all must run one program
        return {}
    placed = _placed(columns)
    return placed if processes.all_agree(size + _needed(lower(placed)) <= usable) else {}


def _placed(columns: dict[str, Any]) -> dict[str, Any]:
    return replicate(jax.tree.map(np.asarray, columns))


def _free() -> int:
    """Bytes that every device has; 0 for CPUs: they do not say, and images are as near to them."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    return min(x.get("bytes_limit", 0) - x.get("bytes_in_use", 0) for x in stats)


def _needed(step: jax.stages.Lowered) -> int:
    """Bytes that a step takes on every device beside what it is given."""
    found: Any = step.compile().memory_analysis()
    return found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
