"""A gallery on disk or on a server: crops with what a model said of them, to search and filter."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fgsam_jax.errors import InputError, check_arrays, printable
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.retrieval.description import Description
from fgsam_jax.retrieval.embedder import Embedder
from fgsam_jax.retrieval.stores import DOT, EUCLID, Condition, Entry, Hit, opened
from fgsam_jax.version import versions

_FORMAT = 1
_ROW, _ANSWERS = "row", "answers"
_NAMES = uuid.UUID("6fb0a1c4-5d0f-4b52-9a0e-6a4a8f1a2c11")  # of the ids of rows; never to change
_LEAST = 1e-6  # a probability, as logarithms of it are added
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


class Gallery:
    """Crops to search, in a folder of this process alone, or in a collection of a Qdrant server.

    It holds the rows of one checkpoint and refuses others. Whatever `add` has returned for outlasts
    a kill. It is closed by `close`, or at the end of a `with`.

    Attributes:
      about: what the gallery says of itself: the model's digest, phase and versions, the size of a
        descriptor ("dim"), the columns of each branch ("branches"), the classes of each attribute
        ("attributes"), and what `note` has added. Empty before the first row.

    Example:
      >>> embedder = fgsam_jax.load("runs/market")  # doctest: +SKIP
      >>> with Gallery.open("people", embedder, create=True) as gallery:  # doctest: +SKIP
      ...     gallery.add(["a.jpg", "b.jpg"], embedder.describe(["a.jpg", "b.jpg"]))
      ...     found = gallery.search(embedder.embed("query.jpg"), k=5, camera="2")[0]
      >>> [(row.name, row.distance) for row in found]  # doctest: +SKIP
      [('b.jpg', 0.61), ('a.jpg', 1.18)]
    """

    def __init__(self, store: Any, place: str, embedder: Embedder | None):
        """From parts; `open` finds them."""
        self._store, self._place, self._embedder = store, place, embedder
        self.about: dict[str, Any] = store.about or {}
        self._model = model_digest(embedder) if embedder else None
        if self.about:
            self._check_about()

    @classmethod
    def open(
        cls,
        folder: str | Path,
        embedder: Embedder | None = None,
        *,
        create: bool = False,
        url: str | None = None,
    ) -> "Gallery":
        """Open a gallery.

        Args:
          folder: of the gallery; with a url, the name of its collection.
          embedder: of the model whose rows it holds. `add` needs it; a search with it cannot
            take rows of another model unnoticed.
          create: make it where it does not exist.
          url: of a Qdrant server, such as http://localhost:6333. Its key is in the environment's
            QDRANT_API_KEY. This needs the extra `server`.

        Raises:
          InputError: there is none, it is damaged or another model's, another process uses the
            folder, or the server does not answer.
        """
        where = f"{folder} at {url}" if url else str(folder)
        if url is None and not create and not (Path(folder) / "gallery.json").exists():
            raise InputError(f"there is no gallery {where}: index crops into it first")
        store = opened(folder, url)
        try:
            if store.about is None and not create:
                raise InputError(f"there is no gallery {where}: index crops into it first")
            return cls(store, where, embedder)
        except InputError:
            store.close()
            raise

    def _check_about(self) -> None:
        about = self.about
        if about.get("format") != _FORMAT:
            raise InputError(f"{self._place} is no gallery that this version reads")
        if self._model is not None and about.get("model") != self._model:
            raise InputError(
                f"the gallery {self._place} holds rows of another checkpoint "
                f"({about.get('phase')}, {str(about.get('model'))[:12]}; given {self._model[:12]}): "
                "open it with that one, or index the crops into a new gallery"
            )

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes in."""
        self._store.close()

    def __len__(self) -> int:
        return self._store.count()

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """Those that the model answers, with their classes."""
        known = self.about.get("attributes", {})
        return tuple(Attribute(name, "", tuple(classes)) for name, classes in known.items())

    def known(self, names: Sequence[str]) -> set[str]:
        """Which of some names are there."""
        if not self.about or not names:
            return set()
        ids = {row_id(name): name for name in names}
        return {ids[found] for found in self._store.known(list(ids))}

    def add(
        self,
        names: Sequence[str],
        description: Description,
        *,
        identities: Sequence[str | None] | None = None,
        cameras: Sequence[str | int | None] | None = None,
        times: Sequence[float | str | datetime | None] | None = None,
        words: Sequence[Sequence[str]] | None = None,
    ) -> None:
        """Add crops, or replace those of the same names; when it returns they outlast a kill.

        Args:
          names: [n], of the files.
          description: of the n images, by this gallery's embedder.
          identities: [n], where people are known.
          cameras: [n] names or numbers.
          times: [n], as `seconds` takes them.
          words: [n] lists of words of your own, to filter by.

        Raises:
          InputError: lengths differ, a row is not finite or of another size or model, or a name,
            a time or a word cannot be kept. Nothing is added then.
        """
        if self._embedder is None:
            raise InputError("open the gallery with the embedder that makes its rows to add some")
        rows, count = description.descriptor, len(names)
        check_arrays("descriptor [n, dim]", rows)
        attributes = {x.name: list(x.classes) for x in self._embedder.info.attributes}
        attributes = {name: attributes[name] for name in description.attributes}
        columns = {name: [x.start, x.stop] for name, x in description.branches.items()}
        answers = _answers(description, count)
        about = {"dim": rows.shape[1], "branches": columns, "attributes": attributes}
        self._check_rows(rows, answers, count, about)
        lists: dict[str, Sequence[Any]] = {
            "identities": [None] * count if identities is None else identities,
            "cameras": [None] * count if cameras is None else cameras,
            "times": [None] * count if times is None else times,
            "words": [()] * count if words is None else words,
        }
        for title, given in lists.items():
            if len(given) != count:
                raise InputError(f"{count} names came with {len(given)} {title}")
        likely = {name: np.argmax(p, 1) for name, p in description.attributes.items()}
        entries = []
        for n, (name, who, camera, time, own) in enumerate(
            zip(names, *lists.values(), strict=True)
        ):
            values = {
                "name": _text("name", name),
                "identity": None if who is None else _text("identity", who),
                "camera": None if camera is None else _text("camera", camera),
                "time": None if time is None else seconds(time),
                "words": [_text("word", word) for word in own],
                "answers": [_answer(x, attributes[x][index[n]]) for x, index in likely.items()],
                "visibility": {part: float(x[n]) for part, x in description.visibility.items()},
            }
            if len(values["words"]) > _MOST:
                raise InputError(f"{name} has {len(values['words'])} words, at most {_MOST}")
            vectors = {_ROW: rows[n]} | ({_ANSWERS: answers[n]} if attributes else {})
            entries.append(Entry(row_id(name), vectors, values))
        if not self.about:
            self._begin(about)
        self._store.put(entries)

    def _check_rows(
        self, rows: np.ndarray, answers: np.ndarray, count: int, about: dict[str, Any]
    ) -> None:
        if len(rows) != count:
            raise InputError(f"{count} names came with {len(rows)} descriptors")
        if not (np.isfinite(rows).all() and np.isfinite(answers).all()):
            bad = np.flatnonzero(~np.isfinite(rows).all(1) | ~np.isfinite(answers).all(1))[0]
            raise InputError(f"row {bad} is not finite: its image or the model is broken")
        for key, value in about.items() if self.about else ():
            if self.about[key] != value:
                raise InputError(
                    f"the gallery {self._place} has {key} {self.about[key]}, the rows have {value}"
                )

    def _begin(self, about: dict[str, Any]) -> None:
        assert self._embedder is not None
        about = {
            "format": _FORMAT,
            "model": self._model,
            "phase": self._embedder.info.phase,
            **about,
            "versions": versions(),
        }
        vectors = {_ROW: (about["dim"], EUCLID)}
        if about["attributes"]:
            vectors[_ANSWERS] = (sum(map(len, about["attributes"].values())), DOT)
        self._store.begin(about, vectors)
        self.about = self._store.about
        self._check_about()

    def note(self, **values: Any) -> None:
        """Keep plain values for JSON in `about`: a threshold, say.

        Raises:
          InputError: the gallery has no rows yet.
        """
        self._check_filled()
        self._store.note({**self.about, **values})
        self.about = self._store.about

    def delete(self, names: Sequence[str]) -> int:
        """Leave crops out; returns how many there were."""
        known = self.known(names)
        if known:
            self._store.remove([row_id(name) for name in sorted(known)])
        return len(known)

    def search(
        self,
        rows: np.ndarray,
        k: int = 20,
        *,
        exact: bool = True,
        branches: Sequence[str] | None = None,
        descriptors: bool = False,
        **where: Any,
    ) -> list[list[Row]]:
        r"""The k nearest crops of each query, nearest first.

        A descriptor joins B unit vectors over :math:`\sqrt B`. By m of these branches alone the
        distance d' follows from the distance d of the whole to a query that is 0 elsewhere:
        :math:`d'^2 = 1 + (d^2 - 1) B / m`.

        Args:
          rows: [queries, dim] descriptors of this gallery's model.
          k: how many, at most.
          exact: compare all; else walk the graph that `optimize` has built.
          branches: compare these alone, such as ("plenary",) or ("head", "upper_body").
          descriptors: give them too.
          where: camera, since, until, words, attributes, as `conditions` takes them.

        Raises:
          InputError: rows of another size or not finite, an unknown branch or class, or no rows.
        """
        self._check_filled()
        check_arrays("rows [queries, dim]", rows)
        if rows.shape[1] != self.about["dim"] or not np.isfinite(rows).all():
            raise InputError(
                f"needed finite rows of {self.about['dim']} numbers, got {rows.shape[1]}"
                f"{'' if np.isfinite(rows).all() else ', not all finite'}: embed the queries with "
                "the model that made the gallery"
            )
        if k < 1:
            raise InputError(f"k is at least 1, got {k}")
        share = 1.0
        if branches is not None:
            columns = self.about["branches"]
            if not branches or not set(branches) <= set(columns):
                raise InputError(f"branches are some of {', '.join(columns)}, got {branches}")
            share = len(set(branches)) / len(columns)
            kept = np.zeros_like(rows)
            for name in branches:
                kept[:, slice(*columns[name])] = rows[:, slice(*columns[name])]
            rows = kept
        vectors = self._vectors(descriptors)
        hits = self._store.nearest(_ROW, rows, k, self.conditions(**where), exact, vectors)

        def distance(hit: Hit) -> float:
            return float(np.sqrt(max(0.0, 1 + (hit.score**2 - 1) / share)))

        return [[self._row(hit, distance=distance(hit)) for hit in found] for found in hits]

    def who(self, wanted: Mapping[str, str], k: int = 20, **where: Any) -> list[Row]:
        """The k crops that most likely show all attributes wanted, as if these were independent.

        Args:
          wanted: class by attribute; `labels.words.understand` makes it of words.
          k: how many, at most.
          where: as for `search`.

        Raises:
          InputError: nothing is wanted, or not a class of this model; or there are no rows.
        """
        self._check_filled()
        if not wanted:
            raise InputError(f"nothing was asked for that is known here: {self._told()}")
        classes = [(name, x) for name, of in self.about["attributes"].items() for x in of]
        asked = [float(wanted.get(name) == x) for name, x in classes]
        if sum(asked) != len(wanted):
            raise InputError(f"{dict(wanted)} is not of these attributes: {self._told()}")
        hits = self._store.nearest(
            _ANSWERS, np.array([asked]), k, self.conditions(**where), True, self._vectors(False)
        )[0]
        return [self._row(hit, probability=float(np.exp(hit.score))) for hit in hits]

    def rows(self, *, descriptors: bool = False, **where: Any) -> Iterator[Row]:
        """All crops, in an order that only changes where crops do; arguments as for `search`."""
        if self.about:
            for hit in self._store.scan(self.conditions(**where), self._vectors(descriptors)):
                yield self._row(hit)

    def optimize(self) -> None:
        """Build the graph that approximate searches walk, and free the space of deleted rows.

        Rows added later are compared one by one until the next call. A server does so by itself.
        """
        self._check_filled()
        self._store.optimize()

    def conditions(
        self,
        *,
        camera: str | int | Sequence[str | int] | None = None,
        since: float | str | datetime | None = None,
        until: float | str | datetime | None = None,
        words: Sequence[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> list[Condition]:
        """What a store filters by.

        Args:
          camera: one or several.
          since: the earliest time, as `seconds` takes it; crops without a time do not count.
          until: the latest.
          words: all of which a crop has.
          attributes: by name, the class that the model holds most likely.

        Raises:
          InputError: a time, or a class that is not the model's.
        """
        found = []
        if camera is not None:
            several = [camera] if isinstance(camera, str | int) else camera
            found.append(Condition("camera", [_text("camera", x) for x in several]))
        if since is not None or until is not None:
            ends = (None if x is None else seconds(x) for x in (since, until))
            found.append(Condition("time", None, *ends))
        found += [Condition("words", [_text("word", word)]) for word in words]
        for name, wanted in (attributes or {}).items():
            if wanted not in self.about.get("attributes", {}).get(name, ()):
                raise InputError(f"{name} {wanted} is not of these attributes: {self._told()}")
            found.append(Condition("answers", [_answer(name, wanted)]))
        return found

    def _check_filled(self) -> None:
        if not self.about:
            raise InputError(f"the gallery {self._place} has no rows: add some first")

    def _vectors(self, descriptors: bool) -> list[str]:
        return [_ROW] * descriptors + [_ANSWERS] * bool(self.about["attributes"])

    def _told(self) -> str:
        attributes = self.about.get("attributes") or {"none": ()}
        return "; ".join(f"{name} {', '.join(x)}".strip() for name, x in attributes.items())

    def _row(self, hit: Hit, **result: Any) -> Row:
        values = hit.values
        attributes, at = {}, 0
        for name, classes in self.about["attributes"].items():
            logs = hit.vectors[_ANSWERS][at : at + len(classes)]
            attributes[name] = dict(zip(classes, np.exp(logs).tolist(), strict=True))
            at += len(classes)
        row = hit.vectors.get(_ROW)
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


def model_digest(embedder: Embedder) -> str:
    """SHA-256 of all that descriptors depend on: weights, model, size of images and mirroring."""
    info = embedder.info
    config = info.to_dict()["config"]
    used = [config["model"], config["data"]["height"], config["data"]["width"], config["mirror"]]
    names = [[x.name, x.classes] for x in info.attributes]
    text = json.dumps([info.kind, info.identities, names, used], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(embedder.variables()):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def row_id(name: str) -> str:
    """The id of a row, which its name alone decides, so that adding a crop again replaces it."""
    return str(uuid.uuid5(_NAMES, _text("name", name)))


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


def _answer(attribute: str, name: str) -> str:
    return f"{attribute}={name}"


def _answers(description: Description, count: int) -> np.ndarray:
    """[n, all classes], the logarithms of the probabilities."""
    found = list(description.attributes.values())
    for x in found:
        check_arrays("descriptor [n, dim], attributes [n, classes]", description.descriptor, x)
    if not found:
        return np.zeros((count, 0), np.float32)
    return np.log(np.maximum(np.concatenate(found, 1), _LEAST)).astype(np.float32)


def _text(what: str, value: Any) -> str:
    text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    try:
        text.encode()
        if 0 < len(text) <= _LONGEST:
            return text
    except UnicodeEncodeError:
        pass
    raise InputError(
        f"the {what} {printable(text)!r} cannot be kept: it must be text in UTF-8 of at most "
        f"{_LONGEST} characters"
    )
