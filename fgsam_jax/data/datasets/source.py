"""The folder that a user has unpacked: whether it is the set that it should be, and its state."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from fgsam_jax.errors import InputError
from fgsam_jax.runtime.files import read_bytes


def check_layout(title: str, source: Path, expected: list[str]) -> None:
    """Whether a source holds the folders and files that its set is published in.

    Raises:
      InputError: something is missing; the message says what is there, and where the set seems to
        be if that is one level deeper or higher.
    """

    def missing(folder: Path) -> list[str]:
        # A name with a dot is a file's, another a folder's.
        return [
            name
            for name in expected
            if not ((folder / name).is_file() if "." in name else (folder / name).is_dir())
        ]

    lacking = missing(source)
    if not lacking:
        return
    if not source.is_dir():
        found = "that is a file" if source.exists() else "there is no such folder"
        hint = ""
    else:
        here = sorted(path.name for path in source.iterdir())
        found = f"found {', '.join(here[:6]) or 'an empty folder'}{', ...' * (len(here) > 6)}"
        hint = ""
        inside = [path for path in sorted(source.iterdir()) if path.is_dir() and not missing(path)]
        if inside:
            hint = f" It seems to be one level deeper, at {inside[0]}."
        elif not missing(source.resolve().parent):
            hint = f" It seems to be one level higher, at {source.resolve().parent}."
        elif len(lacking) < len(expected):
            hint = f" It lacks {', '.join(lacking)}."
    raise InputError(
        f"{title} was not found at {source}: expected {', '.join(expected[:-1])} and "
        f"{expected[-1]} in it, {found}.{hint} Unpack the data set there or correct "
        f"its source in the configuration."
    )


def fingerprint(source: Path, files: Iterable[Path], beside: Iterable[Path] = ()) -> str:
    """A short name for the state of the files: relative names, sizes and times of change.

    Names are relative to `source`, so a moved folder keeps its records; the attributes and joints
    `beside` it, files or folders of files, count by their content.

    Raises:
      InputError: a file cannot be read, or its name is not Unicode.
    """
    digest = hashlib.sha256()
    inside = os.path.join(source, "")
    for path in files:
        place = str(path).removeprefix(inside)
        try:
            stat = path.stat()
            digest.update(f"{place}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        except (OSError, UnicodeEncodeError) as error:
            raise InputError(
                f"{str(path)!r} cannot be read ({error}): rename or replace it."
            ) from None
    for given in beside:
        several = sorted(p for p in given.iterdir() if p.is_file()) if given.is_dir() else [given]
        for path in several:
            digest.update(hashlib.sha256(read_bytes(path)).digest())
    return digest.hexdigest()[:16]
