"""Files that a user names or a run has left: what may be read of them."""

import json
import stat
from pathlib import Path
from typing import Any

from fgsam_jax.errors import InputError

GIB = 2**30
_TYPES: dict[type, str] = {dict: "an object", list: "a list"}


def expanded(path: str | Path) -> Path:
    """The path with its ~ as the home folder. Raises InputError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(
            f"{path} cannot be found, as there is no home folder: set HOME or give a full path"
        ) from None


def regular_file(path: Path, *, limit: int = 64 * GIB) -> Path:
    """The path, if it is a regular file of at most `limit` bytes.

    A pipe would be waited for and a device read without end.

    Raises:
      InputError: it is not.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InputError(f"{path} cannot be read: {_reason(error)}") from None
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} cannot be read: it is no regular file")
    if found.st_size > limit:
        raise InputError(
            f"{path} cannot be read: it has {found.st_size:,} bytes, at most {limit:,} are read"
        )
    return path


def read_bytes(path: Path, *, limit: int = 64 * GIB) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises InputError."""
    try:
        return regular_file(path, limit=limit).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {_reason(error)}") from None


def read_text(path: Path, *, limit: int = GIB) -> str:
    """The content of a regular file in UTF-8, with or without a mark. Raises InputError."""
    try:
        return read_bytes(path, limit=limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 at byte {error.start:,}") from None


def read_json(path: Path, kind: type = dict, *, limit: int = 4 * GIB) -> Any:
    """The content of a JSON file, of a Python type at its top.

    Raises:
      InputError: it cannot be read, is no JSON, or of another type.
    """
    text = read_text(path, limit=limit)
    try:
        content = json.loads(text)
    except RecursionError:
        raise InputError(f"{path} is not valid JSON: it is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, kind):
        raise InputError(f"{path} holds another type of JSON than {_TYPES[kind]}")
    return content


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
