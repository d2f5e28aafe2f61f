"""One crop of a gallery: what is kept of it, and how it is stored."""

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fgsam_jax.errors import InputError, check_arrays, printable
from fgsam_jax.retrieval.description import Description
from fgsam_jax.retrieval.stores import Entry, Hit

# The two vectors of a row: the descriptor, and the logarithms of the probabilities of all classes,
# whose product with ones at some classes is the logarithm of their joint probability.
ROW, ANSWERS = "row", "answers"
_NAMES = uuid.UUID("6fb0a1c4-5d0f-4b52-9a0e-6a4a8f1a2c11")  # of the ids of rows; never to change
_LEAST = 1e-6  # a probability, as a logarithm of it is kept
_LONGEST = 1000  # characters of a name or a word
_MOST = 100  # words of a row


@dataclass(frozen=True, eq=False)
class Row:
    """One crop of a gallery.

    Attributes:
      name: of its file, from the folder that names are relative to.
      identity: of the person where it is known; "-1" junk, "0" a distractor.
      camera: where it is known.
      time: seconds since 1970 UTC, where it is known.
      words: of the user's own.
      attributes: by name, the probability of each class.
      visibility: by part, 0 to 1.
      distance: to the query of a search.
      probability: of all that `Gallery.who` asked for together.
      descriptor: [dim] float32, where it was asked for.
    """

    name: str
    identity: str | None = None
    camera: str | None = None
    time: float | None = None
    words: tuple[str, ...] = ()
    attributes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    visibility: Mapping[str, float] = field(default_factory=dict)
    distance: float | None = None
    probability: float | None = None
    descriptor: np.ndarray | None = None

    @property
    def id(self) -> str:
        """That of the row in its gallery, see `row_id`."""
        return row_id(self.name)


def layout(description: Description, classes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What the rows of a gallery have in common.

    Args:
      description: of some images.
      classes: of each attribute, by name.

    Raises:
      InputError: shapes that do not fit.

    Example:
      >>> rows = Description(np.eye(2), {"plenary": slice(0, 2)}, {"hat": np.eye(2)}, {})
      >>> layout(rows, {"hat": ("no", "yes")})
      {'dim': 2, 'branches': {'plenary': [0, 2]}, 'attributes': {'hat': ['no', 'yes']}}
    """
    rows = description.descriptor
    check_arrays("descriptor [n, dim]", rows)
    for name, x in description.attributes.items():
        check_arrays("descriptor [n, dim], probabilities [n, classes]", rows, x)
        if x.shape[1] != len(classes.get(name, ())):
            raise InputError(f"{name} has {len(classes.get(name, ()))} classes, not {x.shape[1]}")
    return {
        "dim": rows.shape[1],
        "branches": {name: [x.start, x.stop] for name, x in description.branches.items()},
        "attributes": {name: list(classes[name]) for name in description.attributes},
    }


def made_entries(
    names: Sequence[str],
    description: Description,
    classes: Mapping[str, Sequence[str]],
    identities: Sequence[Any] | None,
    cameras: Sequence[Any] | None,
    times: Sequence[Any] | None,
    words: Sequence[Sequence[str]] | None,
) -> list[Entry]:
    """What a store keeps of crops, see `Gallery.add`.

    Raises:
      InputError: see there.

    Example:
      >>> rows = Description(np.eye(1), {"plenary": slice(0, 1)}, {}, {})
      >>> (entry,) = made_entries(["a.jpg"], rows, {}, None, [3], ["1970-01-02"], [["gate"]])
      >>> entry.values["camera"], entry.values["time"], entry.values["words"]
      ('3', 86400.0, ['gate'])
    """
    rows, count = description.descriptor, len(names)
    given: dict[str, Any] = {
        "descriptors": rows,
        "identities": [None] * count if identities is None else identities,
        "cameras": [None] * count if cameras is None else cameras,
        "times": [None] * count if times is None else times,
        "lists of words": [()] * count if words is None else words,
    }
    for title, listed in given.items():
        if len(listed) != count:
            raise InputError(f"{count} names came with {len(listed)} {title}")
    logs = _logarithms(description)
    whole = np.isfinite(rows).all(1) & np.isfinite(logs).all(1)
    if not whole.all():
        bad = names[int(np.argmin(whole))]
        raise InputError(f"the row of {bad} is not finite: its image or the model is broken")
    likely = {name: np.argmax(p, 1) for name, p in description.attributes.items()}
    entries = []
    for n, (name, row, identity, camera, time, own) in enumerate(
        zip(names, *given.values(), strict=True)
    ):
        values = {
            **known_values(name, identity, camera, time, own),
            "answers": [answer(x, classes[x][index[n]]) for x, index in likely.items()],
            "visibility": {part: float(x[n]) for part, x in description.visibility.items()},
        }
        vectors = {ROW: row} | ({ANSWERS: logs[n]} if likely else {})
        entries.append(Entry(row_id(name), vectors, values))
    return entries


def known_values(
    name: str, identity: Any, camera: Any, time: Any, words: Sequence[str]
) -> dict[str, Any]:
    """What is kept of a crop beside what a model says of it, see `Gallery.add`.

    Raises:
      InputError: something cannot be kept.

    Example:
      >>> known_values("a.jpg", None, 3, "1970-01-02", ["gate"])
      {'name': 'a.jpg', 'identity': None, 'camera': '3', 'time': 86400.0, 'words': ['gate']}
    """
    try:
        if len(words) > _MOST:
            raise InputError(f"it has {len(words)} words, at most {_MOST} are kept")
        return {
            "name": text("name", name),
            "identity": None if identity is None else text("identity", identity),
            "camera": None if camera is None else text("camera", camera),
            "time": None if time is None else seconds(time),
            "words": [text("word", word) for word in words],
        }
    except InputError as error:
        raise InputError(f"{printable(name)}: {error}") from None


def row_of(about: Mapping[str, Any], hit: Hit, **result: Any) -> Row:
    """The row that a store has found, with its distance or probability.

    Example:
      >>> rows = Description(np.eye(1), {}, {}, {})
      >>> (entry,) = made_entries(["a.jpg"], rows, {}, None, None, None, None)
      >>> row_of({"attributes": {}}, Hit(0.5, entry.values, {}), distance=0.5).name
      'a.jpg'
    """
    values = hit.values
    attributes, at = {}, 0
    for name, classes in about["attributes"].items():
        logs = hit.vectors[ANSWERS][at : at + len(classes)]
        attributes[name] = dict(zip(classes, np.exp(logs).tolist(), strict=True))
        at += len(classes)
    row = hit.vectors.get(ROW)
    return Row(
        values["name"],
        values["identity"],
        values["camera"],
        values["time"],
        tuple(values["words"]),
        attributes,
        values["visibility"],
        descriptor=None if row is None else np.array(row, np.float32),
        **result,
    )


def row_id(name: str) -> str:
    """The id of a row, which its name alone decides, so that adding a crop again replaces it.

    Example:
      >>> row_id("a.jpg")
      'a1b700ba-3b13-5bbb-9e1d-83640a2b0279'
    """
    return str(uuid.uuid5(_NAMES, text("name", name)))


def seconds(time: float | str | datetime) -> float:
    """Seconds since 1970 UTC; what names no zone is taken for UTC.

    Args:
      time: seconds, a datetime, or a text in the manner of ISO 8601.

    Raises:
      InputError: it is none of these.

    Example:
      >>> seconds("2026-11-28 10:15"), seconds("2026-11-28T10:15:00+01:00")
      (1795860900.0, 1795857300.0)
    """
    try:
        if isinstance(time, str):
            time = datetime.fromisoformat(time.strip())
        if isinstance(time, datetime):
            time = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        if np.isfinite(float(time)):
            return float(time)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"{time!r} is no time: write it like 2026-11-28 or 2026-11-28T10:15:00")


def answer(attribute: str, name: str) -> str:
    """The class of an attribute that a model holds most likely, as filters ask for it.

    Example:
      >>> answer("hat", "yes")
      'hat=yes'
    """
    return f"{attribute}={name}"


def _logarithms(description: Description) -> np.ndarray:
    """[n, all classes], of the probabilities."""
    found = list(description.attributes.values())
    if not found:
        return np.zeros((len(description.descriptor), 0), np.float32)
    return np.log(np.maximum(np.concatenate(found, 1), _LEAST)).astype(np.float32)


def text(what: str, value: Any) -> str:
    """A name or a word as it is kept. Raises InputError if it cannot be.

    Example:
      >>> text("camera", 3)
      '3'
    """
    known = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    try:
        known.encode()
        if 0 < len(known) <= _LONGEST:
            return known
    except UnicodeEncodeError:
        pass
    raise InputError(
        f"the {what} {printable(known)!r} cannot be kept: it must be text in UTF-8 of at most "
        f"{_LONGEST} characters"
    )
