"""A gallery's rows in a collection of a Qdrant server, which any number of hosts use at once."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fgsam_jax.errors import InputError
from fgsam_jax.retrieval.stores import (
    AT_ONCE,
    INDEXED,
    Condition,
    Entry,
    Hit,
    failing,
    lists,
    pieces,
)


def connected(url: str) -> Any:
    """A client of a Qdrant server; its key, if it wants one, is in QDRANT_API_KEY.

    Args:
      url: of the server; ":memory:" stands for one in this process, for trials.

    Raises:
      InputError: the extra `server` is missing.

    Example:
      >>> connected(":memory:").get_collections().collections
      []
    """
    try:
        from qdrant_client import QdrantClient
    except ImportError:
        raise InputError(
            'a gallery on a server needs qdrant-client: pip install "fgsam-jax[server]"'
        ) from None
    with failing(url):
        if url == ":memory:":
            return QdrantClient(url)
        return QdrantClient(url=url, api_key=os.environ.get("QDRANT_API_KEY"), timeout=60)


class ServerStore:
    """See `stores.Store`."""

    def __init__(self, collection: str, client: Any):
        from qdrant_client import models

        self._models, self._client, self._name = models, client, collection
        with failing(collection):
            self.about = self._read() if client.collection_exists(collection) else None

    def _read(self) -> dict[str, Any]:
        return self._client.get_collection(self._name).config.metadata or {}

    def begin(self, about: dict[str, Any], vectors: dict[str, tuple[int, str]]) -> None:
        models = self._models
        kinds = {
            name: models.VectorParams(size=size, distance=models.Distance(kind))
            for name, (size, kind) in vectors.items()
        }
        with failing(self._name):
            try:
                self._client.create_collection(self._name, kinds, metadata=about)
            except Exception:
                # Another process may have been first.
                if not self._client.collection_exists(self._name):
                    raise
            for key, kind in INDEXED.items():
                self._client.create_payload_index(
                    self._name, key, models.PayloadSchemaType(kind.lower())
                )
            self.about = self._read()

    def note(self, values: dict[str, Any]) -> None:
        with failing(self._name):  # another process may have noted something else meanwhile
            self._client.update_collection(self._name, metadata={**self._read(), **values})
            self.about = self._read()

    def put(self, entries: Sequence[Entry]) -> None:
        point = self._models.PointStruct
        with failing(self._name):
            for some in pieces(entries):
                points = [point(id=x.id, vector=lists(x.vectors), payload=x.values) for x in some]
                self._client.upsert(self._name, points, wait=True)

    def remove(self, ids: Sequence[str]) -> None:
        with failing(self._name):
            self._client.delete(self._name, list(ids), wait=True)

    def known(self, ids: Sequence[str]) -> set[str]:
        with failing(self._name):
            found = self._client.retrieve(self._name, list(ids), with_payload=False)
        return {str(record.id) for record in found}

    def get(self, ids: Sequence[str], vectors: list[str]) -> list[Hit]:
        with failing(self._name):
            found = self._client.retrieve(self._name, list(ids), with_vectors=vectors)
        return [Hit(0.0, x.payload, x.vector or {}) for x in found]

    def counts(self, key: str, most: int) -> dict[str, int]:
        with failing(self._name):
            found = self._client.facet(self._name, key, limit=most, exact=True)
        return {str(x.value): x.count for x in found.hits}

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
        with failing(self._name):
            for some in pieces(requests):
                found += self._client.query_batch_points(self._name, some)
        return [[Hit(x.score, x.payload, x.vector or {}) for x in hits.points] for hits in found]

    def scan(self, where: list[Condition], vectors: list[str]) -> Iterator[Hit]:
        at = None
        while True:
            with failing(self._name):
                found, at = self._client.scroll(
                    self._name,
                    self._filter(where),
                    limit=AT_ONCE,
                    offset=at,
                    with_vectors=vectors,
                )
            for x in found:
                yield Hit(0.0, x.payload, x.vector or {})
            if at is None:
                return

    def count(self, where: list[Condition]) -> int:
        if self.about is None:
            return 0
        with failing(self._name):
            return self._client.count(self._name, self._filter(where)).count

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
