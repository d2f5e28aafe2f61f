"""What a process asks of Python, of glibc and of XLA before it computes."""

import ctypes
import gc
import hashlib
import os
import platform
import sys
from pathlib import Path


def tune() -> None:
    """Call it before JAX is imported: it makes starts quicker and steps faster."""
    _collect_rarely()
    _keep_freed_memory()
    _keep_programs()


def free_memory() -> None:
    """Give the system what is not in use, between two models.

    The gaps that one model's buffers leave do not fit those of the next: kept as `tune` asks, they
    add up to tens of GB over the phases of a run.
    """
    gc.collect()  # cycles hold device memory
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _collect_rarely() -> None:
    """Let Python look for cycles of garbage after 50,000 new objects instead of 700 or 2,000.

    Importing and tracing make very many objects that stay; looking through them again and again
    takes a tenth of a start.
    """
    gc.set_threshold(50_000, 20, 100)


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of returning it to the system.

    XLA's CPU buffers come and go with every step, and getting their pages anew takes up to 0.4 of
    it. All threads share one arena, as XLA's own threads ask for the buffers and other arenas are
    given back whole.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, top_pad, mmap_threshold, arena_max = -1, -2, -3, -8
        mallopt(arena_max, 1)
        mallopt(mmap_threshold, -1)  # never; a step's buffers together may be of several GB
        mallopt(trim_threshold, -1)
        mallopt(top_pad, 2**28)


def _keep_programs() -> None:
    """Keep compiled programs between runs, unless JAX_COMPILATION_CACHE_DIR says where already.

    Without a home folder that can be written to, in a container say, none are kept.
    """
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        try:
            folder = Path("~/.cache/fgsam_jax/programs").expanduser() / _processor()
            folder.mkdir(parents=True, exist_ok=True)
        except (RuntimeError, OSError):
            return
        if not os.access(folder, os.W_OK):
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _processor() -> str:
    """A short name for what the processor can do: a program may not run on another kind.

    Homes are often shared by the machines of a cluster.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"
