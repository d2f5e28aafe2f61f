"""How a command begins and ends: what a user can mend is told in one line, a signal in its own."""

import argparse
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from fgsam_jax.errors import InputError, printable
from fgsam_jax.runtime import lost

INTERRUPTED = "interrupted; the same command goes on from the last checkpoint"
# JAX's words for what is wrong with a machine and not with the program, and what to do.
_MACHINE = {
    "Unable to initialize backend": "set JAX_PLATFORMS to a platform that this machine has",
    "RESOURCE_EXHAUSTED": "lower the phase's batch or raise its accumulate, or lower "
    "config.evaluation_batch",
}


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does."""


class Parser(argparse.ArgumentParser):
    """The flags of a command; a mistaken one is an InputError."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help tells all")


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """The body of a command. A bug keeps its traceback."""
    _open_streams()
    with _signals():
        try:
            yield
        except BaseException as error:
            if (ending := _ending(error)) is None:
                if not _several() or isinstance(error, SystemExit):
                    raise
                sys.excepthook(type(error), error, error.__traceback__)
                ending = 1, f"error: {printable(error)}"
            status, text = ending
            if _several():
                from fgsam_jax.runtime import distributed

                lost.leave(text, status, first=distributed.first())
            print(text, file=sys.stderr, flush=True)
            sys.exit(status)


def _ending(error: BaseException) -> tuple[int, str] | None:
    """Exit status and line; None for a bug."""
    if isinstance(error, KeyboardInterrupt):
        number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
        return 128 + number, INTERRUPTED
    if isinstance(error, InputError):
        return 1, f"error: {error}"
    if _several() and lost.is_loss(error):
        return 1, lost.LOST
    if isinstance(error, MemoryError):
        return 1, f"error: the memory is used up; {_MACHINE['RESOURCE_EXHAUSTED']}"
    if isinstance(error, BrokenPipeError):
        return 1, "error: nobody reads the output any more"
    if isinstance(error, OSError) and error.strerror:
        return 1, f"error: {printable(error.filename or 'a file', 300)}: {error.strerror}"
    for words, advice in _MACHINE.items():
        if isinstance(error, RuntimeError) and words in str(error):
            return 1, f"error: {printable(str(error).splitlines()[0], 300)}; {advice}"
    return None


def _several() -> bool:
    """Whether this is one of several processes; without importing JAX."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def _open_streams() -> None:
    """A terminal that lacks a character shows its number; a stream that is closed takes all."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, "w")))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM raises as Ctrl-C does, and neither is lost.

    Python drops what is raised inside a callback of the garbage collection or of C++: the signal is
    then sent once more.
    """

    def terminate(*_: Any) -> None:
        raise Terminated

    def again(dropped: Any) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            return hook(dropped)
        number = signal.SIGTERM if issubclass(dropped.exc_type, Terminated) else signal.SIGINT
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()

    before, hook = signal.signal(signal.SIGTERM, terminate), sys.unraisablehook
    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before)
