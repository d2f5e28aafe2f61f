"""The addresses of the page, and what they answer."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from fgsam_jax.errors import InputError
from fgsam_jax.retrieval.answers import nobody, nothing, search_reranked
from fgsam_jax.retrieval.comparison import compare
from fgsam_jax.retrieval.crop_lists import kept_file
from fgsam_jax.retrieval.embedder import Embedder
from fgsam_jax.retrieval.filters import EARLIEST
from fgsam_jax.retrieval.gallery import Gallery
from fgsam_jax.retrieval.rows import Row
from fgsam_jax.retrieval.threshold import Threshold
from fgsam_jax.visualization.match import part_pictures
from fgsam_jax.web import shown
from fgsam_jax.web.asked import COMPARE, SEARCH, Asked, asked_for, check_names
from fgsam_jax.web.guard import LOOPBACK, Guard, told
from fgsam_jax.web.images import MOST_BYTES, Images
from fgsam_jax.web.worker import TOGETHER, Worker

AT_ONCE = 128  # searches and comparisons; what they hold is bounded by this many files
_STATIC = Path(__file__).parent / "static"


class Page:
    """A gallery and its model for the browser; `application` answers.

    Making it compiles all programs that requests need, so that none waits for that.

    Example:
      >>> with opened("people") as (gallery, embedder):  # doctest: +SKIP
      ...     page = Page(gallery, embedder, Path("."))
      ...     uvicorn.run(page.application())
    """

    def __init__(self, gallery: Gallery, embedder: Embedder, root: Path):
        """Args:
          gallery: of this process, not used by others meanwhile.
          embedder: of its model.
          root: the folder that names in the gallery are relative to; no other is read.

        Raises:
          InputError: the gallery is empty, or its first image is not where its name says.
        """
        self._gallery, self._embedder, self._root = gallery, embedder, root
        kept = gallery.about.get("threshold")
        self._threshold = None if kept is None else Threshold.from_dict(kept)
        self._limit = None if self._threshold is None else self._threshold.distance
        self._inside = 0
        data = embedder.info.config.data
        self._images = Images(root, data.height, data.width)
        self._worker = Worker(embedder)
        try:
            self._about = self._worker.now(self._begin)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the gallery be closed."""
        self._worker.close()
        self._images.close()

    def application(self, hosts: Collection[str] | None = LOOPBACK) -> Guard:
        """The page for a server of ASGI; hosts as for `Guard`."""
        routes = [
            Route("/api/about", self.about),
            Route("/api/search", self.search, methods=["GET", "POST"]),
            Route("/api/compare", self.compare, methods=["GET", "POST"]),
            Route("/crop/{id:uuid}", self.crop),
            Mount("/", StaticFiles(directory=_STATIC, html=True)),
        ]
        kinds = (HTTPException, InputError, ClientDisconnect, Exception)
        failures: dict[Any, Any] = dict.fromkeys(kinds, told)
        return Guard(Starlette(routes=routes, exception_handlers=failures), hosts)

    async def about(self, _: Request) -> Response:
        """What there is to ask for."""
        return JSONResponse(self._about)

    async def search(self, request: Request) -> Response:
        """The crops nearest to a file that is posted, or to the crop ?query; else any crops."""
        check_names(request.query_params, SEARCH)
        asked = asked_for(request.query_params, self._gallery.attributes)
        query: dict[str, Any] | None = None
        row, own = None, None
        with self._admitted():
            if request.method == "POST":
                sent = await self._images.sent(request)
                query = {"picture": shown.inside(sent.jpeg)}
                row = await self._worker.embed(sent.pixels)
            elif id := request.query_params.get("query"):
                known = await self._row(id, descriptor=True)
                query, row, own = shown.crop(known, None), known.descriptor, known.id
            found, empty, why = await self._worker.run(self._find, row, own, asked)
        return JSONResponse(
            {
                "query": query,
                "found": [shown.crop(x, self._limit) for x in found],
                "nobody": empty,
                "nothing": why,
                "understood": asked.where.get("attributes", {}),
                "unknown": asked.unknown,
            }
        )

    async def compare(self, request: Request) -> Response:
        """Why the crop ?match is near to a file that is posted, or to the crop ?query, or not."""
        given = request.query_params
        check_names(given, COMPARE)
        with self._admitted():
            row = await self._row(given.get("match", ""))
            if request.method == "POST":
                query = await self._images.sent(request)
            else:
                query = await self._images.kept(await self._row(given.get("query", "")))
            two = np.stack([query.pixels, (await self._images.kept(row)).pixels])
            found = await self._worker.run(self._compare, two)
        return JSONResponse({"match": shown.crop(row, None), **found})

    async def crop(self, request: Request) -> Response:
        """The picture of a crop of the gallery."""
        kept = await self._images.kept(await self._row(str(request.path_params["id"])))
        headers = {"Cache-Control": "private, max-age=300"}
        return Response(kept.jpeg, media_type="image/jpeg", headers=headers)

    def _begin(self) -> dict[str, Any]:
        """Look at the gallery, and compile."""
        row = next(self._gallery.rows(), None)
        if row is None:
            raise InputError("the gallery has no crops: index some first")
        kept_file(row.name, self._root)
        data = self._embedder.info.config.data
        blank = np.zeros((TOGETHER, data.height, data.width, 3), np.uint8)
        for crops in (blank, blank[:1]):
            rows = self._embedder.embed(crops)
        self._compare(blank[:2])
        self._find(rows[0], None, Asked(1, False, {}, []))
        return {
            "crops": len(self._gallery),
            "cameras": self._gallery.cameras(),
            "timed": self._gallery.count(since=EARLIEST) > 0,
            "attributes": self._gallery.about["attributes"],
            "threshold": self._limit,
            "most_bytes": MOST_BYTES,
        }

    def _find(
        self, row: np.ndarray | None, own: str | None, asked: Asked
    ) -> tuple[list[Row], bool | None, str | None]:
        """A search's crops without the query's own, if they show nobody, and why there are none."""
        empty = None
        if row is None:
            found = list(islice(self._gallery.rows(**asked.where), asked.k))
        else:
            others = int(own is not None)
            nearest = (1 if asked.re_rank else asked.k) + others
            (found,) = self._gallery.search(row[None], nearest, **asked.where)
            empty = nobody(self._gallery, [x for x in found if x.id != own])
            if asked.re_rank:
                k = asked.k + others
                (found,) = search_reranked(self._gallery, row[None], k, **asked.where)
            found = [x for x in found if x.id != own][: asked.k]
        return found, empty, nothing(self._gallery, found, **asked.where)

    def _compare(self, two: np.ndarray) -> dict[str, Any]:
        described = self._embedder.describe(two)
        found = compare(described, self._embedder.info.attributes, self._threshold)
        return shown.match(found, part_pictures(found, two, self._embedder))

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self._inside >= AT_ONCE:
            text = f"{AT_ONCE} others are being answered: ask again in a moment"
            raise HTTPException(503, text, {"Retry-After": "1"})
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def _row(self, id: str, *, descriptor: bool = False) -> Row:
        try:
            known = str(UUID(id))
        except ValueError:
            raise HTTPException(404, "a crop of the gallery is named by its id") from None
        row = await self._worker.run(lambda: self._gallery.by_id(known, descriptor=descriptor))
        if row is None:
            raise HTTPException(404, f"the gallery has no crop {known}")
        return row
