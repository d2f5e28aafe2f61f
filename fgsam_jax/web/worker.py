"""The one thread that uses the devices and the gallery, for any number of requests."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from fgsam_jax.retrieval.embedder import Embedder

TOGETHER = 8  # crops, one of the embedder's sizes of batch

Result = TypeVar("Result")


class Worker:
    """Does one thing after another, but embeds together the crops that wait.

    One thread, as two that compile programs and write them to the cache have crashed JAX, and as a
    gallery's folder has one user at a time.
    """

    def __init__(self, embedder: Embedder):
        self._embedder = embedder
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[tuple[np.ndarray, Future[np.ndarray]]] = deque()

    def close(self) -> None:
        """Wait for what has begun, and drop the rest."""
        self._thread.shutdown(cancel_futures=True)

    def now(self, function: Callable[..., Result], *given: Any) -> Result:
        """function(*given) in the thread; for a caller who may block."""
        return self._thread.submit(function, *given).result()

    async def run(self, function: Callable[..., Result], *given: Any) -> Result:
        """function(*given) in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *given)

    async def embed(self, crop: np.ndarray) -> np.ndarray:
        """The descriptor [dim] of uint8 RGB [height, width, 3], of the size trained on."""
        found: Future[np.ndarray] = Future()
        self._waiting.append((crop, found))
        self._thread.submit(self._embed_waiting)
        return await asyncio.wrap_future(found)

    def _embed_waiting(self) -> None:
        """As many crops as go together; a call for each crop leaves none behind."""
        some = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
        some = [(crop, found) for crop, found in some if found.set_running_or_notify_cancel()]
        if not some:
            return
        try:
            rows = self._embedder.embed(np.stack([crop for crop, _ in some]))
        except BaseException as error:
            for _, found in some:
                found.set_exception(error)
        else:
            for (_, found), row in zip(some, rows, strict=True):
                found.set_result(row)
