"""A gallery's rows in a folder, by Qdrant Edge: without a server, by one process at a time."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from fgsam_jax.errors import InputError
from fgsam_jax.retrieval.stores import INDEXED, Condition, Entry, Hit, failing, lists, pieces
from fgsam_jax.runtime.files import read_json
from fgsam_jax.runtime.output import disk_errors_in_one_line, write_atomically

ABOUT = "gallery.json"
_ROWS, _LOCK = "qdrant", ".lock"


class FolderStore:
    """See `stores.Store`; the folder is this process's alone until it is closed."""

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
                    f"another process uses the gallery {folder} (a running tools/serve.py?): wait "
                    "for its end, or keep the gallery on a server, which takes several"
                ) from None
        self.about = read_json(folder / ABOUT) if (folder / ABOUT).exists() else None
        if self.about is not None:
            with failing(folder):
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
        with disk_errors_in_one_line(self._folder), failing(self._folder):
            rows.mkdir()
            self._shard = edge.EdgeShard.create(str(rows), edge.EdgeConfig(vectors=kinds))
            for key, kind in INDEXED.items():
                schema = getattr(edge.PayloadSchemaType, kind)
                self._shard.update(edge.UpdateOperation.create_field_index(key, schema))
            self._shard.flush()
        self.note(about)

    def note(self, values: dict[str, Any]) -> None:
        about = {**(self.about or {}), **values}
        with disk_errors_in_one_line(self._folder):
            write_atomically(self._folder / ABOUT, json.dumps(about, indent=1))
        self.about = about

    def put(self, entries: Sequence[Entry]) -> None:
        edge = self._edge
        with failing(self._folder):
            for some in pieces(entries):
                points = [edge.Point(x.id, lists(x.vectors), x.values) for x in some]
                self._shard.update(edge.UpdateOperation.upsert_points(points))
            self._shard.flush()

    def remove(self, ids: Sequence[str]) -> None:
        with failing(self._folder):
            self._shard.update(self._edge.UpdateOperation.delete_points(list(ids)))
            self._shard.flush()

    def known(self, ids: Sequence[str]) -> set[str]:
        with failing(self._folder):
            return {str(record.id) for record in self._shard.retrieve(list(ids), False, False)}

    def get(self, ids: Sequence[str], vectors: list[str]) -> list[Hit]:
        with failing(self._folder):
            found = self._shard.retrieve(list(ids), True, vectors)
        return [Hit(0.0, x.payload, x.vector or {}) for x in found]

    def counts(self, key: str, most: int) -> dict[str, int]:
        with failing(self._folder):
            found = self._shard.facet(self._edge.FacetRequest(key, most, exact=True))
        return {str(x.value): x.count for x in found.hits}

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
        with failing(self._folder):
            found = self._shard.query_batch(edge.QueryBatchRequest(requests))
        return [[Hit(x.score, x.payload, x.vector or {}) for x in hits] for hits in found]

    def scan(self, where: list[Condition], vectors: list[str]) -> Iterator[Hit]:
        at = None
        while True:
            request = self._edge.ScrollRequest(at, 1000, self._filter(where), True, vectors)
            with failing(self._folder):
                found, at = self._shard.scroll(request)
            for x in found:
                yield Hit(0.0, x.payload, x.vector or {})
            if at is None:
                return

    def count(self, where: list[Condition]) -> int:
        if self._shard is None:
            return 0
        with failing(self._folder):
            return self._shard.count(self._edge.CountRequest(filter=self._filter(where)))

    def optimize(self) -> None:
        with failing(self._folder):
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
