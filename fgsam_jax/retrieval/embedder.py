"""A trained model that turns images or files into descriptors.

A descriptor is the row of all branches' embeddings, each brought to length 1 and the whole as
well, so that Euclidean distances lie in [0, 2] and rank as cosine similarity does:
:math:`d^2 = 2 - 2 \\cos`.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast, get_args

import flax.linen as nn
import numpy as np
from PIL import Image

from fgsam_jax.checkpoint import CheckpointInfo, restore
from fgsam_jax.config import Dtype
from fgsam_jax.data.images import read_image, resize
from fgsam_jax.errors import InputError
from fgsam_jax.retrieval.inference import BatchedEmbedding

# Sizes of batch below the configured one: a call works on at most four rows for each image.
_SMALLER = (1, 8, 32, 128, 512, 2048)


class Embedder:
    """A trained model that turns images into descriptors; `load` makes one.

    It holds a copy of the weights on every local device, and shares each call's images among them.

    Attributes:
      info: what the checkpoint says of itself: configuration, phase, names of labels, versions.
      step: of the checkpoint, in training steps of its phase.
    """

    def __init__(
        self,
        info: CheckpointInfo,
        variables: dict[str, Any],
        step: int = 0,
        *,
        dtype: str | None = None,
    ):
        """From parts; `load` finds them in a run's folder.

        Args:
          info: of the checkpoint, from which the model is built.
          variables: as `model.apply` takes them.
          step: of the checkpoint.
          dtype: see `load`.
        """
        self.info, self.step = info, step
        largest = info.config.evaluation_batch
        sizes = [size for size in _SMALLER if size < largest]
        self._embed = BatchedEmbedding(
            _model(info, dtype), variables, *sizes, largest, mirror=info.config.mirror
        )

    def embed(self, images: np.ndarray | str | Path | Iterable[str | Path]) -> np.ndarray:
        """Descriptors to compare by Euclidean distance.

        Images are decoded and resized batch by batch, on all cores, while the devices work. Batches
        hold 1, 8, 32, ... or `config.evaluation_batch` images, see `BatchedEmbedding`: the first
        call of a size waits for its compilation, and descriptors of different sizes differ by no
        more than rounding. Files need never fit in memory at once.

        Args:
          images: uint8 RGB [n, height, width, 3] of any size, or one image file or several in any
            format that Pillow reads. They are resized to the size trained on, bilinearly and
            without keeping their proportions: pass crops of people, not whole pictures.

        Returns:
          [n, dim] float32, rows of length 1, in the order of the images.

        Raises:
          InputError: the array is not such images, or a file does not decode.

        Example:
          >>> embedder = fgsam_jax.load("runs/market")  # doctest: +SKIP
          >>> rows = embedder.embed(["a.jpg", "b.jpg", "c.jpg"])  # doctest: +SKIP
          >>> np.linalg.norm(rows[1:] - rows[0], axis=1)  # doctest: +SKIP
          array([0.61, 1.32], dtype=float32)
        """
        if isinstance(images, str | Path):
            images = [images]
        size = (self.info.config.data.width, self.info.config.data.height)
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
    which: str = "last",
    dtype: str | None = None,
) -> Embedder:
    """Restore a trained model from a run's folder; the checkpoint alone says what it is.

    Neither the configuration file nor the data set of the training is needed.

    Args:
      workdir: of the run, what was given as `--workdir`.
      phase: its name; by default the last one that has a checkpoint.
      which: "last", or "best" by mAP; the last where none was evaluated on the way.
      dtype: to compute in, "float32" or "bfloat16"; by default the one it was trained in.
        Descriptors are float32 in either.

    Raises:
      InputError: there is no such checkpoint or dtype, or the checkpoint is broken.

    Example:
      >>> embedder = fgsam_jax.load("runs/market", which="best")  # doctest: +SKIP
      >>> embedder.embed("query/0001_c1s1_001051_00.jpg").shape  # doctest: +SKIP
      (1, 2304)
    """
    return Embedder(*restore(Path(workdir), phase, which), dtype=dtype)


class _Sized:
    """Images of one size, each made when a slice asks for it.

    It has the length and the slices of an array uint8 [n, height, width, 3], which is never whole.
    """

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
    width, height = size
    return _Sized(images, lambda image: resize(Image.fromarray(image), height, width), pool)


def _read(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """One file as uint8 RGB [height, width, 3] of a size (width, height)."""
    width, height = size
    return resize(read_image(Path(path))[1], height, width)


def _model(info: CheckpointInfo, dtype: str | None) -> nn.Module:
    """The model of a checkpoint, computing in a dtype; None: the one it was trained in."""
    if dtype is None:
        return info.model()
    if dtype not in get_args(Dtype):
        raise InputError(f'dtype is "float32" or "bfloat16", got {dtype!r}')
    sizes = dataclasses.replace(info.config.model, dtype=cast(Dtype, dtype))
    config = dataclasses.replace(info.config, model=sizes)
    return dataclasses.replace(info, config=config).model()
