"""What a run computes on, and the memory that it takes."""

import os
import resource
import sys
from pathlib import Path
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
    found = {"host": _resident()}
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        found["device"] = stats["peak_bytes_in_use"]
    return found


def _resident() -> int:
    """The most bytes of host memory; Linux's `getrusage` would count the starting process too."""
    if sys.platform.startswith("linux"):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
