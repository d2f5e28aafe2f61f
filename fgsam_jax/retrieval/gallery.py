"""A gallery on disk or on a server: crops with what a model said of them, to search and filter."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fgsam_jax.errors import InputError, check_arrays
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.retrieval.description import Description
from fgsam_jax.retrieval.embedder import Embedder
from fgsam_jax.retrieval.filters import checked_k, conditions, told
from fgsam_jax.retrieval.folder_store import ABOUT, FolderStore
from fgsam_jax.retrieval.rows import (
    ANSWERS,
    ROW,
    Row,
    layout,
    made_entries,
    row_id,
    row_of,
)
from fgsam_jax.retrieval.server_store import ServerStore, connected
from fgsam_jax.retrieval.stores import DOT, EUCLID, Hit, Store
from fgsam_jax.version import versions

_FORMAT = 1
_SAID = {"model": str, "phase": str, "dim": int, "branches": dict, "attributes": dict}


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
        self._store, self._place = store, place
        self.about: dict[str, Any] = store.about or {}
        self._embedder: Embedder | None = None
        self._model = ""
        said = {key: type(self.about.get(key)) for key in _SAID}
        if self.about and (self.about.get("format") != _FORMAT or said != _SAID):
            raise InputError(f"{place} is no gallery that this version reads")
        if embedder:
            self.use(embedder)

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
        missing = InputError(f"there is no gallery {where}: index crops into it first")
        if url is not None:
            store: Store = ServerStore(str(folder), connected(url))
        elif create or (Path(folder) / ABOUT).exists():
            store = FolderStore(Path(folder))
        else:
            raise missing
        try:
            if store.about is None and not create:
                raise missing
            return cls(store, where, embedder)
        except InputError:
            store.close()
            raise

    def use(self, embedder: Embedder) -> None:
        """Take an embedder to add with. Raises InputError if it is not of this gallery's model."""
        model = model_digest(embedder)
        if self.about and self.about["model"] != model:
            raise InputError(
                f"the gallery {self._place} holds rows of another checkpoint, of the phase "
                f"{self.about['phase']}: use that one, or index the crops into a new gallery"
            )
        self._embedder, self._model = embedder, model

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes in."""
        self._store.close()

    def __len__(self) -> int:
        return self._store.count([])

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
        classes = {x.name: list(x.classes) for x in self._embedder.info.attributes}
        about = layout(description, classes)
        given = self.about or about
        if about != {key: given[key] for key in about}:
            raise InputError(
                f"the gallery {self._place} has rows of {given['dim']} numbers and other branches "
                f"or attributes than those given, of {about['dim']}: use its own model"
            )
        entries = made_entries(names, description, classes, identities, cameras, times, words)
        if not self.about:
            self._begin(about)
        self._store.put(entries)

    def _begin(self, about: dict[str, Any]) -> None:
        assert self._embedder is not None
        about = {
            "format": _FORMAT,
            "model": self._model,
            "phase": self._embedder.info.phase,
            **about,
            "versions": versions(),
        }
        vectors = {ROW: (about["dim"], EUCLID)}
        if about["attributes"]:
            vectors[ANSWERS] = (sum(map(len, about["attributes"].values())), DOT)
        self._store.begin(about, vectors)
        self.about = self._store.about
        self.use(self._embedder)  # another process may have begun it with another model

    def note(self, **values: Any) -> None:
        """Keep plain values for JSON in `about`: a threshold, say.

        Raises:
          InputError: the gallery has no rows yet.
        """
        self._check_filled()
        self._store.note(values)
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
          where: what a crop must be to count, all of it, see `filters.conditions`:
            camera, one or several; since and until, times as `add` takes them, both ends counted;
            words, all of which it has; attributes, by name the class that is most likely.

        Raises:
          InputError: rows of another size or not finite, k not 1 to a million, an unknown branch or
            class, or no rows.
        """
        self._check_filled()
        check_arrays("rows [queries, dim]", rows)
        if rows.shape[1] != self.about["dim"] or not np.isfinite(rows).all():
            raise InputError(
                f"needed finite rows of {self.about['dim']} numbers, got {rows.shape[1]}"
                f"{'' if np.isfinite(rows).all() else ', not all finite'}: embed the queries with "
                "the model that made the gallery"
            )
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
        hits = self._nearest(ROW, rows, k, where, exact, descriptors)

        def distance(hit: Hit) -> float:
            return float(np.sqrt(max(0.0, 1 + (hit.score**2 - 1) / share)))

        return [
            [row_of(self.about, hit, distance=distance(hit)) for hit in found] for found in hits
        ]

    def who(self, wanted: Mapping[str, str], k: int = 20, **where: Any) -> list[Row]:
        """The k crops that most likely show all attributes wanted, as if these were independent.

        Args:
          wanted: class by attribute; `labels.words.understand` makes it of words.
          k: how many, at most.
          where: as for `search`.

        Raises:
          InputError: nothing is wanted, or not a class of this model, k not 1 to a million, or
            there are no rows.
        """
        self._check_filled()
        if not wanted:
            raise InputError(f"nothing was asked for that is known here: {told(self.about)}")
        classes = [(name, x) for name, of in self.about["attributes"].items() for x in of]
        asked = [float(wanted.get(name) == x) for name, x in classes]
        if sum(asked) != len(wanted):
            raise InputError(f"{dict(wanted)} is not of these attributes: {told(self.about)}")
        (hits,) = self._nearest(ANSWERS, np.array([asked]), k, where)
        return [row_of(self.about, hit, probability=float(np.exp(hit.score))) for hit in hits]

    def rows(self, *, descriptors: bool = False, **where: Any) -> Iterator[Row]:
        """All crops, in an order that only changes where crops do; arguments as for `search`."""
        if self.about:
            for hit in self._store.scan(
                conditions(self.about, **where), self._vectors(descriptors)
            ):
                yield row_of(self.about, hit)

    def by_id(self, id: str, *, descriptor: bool = False) -> Row | None:
        """The crop of an id, see `Row.id`; None where there is none."""
        hits = self._store.get([id], self._vectors(descriptor)) if self.about else []
        return row_of(self.about, hits[0]) if hits else None

    def count(self, **where: Any) -> int:
        """How many crops pass a filter; arguments as for `search`."""
        return self._store.count(conditions(self.about, **where)) if self.about else 0

    def cameras(self, most: int = 1000) -> dict[str, int]:
        """How many crops each camera has, for the cameras that have most."""
        return self._store.counts("camera", most) if self.about else {}

    def people(self, most: int = 1000) -> dict[str, int]:
        """How many crops each known person has, junk and distractors too; as `cameras`."""
        return self._store.counts("identity", most) if self.about else {}

    def optimize(self) -> None:
        """Build the graph that approximate searches walk, and free the space of deleted rows.

        Rows added later are compared one by one until the next call. A server does so by itself.
        """
        self._check_filled()
        self._store.optimize()

    def _nearest(
        self, name: str, rows: np.ndarray, k: int, where: Mapping[str, Any],
        exact: bool = True, descriptors: bool = False,
    ) -> list[list[Hit]]:  # fmt: skip
        asked, vectors = conditions(self.about, **where), self._vectors(descriptors)
        return self._store.nearest(name, rows, checked_k(k), asked, exact, vectors)

    def _check_filled(self) -> None:
        if not self.about:
            raise InputError(f"the gallery {self._place} has no rows: add some first")

    def _vectors(self, descriptors: bool) -> list[str]:
        return [ROW] * descriptors + [ANSWERS] * bool(self.about["attributes"])


def model_digest(embedder: Embedder) -> str:
    """SHA-256 of all that descriptors depend on: weights, model, size of images and mirroring.

    Example:
      >>> model_digest(fgsam_jax.load("runs/market"))[:8]  # doctest: +SKIP
      '3f0c9d1e'
    """
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
