"""One training at a time in a run's folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from fgsam_jax.errors import InputError
from fgsam_jax.runtime import distributed


@contextlib.contextmanager
def sole_run(workdir: Path) -> Iterator[None]:
    """Make a run's folder and hold it; of several processes the first holds it for all.

    The system opens the lock when its process ends, however that is.

    Raises:
      InputError: another training holds it.
    """
    lock = FileLock(workdir / ".lock")

    def take() -> None:
        if not distributed.first():
            return
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout:
            raise InputError(
                f"another training runs in {workdir}: wait for its end or name another --workdir"
            ) from None
        except OSError as error:
            raise InputError(
                f"the run's folder cannot be used: {error}; name another --workdir"
            ) from None

    distributed.agreed(take)
    try:
        yield
    finally:
        lock.release()
