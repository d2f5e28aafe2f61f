"""Image files: whether each decodes, and what tells it from another."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fgsam_jax.data.checks.problem import Problem
from fgsam_jax.data.images import read_image
from fgsam_jax.errors import InputError


@dataclass(frozen=True)
class File:
    """An image file.

    Attributes:
      digest: the same for the same bytes.
      size: (height, width) in pixels.
      fault: which file cannot be used and why, or empty.
    """

    digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    fault: str = ""


def inspect(path: Path) -> File:
    """Read and decode one image file; it never raises for what a file holds."""
    try:
        encoded, image = read_image(path)
    except InputError as error:
        return File(fault=str(error))
    return File(hashlib.blake2b(encoded, digest_size=16).digest(), (image.height, image.width))


def inspect_all(paths: Iterable[Path], progress: Callable[[], object]) -> dict[Path, File]:
    """Every file, on all cores; `progress` is called after each."""
    unique = list(dict.fromkeys(paths))
    found = {}
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for path, file in zip(unique, pool.map(inspect, unique), strict=True):
            found[path] = file
            progress()
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def unusable_images(files: Mapping[Path, File]) -> list[Problem]:
    """Files that are missing or do not decode."""
    cases = tuple(file.fault for file in files.values() if file.fault)
    text = (
        f"image files that cannot be used: {len(cases):,} of {len(files):,}; unpack the set again"
    )
    return [Problem(text, cases, fatal=True)] if cases else []
