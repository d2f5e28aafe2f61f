"""What a run computes on, and the memory that it takes."""

import os
import resource
import sys
from typing import Any

import jax


def machine() -> dict[str, Any]:
    """The devices of this process, and of how many processes it is."""
    first = jax.local_devices()[0]
    return {
        "platform": first.platform,
        "device": first.device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "cores": os.cpu_count(),
    }


def peak_memory() -> dict[str, int]:
    """The most memory in bytes that this process has held: "host" and, if it is told, "device"."""
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"host": unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        found["device"] = stats["peak_bytes_in_use"]
    return found
