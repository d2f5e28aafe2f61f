"""The images of requests: of the gallery, or sent; decoded by threads of their own."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import Request

from fgsam_jax.data.images import decode, read_image, resize
from fgsam_jax.errors import InputError
from fgsam_jax.retrieval.crop_lists import located
from fgsam_jax.retrieval.rows import Row
from fgsam_jax.web.shown import small_jpeg

MOST_BYTES = 8 * 2**20  # of a file that is sent
# Of one that is too large so much is read and dropped: who still sends may not see an answer.
_MOST_READ = 8 * MOST_BYTES
_SECONDS = 30  # in which a file must come


class Crop(NamedTuple):
    """An image of a request: uint8 RGB [height, width, 3] for the model, a small JPEG to show."""

    pixels: np.ndarray
    jpeg: bytes


class Images:
    """Makes crops of images, as many at a time as there are cores."""

    def __init__(self, root: Path, height: int, width: int):
        """Args:
        root: the folder that names in the gallery are relative to; no other is read.
        height, width: of the crops, in pixels.
        """
        self._root, self._size = root, (height, width)
        self._decoders = ThreadPoolExecutor(os.cpu_count())

    def close(self) -> None:
        """Wait for what has begun, and drop the rest."""
        self._decoders.shutdown(cancel_futures=True)

    async def kept(self, row: Row) -> Crop:
        """The image of a crop of the gallery."""
        try:
            return await self._decoded(lambda: read_image(located(row.name, self._root))[1])
        except InputError:
            # Its message would tell a stranger of this machine's folders.
            raise HTTPException(404, f"the image {row.name} is not there or broken") from None

    async def sent(self, request: Request) -> Crop:
        """The image that a request brings."""
        kind = request.headers.get("content-type", "")
        if not kind.startswith(("image/", "application/octet-stream")):
            text = "send the bytes of an image, with its type such as image/jpeg as Content-Type"
            raise HTTPException(415, text)
        content, size = bytearray(), 0
        try:
            async with asyncio.timeout(_SECONDS):
                async for piece in request.stream():
                    size += len(piece)
                    if size <= MOST_BYTES:
                        content += piece
                    elif size > _MOST_READ:
                        break
        except TimeoutError:
            raise HTTPException(408, f"the file did not come in {_SECONDS} seconds") from None
        if size > MOST_BYTES:
            raise HTTPException(413, f"a file of at most {MOST_BYTES // 2**20} MB is taken")
        try:
            return await self._decoded(lambda: decode(bytes(content), name="the file sent"))
        except InputError as error:
            raise HTTPException(415, str(error)) from None

    async def _decoded(self, make: Callable[[], Image.Image]) -> Crop:
        """A crop of the image that make() gives, by a thread of its own."""

        def crop() -> Crop:
            image = make()
            return Crop(resize(image, *self._size), small_jpeg(image))

        return await asyncio.get_running_loop().run_in_executor(self._decoders, crop)
