"""The crops of a gallery as people: a threshold from labelled ones, groups of unlabelled ones."""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fgsam_jax.errors import InputError, printable
from fgsam_jax.metrics.protocol import DISTRACTOR, JUNK
from fgsam_jax.retrieval.crop_lists import located
from fgsam_jax.retrieval.gallery import Gallery
from fgsam_jax.retrieval.grouping import Groups, group
from fgsam_jax.retrieval.rows import Row
from fgsam_jax.retrieval.threshold import Threshold, find_threshold

_NOBODY = {str(JUNK), str(DISTRACTOR)}
_NAMED = 5  # people, at most


def known_of(gallery: Gallery) -> str:
    """Of how many crops of a gallery camera, time and person are known, for a person to read.

    Example:
      >>> print(known_of(gallery))  # doctest: +SKIP
      172 crops: camera of 172, time of 172, person of 90: 2 people, anna and ben
    """
    count: Counter[str] = Counter()
    people = set()
    for row in gallery.rows():
        known = {"camera": row.camera, "time": row.time, "person": row.identity}
        count.update(name for name, value in known.items() if value is not None)
        if row.identity and row.identity not in _NOBODY:
            people.add(row.identity)
    text = ", ".join(f"{name} of {count[name]:,}" for name in ("camera", "time", "person"))
    if people:
        text += f": {len(people):,} {'person' if len(people) == 1 else 'people'}"
    if 0 < len(people) <= _NAMED:
        *others, last = (printable(x, 40) for x in sorted(people))
        text += ", " + " and ".join(filter(None, [", ".join(others), last]))
    return f"{len(gallery):,} crops: {text}"


def keep_threshold(gallery: Gallery, false_match_rate: float) -> Threshold:
    """Find the threshold of a gallery of known people, and keep it there.

    Args:
      gallery: whose rows have identities; those without one, junk and distractors do not count.
        Only pairs across cameras count where cameras are known.
      false_match_rate: see `find_threshold`.

    Raises:
      InputError: too few people or pairs, or only some crops have a camera.

    Example:
      >>> with Gallery.open("people") as gallery:  # doctest: +SKIP
      ...     print(keep_threshold(gallery, 0.001).distance)
      0.71
    """
    rows = [x for x in gallery.rows(descriptors=True) if x.identity and x.identity not in _NOBODY]
    if not rows:
        raise InputError("no crop of the gallery has an identity: index labelled crops")
    unknown = sum(x.camera is None for x in rows)
    if unknown and unknown < len(rows):
        raise InputError(
            f"{unknown} of {len(rows)} labelled crops have no camera: index all with one, or none"
        )
    found = find_threshold(
        _descriptors(rows),
        [x.identity for x in rows],
        None if unknown else [x.camera for x in rows],
        false_match_rate=false_match_rate,
    )
    gallery.note(threshold=found.to_dict())
    return found


def group_gallery(gallery: Gallery, crops_each: int) -> tuple[list[str], Groups]:
    """Group all crops of a gallery, see `grouping.group`.

    Returns:
      The names of the crops, sorted, and their groups.

    Example:
      >>> with Gallery.open("people") as gallery:  # doctest: +SKIP
      ...     names, groups = group_gallery(gallery, 10)
    """
    rows = sorted(gallery.rows(descriptors=True), key=lambda row: row.name)
    if not rows:
        raise InputError("the gallery has no rows: index crops first")
    return [x.name for x in rows], group(_descriptors(rows), crops_each=crops_each)


def write_groups(file: Path, names: Sequence[str], groups: Groups, root: Path) -> None:
    """Write a CSV with the columns path, identity and sureness, the surest of a group first.

    Paths are relative to the CSV, so that `tools/search.py index` takes it as it is.

    Args:
      file: to write.
      names: of the crops in their gallery.
      groups: of these.
      root: the folder that the names are relative to.

    Raises:
      InputError: the file cannot be written, or a name leads out of the root.

    Example:
      >>> write_groups(Path("groups.csv"), names, groups, Path("."))  # doctest: +SKIP
    """
    order = np.lexsort((-groups.sureness, groups.group))
    lines = [
        (
            Path(os.path.relpath(located(names[n], root), file.absolute().parent)).as_posix(),
            groups.group[n],
            f"{groups.sureness[n]:.3f}",
        )
        for n in order
    ]
    try:
        with file.open("w", encoding="utf-8", newline="") as text:
            csv.writer(text).writerows([("path", "identity", "sureness"), *lines])
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror or error}") from None


def _descriptors(rows: Sequence[Row]) -> np.ndarray:
    return np.stack([x.descriptor for x in rows if x.descriptor is not None])
