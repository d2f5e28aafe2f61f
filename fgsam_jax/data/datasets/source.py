"""The folder that a user has unpacked: whether it is the set that it should be, and its state."""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from fgsam_jax.errors import InputError
from fgsam_jax.runtime.files import regular_file

_NAME = re.compile(r"[0-9a-f]{16}")


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


def fingerprint(
    source: Path, files: Iterable[Path], beside: Iterable[Path] = (), *, known: Path
) -> tuple[str, Path]:
    """A short name for what the files hold: the same names and bytes, and only they, have it.

    Names are relative to `source`, or to the folder of a CSV, so a moved or copied set keeps its
    records; the attributes and joints `beside` it, files or folders of files, count by their
    content alone.

    Reading Market-1501's 32,668 files takes a second or two, from a slow disk minutes, and asking
    for their sizes, times of change and numbers on the disk a tenth of a second. So a content is
    remembered in the folder `known` under a digest of these: other bytes behind the same name, size
    and time of writing still have another time of change (ctime) or number.

    Returns:
      The name, and the file that `remember` keeps it in.

    Raises:
      InputError: a file cannot be read, or its name is not Unicode.
    """
    home = os.path.join(source if source.is_dir() else source.parent, "")
    absolute = os.path.join(os.path.abspath(home), "")
    places = [(str(path).removeprefix(home).removeprefix(absolute), path) for path in files]
    places += [("", path) for given in beside for path in _files_of(given)]
    state = hashlib.sha256()
    for place, path in places:
        try:
            stat = os.stat(path)
            numbers = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
            state.update(f"{place}\0{numbers}\n".encode())
        except (OSError, ValueError) as error:
            raise InputError(
                f"{str(path)!r} cannot be read ({error}): rename or replace it."
            ) from None
    memory = known / state.hexdigest()[:32]
    try:
        if _NAME.fullmatch(found := memory.read_text()):
            return found, memory
    except (OSError, ValueError):
        pass
    bar = tqdm(places, "reading", unit=" files", delay=1, leave=False, disable=None)
    content = hashlib.sha256()
    for place, path in bar:
        content.update(f"{place}\0".encode() + _digest(path))
    return content.hexdigest()[:16], memory


def remember(name: str, memory: Path) -> None:
    """Keep a fingerprint for the next start, where that can be written."""
    with contextlib.suppress(OSError):
        if not memory.exists():
            memory.parent.mkdir(parents=True, exist_ok=True)
            scratch = memory.with_name(f"{memory.name}.{os.getpid()}")
            scratch.write_text(name)
            scratch.replace(memory)


def _files_of(given: Path) -> list[Path]:
    """The file itself, or the files of a folder."""
    return sorted(p for p in given.iterdir() if p.is_file()) if given.is_dir() else [given]


def _digest(path: Path) -> bytes:
    try:
        digest = hashlib.sha256()
        with regular_file(path).open("rb", buffering=0) as file:
            while part := file.read(2**16):
                digest.update(part)
        return digest.digest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
