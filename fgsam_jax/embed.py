"""Images to descriptors, in batches: the host reads ahead while the devices work."""

import dataclasses
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import multihost_utils
from PIL import Image
from tqdm import tqdm

from fgsam_jax import build, processes
from fgsam_jax.errors import InputError
from fgsam_jax.processes import agreed
from fgsam_jax.step import parallel_embed_step, replicate

# The step gives these for each image.
Embedded = dict[str, Any]

# Batches that are read before they are asked for; one alone would leave threads idle at its end.
_AHEAD = 2

# Sizes of batch below the configured one: a call works on at most four rows for each image.
_SMALLER = (1, 8, 32, 128, 512, 2048)


class Embedder:
    """A trained model that turns images into descriptors.

    Attributes:
      about: what the checkpoint says of itself.
      step: of the checkpoint.
    """

    def __init__(
        self,
        about: build.About,
        variables: dict[str, Any],
        step: int = 0,
        *,
        dtype: str | None = None,
    ):
        """See `load`; variables as `model.apply` takes them."""
        self.about, self.step = about, step
        largest = about.config.evaluation_batch
        sizes = [size for size in _SMALLER if size < largest]
        self._embed = BatchedEmbedding(_model(about, dtype), variables, *sizes, largest)

    def embed(self, images: np.ndarray | str | Path | Iterable[str | Path]) -> np.ndarray:
        """Descriptors to compare by Euclidean distance.

        Images are decoded and resized batch by batch, on all cores, while the devices work. Batches
        hold 1, 8, 32, ... or `config.evaluation_batch` images, see `BatchedEmbedding`: the first
        call of a size waits for its compilation, and descriptors of different sizes differ by no
        more than rounding.

        Args:
          images: uint8 RGB [n, height, width, 3] of any size, or one image file or several.

        Returns:
          [n, dim] float32, rows of length 1.

        Raises:
          InputError: the array is not such images, or a file does not decode.
        """
        if isinstance(images, str | Path):
            images = [images]
        size = (self.about.config.data.width, self.about.config.data.height)
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            return self._embed(_sized(images, size, pool))["descriptor"]
        finally:
            # An error must not wait for the images still queued.
            pool.shutdown(cancel_futures=True)


def load(
    workdir: str | Path,
    *,
    phase: str | None = None,
    which: str = "newest",
    dtype: str | None = None,
) -> Embedder:
    """Restore a trained model from a run's folder; the checkpoint alone says what it is.

    Args:
      workdir: of the run.
      phase: its name; by default the last one that has a checkpoint.
      which: "newest" or "best".
      dtype: to compute in, "float32" or "bfloat16"; by default the one it was trained in.
        Descriptors are float32 in either.

    Raises:
      InputError: there is no such checkpoint or dtype, or the checkpoint is broken.
    """
    return Embedder(*build.restore(Path(workdir), phase, which), dtype=dtype)


class BatchedEmbedding:
    """`embed_step` over all rows of an array, in batches over all devices.

    A call takes one size of batch, and each size has one program, compiled when first needed. The
    size is the smallest that holds all images of the call; more than the largest holds go in
    batches of the largest, and the last of these is filled up, as compiling another program takes
    longer than the filling. Who gives one size alone, as an evaluation does, compiles once.

    With several processes each embeds a share over its own devices, and all get the whole; all
    must call it alike.
    """

    def __init__(self, model: nn.Module, variables: dict[str, Any], *sizes: int):
        """Put the variables on all devices of this process.

        Args:
          model: gives `Outputs`.
          variables: of the model.
          sizes: of the batches in images, rounded up to fill all devices.
        """
        self._devices = jax.local_device_count()
        self._sizes = sorted({-(-size // self._devices) * self._devices for size in sizes})
        self._step = parallel_embed_step(model)
        if jax.process_count() > 1:
            # A state that spans processes cannot be put on the devices of one, its value can.
            variables = jax.device_get(variables)
        self._variables = replicate(variables)

    def __call__(self, images: Any, title: str | None = None) -> Embedded:
        """The result of `embed_step` for all images, as NumPy arrays [n, ...].

        Args:
          images: uint8 [n, height, width, 3], or what has a length and gives such rows for a
            slice, which threads may ask for.
          title: of a progress bar; without it none is shown.

        Raises:
          InputError: there are no images, or reading them raises it.
        """
        if not len(images):
            raise InputError("there are no images to embed")
        if jax.process_count() > 1:
            return self._shared(images, title)
        return self._rows(images, 0, len(images), title)

    def _shared(self, images: Any, title: str | None) -> Embedded:
        """The result for all rows, of which this process works out one share."""
        processes, count = jax.process_count(), len(images)
        # Shares are equally long, as gathering wants them: the last may begin in the one before.
        share = -(-count // processes)
        firsts = [min(process * share, count - share) for process in range(processes)]
        first = firsts[jax.process_index()]
        found = agreed(lambda: self._rows(images, first, first + share, title))

        def whole(shares: np.ndarray) -> np.ndarray:
            rows = np.empty((count, *shares.shape[2:]), shares.dtype)
            for begin, piece in zip(firsts, shares, strict=True):
                rows[begin : begin + share] = piece
            return rows

        return jax.tree.map(whole, multihost_utils.process_allgather(found))

    def _rows(self, images: Any, first: int, last: int, title: str | None) -> Embedded:
        """The result for the rows first, ..., last - 1."""
        size = next((size for size in self._sizes if size >= last - first), self._sizes[-1])

        def read(start: int) -> np.ndarray:
            rows = np.asarray(images[start : min(start + size, last)])
            # A batch is filled up, so that one program serves all of its size. The copy also
            # reads a memory-mapped array here and not where the device waits for it.
            filled = np.resize(rows, (size, *rows.shape[1:]))
            return filled.reshape(self._devices, -1, *rows.shape[1:])

        starts = range(first, last, size)
        bar = tqdm(
            _ahead(read, starts),
            title,
            total=len(starts),
            leave=False,
            disable=None if title and processes.first() else True,
        )
        pieces: list[Embedded] = []
        running: list[Embedded] = []
        for batch in bar:
            # Fetching blocks: the devices have the next batch by then.
            running.append(self._step(self._variables, batch))
            if len(running) > 1:
                pieces.append(jax.device_get(running.pop(0)))
        pieces += jax.device_get(running)
        return jax.tree.map(lambda *x: _joined(x)[: last - first], *pieces)


def _ahead(make: Callable[[int], np.ndarray], items: Sequence[int]) -> Iterator[np.ndarray]:
    """make(item) of each item in turn; threads make the next ones while one is in use."""
    pool = ThreadPoolExecutor(_AHEAD)
    waiting: deque[Future[np.ndarray]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # An error must not wait for the batches being read, which nobody will take.
        pool.shutdown(wait=False, cancel_futures=True)


class _Sized:
    """Images of one size, each made when a slice asks for it."""

    def __init__(self, items: Any, make: Callable[[Any], np.ndarray], pool: ThreadPoolExecutor):
        self._items, self._make, self._pool = items, make, pool

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.stack(list(self._pool.map(self._make, self._items[rows])))


def _sized(images: Any, size: tuple[int, int], pool: ThreadPoolExecutor) -> Any:
    """Images as rows uint8 [n, height, width, 3] of one size, given as (width, height)."""
    if not isinstance(images, np.ndarray):
        return _Sized(list(images), lambda path: _read(path, size), pool)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise InputError(
            "images must be uint8 RGB [n, height, width, 3], "
            f"got {images.dtype} {list(images.shape)}"
        )
    if images.shape[1:3] == size[::-1]:
        return images
    return _Sized(images, lambda image: _resized(Image.fromarray(image), size), pool)


def _read(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return _resized(image.convert("RGB"), size)
    # Pillow's decoders raise all of these on broken files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image: {error}") from None


def _resized(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def _joined(pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Pieces [devices, rows, ...] one after the other, [all rows, ...]."""
    return np.concatenate([piece.reshape(-1, *piece.shape[2:]) for piece in pieces])


def _model(about: build.About, dtype: str | None) -> nn.Module:
    """The model of a checkpoint, computing in a dtype; None: the one it was trained in."""
    if dtype is None:
        return about.model()
    if dtype not in ("float32", "bfloat16"):
        raise InputError(f'dtype is "float32" or "bfloat16", got {dtype!r}')
    sizes = dataclasses.replace(about.config.model, dtype=dtype)
    config = dataclasses.replace(about.config, model=sizes)
    return dataclasses.replace(about, config=config).model()
