"""How one of several processes ends: at once and in one line, also when another is lost.

JAX ends a process whose coordinator has gone, or tells of another's loss, by abort() in a thread of
C++ and behind a page of log lines; and a process that ends on its own would wait at its exit for
the others, which wait for it.
"""

import ctypes
import faulthandler
import io
import os
import signal
import sys
import threading
import time
from typing import BinaryIO, NoReturn

LOST = (
    "error: another process of this run has ended, its own message says why; "
    "the same command goes on from the last checkpoint"
)
# What the errors of collectives, and of JAX about its other processes, have in them.
_SIGNS = ("Gloo", "NCCL", "oordination service", "distributed service", "UNAVAILABLE")
_ENDING = threading.Lock()  # never released: the first thread to end the process does
_told = threading.Event()  # JAX has logged that a process is lost
_kept: list[object] = []  # the handler must not be collected


def is_loss(error: BaseException) -> bool:
    """Whether an error of JAX says that another process has gone."""
    return isinstance(error, RuntimeError | ValueError) and any(x in str(error) for x in _SIGNS)


def leave(text: str, status: int, *, first: bool) -> NoReturn:
    """End this process now, behind a line; the first waits for the others to tell their own."""
    _ENDING.acquire()
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)
    if first:
        time.sleep(1)  # with it goes JAX's coordinator, and all who have not ended yet
    os._exit(status)


def watch() -> None:
    """Turn JAX's abort() into the line; call it before `jax.distributed.initialize`."""
    if not sys.platform.startswith("linux"):
        return
    read, write = os.pipe()
    shown = os.fdopen(os.dup(2), "wb", buffering=0)
    os.dup2(write, 2)  # C++ writes there, Python beside it
    sys.stderr = io.TextIOWrapper(shown, errors="backslashreplace", write_through=True)
    faulthandler.enable(sys.stderr)
    threading.Thread(target=_pass_on, args=(os.fdopen(read, "rb"), shown), daemon=True).start()
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(_aborted)
    _kept.append(handler)
    ctypes.CDLL(None).signal(signal.SIGABRT, handler)


def _pass_on(lines: BinaryIO, shown: BinaryIO) -> None:
    """Show what C++ writes, up to what it has to say of a lost process."""
    for line in lines:
        if any(sign.encode() in line for sign in _SIGNS[2:]):
            _told.set()
        if not _told.is_set():
            shown.write(line)


def _aborted(number: int) -> None:
    if _told.wait(1):
        leave(LOST, 1, first=False)
    faulthandler.dump_traceback(sys.stderr)
    ctypes.CDLL(None).signal(number, None)  # a crash of its own; abort() goes on
