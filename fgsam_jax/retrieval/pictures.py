"""What users give as images, made into rows of one size."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fgsam_jax.data.images import as_shown, decode, read_image, resize
from fgsam_jax.errors import InputError

# Of a file.
_NAME = str | os.PathLike
_CONTENT = bytes | bytearray | memoryview


class _Sized:
    """Images of one size, each made when a slice asks for it.

    It has the length and the slices of an array uint8 [n, height, width, 3], which is never whole.
    """

    def __init__(self, items: Any, size: tuple[int, int], pool: ThreadPoolExecutor):
        self._items, self._size, self._pool = items, size, pool

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, rows: slice) -> np.ndarray:
        places = range(len(self._items))[rows]
        return np.stack(list(self._pool.map(self._make, places, self._items[rows])))

    def _make(self, place: int, item: Any) -> np.ndarray:
        width, height = self._size
        return resize(_picture(item, f"image {place}"), height, width)


def sized(images: Any, size: tuple[int, int], pool: ThreadPoolExecutor) -> Any:
    """Images as rows uint8 [n, height, width, 3] of one size, each made when it is asked for.

    Args:
      images: as `Embedder.embed` takes them.
      size: (width, height).
      pool: of the threads that make them.

    Raises:
      InputError: these are no images, here or when a slice is asked for.

    Example:

      >>> crops = [np.zeros((40, 20, 3), np.uint8), np.zeros((64, 32, 3), np.uint8)]
      >>> sized(crops, (32, 64), ThreadPoolExecutor(1))[:].shape
      (2, 64, 32, 3)
    """
    if isinstance(images, _NAME | _CONTENT | Image.Image):
        images = [images]
    if hasattr(images, "__array__") and np.ndim(images) != 1:  # an array of names is a list
        images = _pixels(images, "images", 4)
        return images if images.shape[1:3] == size[::-1] else _Sized(images, size, pool)
    if not isinstance(images, Iterable) or hasattr(images, "read"):
        raise _not_taken("images", images)
    return _Sized(list(images), size, pool)


def _picture(item: Any, name: str) -> Image.Image:
    """What a user gave as an image, in RGB."""
    if isinstance(item, _NAME):
        return read_image(Path(item))[1]
    if isinstance(item, _CONTENT):
        return decode(bytes(item), name=name)
    if isinstance(item, Image.Image):
        return as_shown(item, name=name)
    if hasattr(item, "__array__"):
        return Image.fromarray(_pixels(item, name, 3))
    raise _not_taken(name, item)


def _pixels(array: Any, name: str, axes: int) -> np.ndarray:
    """What NumPy takes for an array, if it is one of RGB images."""
    try:
        pixels = np.asanyarray(array)
    except (TypeError, ValueError, RuntimeError) as error:  # on another device, or of a trace
        raise InputError(f"{name} cannot be read as an array: {error}") from error
    masked = isinstance(pixels, np.ma.MaskedArray)
    shaped = pixels.ndim == axes and pixels.shape[-1] == 3 and all(pixels.shape[-3:])
    if pixels.dtype != np.uint8 or not shaped or masked:
        wanted = ", ".join(["n", "height", "width", "3"][-axes:])
        raise InputError(
            f"{name} must be uint8 RGB [{wanted}], got {'masked ' * masked}{pixels.dtype} "
            f"{list(pixels.shape)}"
        )
    return pixels


def _not_taken(name: str, given: Any) -> InputError:
    return InputError(
        f"{name} must be names of files, their bytes, images of Pillow or arrays uint8 RGB, "
        f"got {type(given).__name__}"
    )
