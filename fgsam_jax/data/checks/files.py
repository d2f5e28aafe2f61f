"""Image files: whether each decodes, and what tells it from another."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fgsam_jax.data.checks.problem import Problem
from fgsam_jax.data.datasets.image_files import OTHER_SUFFIXES, SUFFIXES, images_below
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


def passed_over(roots: Iterable[Path], read: Collection[Path]) -> list[Problem]:
    """Image files that are not read, and people who are lost by it.

    Args:
      roots: folders that hold the images and nothing else.
      read: the files that are.
    """
    kinds = (*SUFFIXES, *OTHER_SUFFIXES)
    others = [path for root in roots for path in images_below(root, kinds) if path not in read]
    if not others:
        return []
    counts = Counter(path.suffix.lower() for path in others)
    told = ", ".join(f"{number:,} {suffix}" for suffix, number in counts.most_common())
    text = f"image files passed over, of kinds that are not read: {told}; convert them"
    found = [Problem(text, tuple(map(str, others)))]
    lost = sorted({path.parent for path in others} - {path.parent for path in read})
    if lost:
        text = f"folders without any image that is read, whose people are lost: {len(lost):,}"
        found.append(Problem(text, tuple(map(str, lost))))
    return found
