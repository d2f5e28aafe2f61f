"""Where a gallery's rows lie: in a folder, by Qdrant Edge, or on a Qdrant server.

Both give the same numbers; their Python classes differ, and that is hidden here.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from filelock import FileLock, Timeout

from fgsam_jax.errors import InputError
from fgsam_jax.runtime.files import read_json
from fgsam_jax.runtime.output import disk_errors_in_one_line, write_atomically

_ABOUT, _ROWS, _LOCK = "gallery.json", "qdrant", ".lock"
# What filters ask for, and how it is indexed.
_INDEXED = {
    "name": "Keyword", "camera": "Keyword", "identity": "Keyword", "words": "Keyword",
    "answers": "Keyword", "time": "Float",
}  # fmt: skip
# A server takes 32 MB in one request.
_AT_ONCE = 256
EUCLID, DOT = "Euclid", "Dot"


class Entry(NamedTuple):
    """What is kept of one image: its vectors by name, and plain values for JSON."""

    id: str
    vectors: dict[str, np.ndarray]
    values: dict[str, Any]


class Hit(NamedTuple):
    """One image found: distance or product, and what was asked for of its vectors."""

    score: float
    values: dict[str, Any]
    vectors: dict[str, Any]


class Condition(NamedTuple):
    """That a value is one of some, or lies between two."""

    key: str
    among: list[str] | None = None
    least: float | None = None
    most: float | None = None


class Store(Protocol):
    """What a gallery asks of its folder or server."""

    about: dict[str, Any] | None  # what the gallery says of itself; None: it does not exist

    def begin(self, about: dict[str, Any], vectors: dict[str, tuple[int, str]]) -> None:
        """Make it, for vectors of a size and kind each."""

    def note(self, about: dict[str, Any]) -> None:
        """Keep what the gallery says of itself."""

    def put(self, entries: Sequence[Entry]) -> None:
        """Add or replace; when it returns they outlast a kill."""

    def remove(self, ids: Sequence[str]) -> None:
        """Leave out."""

    def known(self, ids: Sequence[str]) -> set[str]:
        """Which of them are there."""

    def nearest(
        self, name: str, rows: np.ndarray, k: int, where: list[Condition], exact: bool,
        vectors: list[str],
    ) -> list[list[Hit]]:  # fmt: skip
        """The k best of each row [n, size], by the vector of a name."""

    def scan(self, where: list[Condition], vectors: list[str]) -> Iterator[Hit]:
        """All, in the order of their ids."""

    def count(self) -> int:
        """How many there are."""

    def optimize(self) -> None:
        """Build the graph of approximate searches."""

    def close(self) -> None:
        """Write what is left, and let others in."""


def opened(place: str | Path, url: str | None) -> Store:
    """The store in a folder, or the collection of that name on a server."""
    return Folder(Path(place)) if url is None else Server(str(place), connected(url))


class Folder:
    """A folder of this process alone, until it is closed."""

    def __init__(self, folder: Path):
        import qdrant_edge

        self._edge, self._folder = qdrant_edge, folder
        self._shard: Any = None
        self._lock = FileLock(folder / _LOCK)
        with disk_errors_in_one_line(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(blocking=False)
            except Timeout:
                raise InputError(
                    f"another process uses the gallery {folder}: wait for its end, or keep the "
                    "gallery on a server, which takes several"
                ) from None
        self.about = read_json(folder / _ABOUT) if (folder / _ABOUT).exists() else None
        if self.about is not None:
            with _failing(folder):
                self._shard = self._edge.EdgeShard.load(str(folder / _ROWS))

    def begin(self, about: dict[str, Any], vectors: dict[str, tuple[int, str]]) -> None:
        others = {path.name for path in self._folder.iterdir()} - {_ROWS, _LOCK}
        if others:
            raise InputError(
                f"{self._folder} holds {sorted(others)[0]!r} and is no gallery: name a new folder"
            )
        rows = self._folder / _ROWS
        shutil.rmtree(rows, ignore_errors=True)  # left by a kill before the first row
        edge = self._edge
        kinds = {
            name: edge.EdgeVectorParams(size=size, distance=getattr(edge.Distance, kind))
            for name, (size, kind) in vectors.items()
        }
        with disk_errors_in_one_line(self._folder), _failing(self._folder):
            rows.mkdir()
            self._shard = edge.EdgeShard.create(str(rows), edge.EdgeConfig(vectors=kinds))
            for key, kind in _INDEXED.items():
                schema = getattr(edge.PayloadSchemaType, kind)
                self._shard.update(edge.UpdateOperation.create_field_index(key, schema))
            self._shard.flush()
        self.note(about)

    def note(self, about: dict[str, Any]) -> None:
        with disk_errors_in_one_line(self._folder):
            write_atomically(self._folder / _ABOUT, json.dumps(about, indent=1))
        self.about = about

    def put(self, entries: Sequence[Entry]) -> None:
        edge = self._edge
        with _failing(self._folder):
            for some in _pieces(entries):
                points = [edge.Point(x.id, _lists(x.vectors), x.values) for x in some]
                self._shard.update(edge.UpdateOperation.upsert_points(points))
            self._shard.flush()

    def remove(self, ids: Sequence[str]) -> None:
        with _failing(self._folder):
            self._shard.update(self._edge.UpdateOperation.delete_points(list(ids)))
            self._shard.flush()

    def known(self, ids: Sequence[str]) -> set[str]:
        with _failing(self._folder):
            return {str(record.id) for record in self._shard.retrieve(list(ids), False, False)}

    def nearest(
        self, name: str, rows: np.ndarray, k: int, where: list[Condition], exact: bool,
        vectors: list[str],
    ) -> list[list[Hit]]:  # fmt: skip
        edge = self._edge
        requests = [
            edge.QueryRequest(
                query=edge.Query.Nearest(row.tolist(), using=name),
                limit=k,
                filter=self._filter(where),
                params=edge.SearchParams(exact=exact),
                with_payload=True,
                with_vector=vectors,
            )
            for row in rows
        ]
        with _failing(self._folder):
            found = self._shard.query_batch(edge.QueryBatchRequest(requests))
        return [[Hit(x.score, x.payload, x.vector or {}) for x in hits] for hits in found]

    def scan(self, where: list[Condition], vectors: list[str]) -> Iterator[Hit]:
        at = None
        while True:
            request = self._edge.ScrollRequest(at, 1000, self._filter(where), True, vectors)
            with _failing(self._folder):
                found, at = self._shard.scroll(request)
            for x in found:
                yield Hit(0.0, x.payload, x.vector or {})
            if at is None:
                return

    def count(self) -> int:
        return self._shard.count(self._edge.CountRequest()) if self._shard else 0

    def optimize(self) -> None:
        with _failing(self._folder):
            self._shard.optimize()

    def close(self) -> None:
        if self._shard is not None:
            self._shard.close()
        self._shard = None
        self._lock.release()

    def _filter(self, where: list[Condition]) -> Any:
        edge = self._edge
        conditions = [
            edge.FieldCondition(key, match=edge.MatchAny(among))
            if among is not None
            else edge.FieldCondition(key, range=edge.RangeFloat(gte=least, lte=most))
            for key, among, least, most in where
        ]
        return edge.Filter(must=conditions) if conditions else None


def connected(url: str) -> Any:
    """A client of a Qdrant server; its key, if it wants one, is in QDRANT_API_KEY."""
    try:
        from qdrant_client import QdrantClient
    except ImportError:
        raise InputError(
            'a gallery on a server needs qdrant-client: pip install "fgsam-jax[server]"'
        ) from None
    with _failing(url):
        if url == ":memory:":  # of this process, for trials
            return QdrantClient(url)
        return QdrantClient(url=url, api_key=os.environ.get("QDRANT_API_KEY"), timeout=60)


class Server:
    """A collection, which any number of processes and hosts use at once."""

    def __init__(self, collection: str, client: Any):
        from qdrant_client import models

        self._models, self._client, self._name = models, client, collection
        with _failing(collection):
            self.about = self._read() if client.collection_exists(collection) else None

    def _read(self) -> dict[str, Any]:
        return self._client.get_collection(self._name).config.metadata or {}

    def begin(self, about: dict[str, Any], vectors: dict[str, tuple[int, str]]) -> None:
        models = self._models
        kinds = {
            name: models.VectorParams(size=size, distance=models.Distance(kind))
            for name, (size, kind) in vectors.items()
        }
        with _failing(self._name):
            try:
                self._client.create_collection(self._name, kinds, metadata=about)
            except Exception:
                # Another process may have been first.
                if not self._client.collection_exists(self._name):
                    raise
            for key, kind in _INDEXED.items():
                self._client.create_payload_index(
                    self._name, key, models.PayloadSchemaType(kind.lower())
                )
            self.about = self._read()

    def note(self, about: dict[str, Any]) -> None:
        with _failing(self._name):
            self._client.update_collection(self._name, metadata=about)
        self.about = about

    def put(self, entries: Sequence[Entry]) -> None:
        point = self._models.PointStruct
        with _failing(self._name):
            for some in _pieces(entries):
                points = [point(id=x.id, vector=_lists(x.vectors), payload=x.values) for x in some]
                self._client.upsert(self._name, points, wait=True)

    def remove(self, ids: Sequence[str]) -> None:
        with _failing(self._name):
            self._client.delete(self._name, list(ids), wait=True)

    def known(self, ids: Sequence[str]) -> set[str]:
        with _failing(self._name):
            found = self._client.retrieve(self._name, list(ids), with_payload=False)
        return {str(record.id) for record in found}

    def nearest(
        self, name: str, rows: np.ndarray, k: int, where: list[Condition], exact: bool,
        vectors: list[str],
    ) -> list[list[Hit]]:  # fmt: skip
        models = self._models
        requests = [
            models.QueryRequest(
                query=row.tolist(),
                using=name,
                limit=k,
                filter=self._filter(where),
                params=models.SearchParams(exact=exact),
                with_payload=True,
                with_vector=vectors,
            )
            for row in rows
        ]
        found = []
        with _failing(self._name):
            for some in _pieces(requests):
                found += self._client.query_batch_points(self._name, some)
        return [[Hit(x.score, x.payload, x.vector or {}) for x in hits.points] for hits in found]

    def scan(self, where: list[Condition], vectors: list[str]) -> Iterator[Hit]:
        at = None
        while True:
            with _failing(self._name):
                found, at = self._client.scroll(
                    self._name,
                    self._filter(where),
                    limit=_AT_ONCE,
                    offset=at,
                    with_vectors=vectors,
                )
            for x in found:
                yield Hit(0.0, x.payload, x.vector or {})
            if at is None:
                return

    def count(self) -> int:
        with _failing(self._name):
            return self._client.count(self._name).count if self.about is not None else 0

    def optimize(self) -> None:
        """A server does so by itself."""

    def close(self) -> None:
        self._client.close()

    def _filter(self, where: list[Condition]) -> Any:
        models = self._models
        conditions = [
            models.FieldCondition(key=key, match=models.MatchAny(any=among))
            if among is not None
            else models.FieldCondition(key=key, range=models.Range(gte=least, lte=most))
            for key, among, least, most in where
        ]
        return models.Filter(must=conditions) if conditions else None


@contextlib.contextmanager
def _failing(place: object) -> Iterator[None]:
    """What a store raises, in one line; Qdrant Edge has no other class than Exception."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"the gallery {place} cannot be used: {error}") from error


def _pieces(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[begin : begin + _AT_ONCE] for begin in range(0, len(items), _AT_ONCE))


def _lists(vectors: dict[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: vector.tolist() for name, vector in vectors.items()}
