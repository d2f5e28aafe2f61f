"""Digests of the files of a folder: written beside them, and compared before they are used."""

import hashlib
import json
from pathlib import Path

from fgsam_jax.errors import InputError
from fgsam_jax.runtime.files import read_json, regular_file

_NAME = "digests.json"


def write(folder: Path) -> None:
    """Note the SHA-256 of every file in a folder and its folders, in a file among them."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    digests = {path.relative_to(folder).as_posix(): _digest(path) for path in files}
    (folder / _NAME).write_text(json.dumps(digests, indent=1))


def written(folder: Path) -> bool:
    """Whether a folder has digests."""
    return (folder / _NAME).exists()


def check(folder: Path, *parts: str) -> None:
    """Compare the files directly in a folder, and those of some of its folders.

    Folders written before there were digests are let through; files that came later are too.

    Raises:
      InputError: a file is not the one that was written.
    """
    if not written(folder):
        return
    for name, digest in read_json(folder / _NAME).items():
        part, _, rest = name.partition("/")
        if (not rest or part in parts) and _digest(folder / name) != digest:
            raise InputError(f"{name} is not what was written there")


def _digest(path: Path) -> str:
    try:
        with regular_file(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
