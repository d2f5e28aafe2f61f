"""Training images that stay on the devices, where they have room for them beside the step."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from fgsam_jax.runtime import distributed
from fgsam_jax.runtime.distributed import replicate

_USABLE = 0.9  # of what is free: not all of it is in one piece, and the step asks for one


def placed_beside(
    columns: dict[str, Any], lower: Callable[[dict[str, Any]], jax.stages.Lowered]
) -> dict[str, Any]:
    """The columns on every device; nothing where one has no room for them beside the step.

    The step is compiled for that, and the first call finds the program. It takes the columns
    themselves: of several processes `pmap` lowers for nothing less.
    """
    usable = _USABLE * _free()
    leaves = jax.tree.leaves(columns)
    size = sum(math.prod(column.shape) * column.dtype.itemsize for column in leaves)
    if not distributed.all_agree(size <= usable):  # all must run one program
        return {}
    found = placed(columns)
    return found if distributed.all_agree(size + _needed(lower(found)) <= usable) else {}


def placed(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns on every device, as `pmap` takes them with `in_axes=None`."""
    return replicate(jax.tree.map(np.asarray, columns))


def _free() -> int:
    """Bytes that every device has; 0 for CPUs: they do not say, and images are as near to them."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    return min(x.get("bytes_limit", 0) - x.get("bytes_in_use", 0) for x in stats)


def _needed(step: jax.stages.Lowered) -> int:
    """Bytes that a step takes on every device beside what it is given."""
    found: Any = step.compile().memory_analysis()
    return found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
