"""Lines and files for people; of several processes the first writes."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from fgsam_jax.errors import InputError
from fgsam_jax.runtime import distributed

_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def say(text: str) -> None:
    """Print a line without breaking a progress bar; of several processes the first prints."""
    if distributed.first():
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def write_atomically(path: Path, text: str) -> None:
    """A run killed while it writes leaves the old file. Of several processes the first writes."""
    if not distributed.first():
        return
    scratch = path.with_name(path.name + ".part")
    with scratch.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # or a machine that loses power may keep an empty file
    scratch.replace(path)


@contextlib.contextmanager
def disk_errors_in_one_line(folder: Path) -> Iterator[None]:
    """What the file system refuses becomes an InputError: a full disk, a folder not to be written.

    Args:
      folder: to name where the system names no file.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # of who reads what is printed, not of the file system
    except OSError as error:
        if not error.filename and error.errno not in _OF_THE_DISK:
            raise
        raise InputError(
            f"{error.filename or folder}: {error.strerror or error}. Mend that and start the same "
            "command again: it goes on from what is whole"
        ) from error
