"""The crops of a gallery as people: a threshold from labelled ones, groups of unlabelled ones."""

import csv
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from fgsam_jax.errors import InputError, printable
from fgsam_jax.metrics.protocol import DISTRACTOR, JUNK
from fgsam_jax.retrieval.crop_lists import located
from fgsam_jax.retrieval.filters import EARLIEST
from fgsam_jax.retrieval.gallery import Gallery
from fgsam_jax.retrieval.grouping import Groups, group
from fgsam_jax.retrieval.rows import Row
from fgsam_jax.retrieval.threshold import Threshold, find_threshold

_NOBODY = {str(JUNK), str(DISTRACTOR)}
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_ALL = 1_000_000  # cameras or people that are counted
_NAMED = 5  # people, at most
_FALSE_MATCHES = 30  # that tell a rate to 30 % in nine cases of ten: Doddington's rule


def known_of(gallery: Gallery) -> str:
    """Of how many crops of a gallery camera, time and person are known, for a person to read.

    Example:
      >>> print(known_of(gallery))  # doctest: +SKIP
      172 crops: camera of 172, time of 172, person of 90: 2 people, anna and ben
    """
    known = gallery.people(_ALL)
    people = set(known) - _NOBODY
    count = {
        "camera": sum(gallery.cameras(_ALL).values()),
        "time": gallery.count(since=EARLIEST),
        "person": sum(known.values()),
    }
    text = ", ".join(f"{name} of {crops:,}" for name, crops in count.items())
    if people:
        text += f": {len(people):,} {'person' if len(people) == 1 else 'people'}"
    if 0 < len(people) <= _NAMED:
        *others, last = (printable(x, 40) for x in sorted(people))
        text += ", " + " and ".join(filter(None, [", ".join(others), last]))
    return f"{len(gallery):,} crops: {text}"


def keep_threshold(
    gallery: Gallery, false_match_rate: float, other: Gallery | None = None
) -> Threshold:
    """Find the threshold of a gallery of known people, and keep it there or in another gallery.

    Args:
      gallery: whose rows have identities; those without one, junk and distractors do not count.
        Only pairs across cameras count where cameras are known.
      false_match_rate: see `find_threshold`.
      other: that keeps it instead, of the same checkpoint; its people may be unknown.

    Raises:
      InputError: too few people or pairs, only some crops have a camera, or the other gallery is
        of another checkpoint.

    Example:
      >>> with Gallery.open("people") as gallery:  # doctest: +SKIP
      ...     print(keep_threshold(gallery, 0.001).distance)
      0.71
    """
    keeper = gallery if other is None else other
    if keeper.about.get("model") != gallery.about.get("model"):
        raise InputError(
            "distances of another checkpoint mean something else: the gallery that keeps the "
            "threshold must be of the same model as the one it is learned from"
        )
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
    keeper.note(threshold=found.to_dict())
    return found


def threshold_report(found: Threshold, place: str) -> str:
    """A threshold in lines, with a warning where its rate is that of few pairs.

    Args:
      found: by `keep_threshold`.
      place: the gallery that keeps it.

    Example:
      >>> print(threshold_report(keep_threshold(gallery, 0.01), "people"))  # doctest: +SKIP
      threshold 0.553 (95 %: 0.451 to 0.671) at a false-match rate of 0.01, from 40 people; ...
    """
    low, high = found.interval
    here, held = found.learned, found.held_out
    assert here is not None
    wrong = found.false_match_rate * here.of_two
    lines = [
        f"threshold {found.distance:.3f} (95 %: {low:.3f} to {high:.3f}) at a false-match rate of "
        f"{found.false_match_rate:g}, from {found.people} people; kept in the gallery {place}",
        f"at this threshold, on all pairs: false-match rate {here.false_match_rate:.2g} of "
        f"{here.of_two:,} pairs of two people, true-match rate "
        f"{here.true_match_rate:.3f} of {here.of_one:,} of one",
        f"learned on half of the people (threshold {here.half_distance:.3f}, the mean of ten "
        f"halves), on the others: false-match rate {held.false_match_rate:.2g}, true-match rate "
        f"{held.true_match_rate:.3f}, calibration error {held.calibration_error:.3f}",
    ]
    if round(wrong) < _FALSE_MATCHES:
        lines.append(
            f"{found.false_match_rate:g} is about {wrong:.0f} of {here.of_two:,} pairs: fewer "
            f"than {_FALSE_MATCHES} tell a rate badly; index more people, or ask for "
            f"{_FALSE_MATCHES / here.of_two:.3g} or more"
        )
    return "\n".join(lines)


def group_gallery(gallery: Gallery, crops_each: int) -> tuple[list[Row], Groups]:
    """Group all crops of a gallery, see `grouping.group`.

    Returns:
      The crops, sorted by name, and their groups.

    Example:
      >>> with Gallery.open("people") as gallery:  # doctest: +SKIP
      ...     rows, groups = group_gallery(gallery, 10)
    """
    rows = sorted(gallery.rows(descriptors=True), key=lambda row: row.name)
    if not rows:
        raise InputError("the gallery has no rows: index crops first")
    return rows, group(_descriptors(rows), crops_each=crops_each)


def write_groups(file: Path, rows: Sequence[Row], groups: Groups, root: Path) -> None:
    """Write a CSV with the columns path, identity, camera, time, words and sureness.

    The surest of a group comes first. What no crop has, a camera, a time or words, is no column.

    Paths are relative to the CSV, so that `tools/search.py index` takes it as it is.

    Args:
      file: to write.
      rows: of the crops in their gallery.
      groups: of these.
      root: the folder that their names are relative to.

    Raises:
      InputError: the file cannot be written, or a name leads out of the root.

    Example:
      >>> write_groups(Path("groups.csv"), rows, groups, Path("."))  # doctest: +SKIP
    """
    order = np.lexsort((-groups.sureness, groups.group))
    folder = file.absolute().parent
    columns: dict[str, list[str]] = {
        "path": [Path(os.path.relpath(located(x.name, root), folder)).as_posix() for x in rows],
        "identity": [str(x) for x in groups.group],
        "camera": [x.camera or "" for x in rows],
        "time": [_text(x.time) for x in rows],
        "words": [" ".join(x.words) for x in rows],
        "sureness": [f"{x:.3f}" for x in groups.sureness],
    }
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    try:
        with file.open("w", encoding="utf-8", newline="") as text:
            csv.writer(text).writerows(
                [kept, *([cells[n] for cells in kept.values()] for n in order)]
            )
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror or error}") from None


def _text(time: float | None) -> str:
    """A time as `rows.seconds` reads it."""
    try:
        return "" if time is None else str(_BEGINNING + timedelta(seconds=time))
    except OverflowError:  # the year 10000
        return ""


def _descriptors(rows: Sequence[Row]) -> np.ndarray:
    return np.stack([x.descriptor for x in rows if x.descriptor is not None])
