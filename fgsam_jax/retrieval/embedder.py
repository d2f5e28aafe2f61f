"""A trained model that turns images or files into descriptors.

A descriptor is the row of all branches' embeddings, each brought to length 1 and the whole as
well, so that Euclidean distances lie in [0, 2] and rank as cosine similarity does:
:math:`d^2 = 2 - 2 \\cos`.
"""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import flax.linen as nn
import numpy as np

from fgsam_jax.checkpoint import CheckpointInfo, restore
from fgsam_jax.config import Dtype
from fgsam_jax.errors import InputError
from fgsam_jax.retrieval.description import Description, branch_columns
from fgsam_jax.retrieval.inference import BatchedEmbedding, Embedded
from fgsam_jax.retrieval.pictures import sized
from fgsam_jax.settings import own_settings

# Sizes of batch below the configured one: a call works on at most four rows for each image.
_SMALLER = (1, 8, 32, 128, 512, 2048)


class Embedder:
    """A trained model that turns images into descriptors; `load` makes one.

    It holds a copy of the weights on every local device, and shares each call's images among them.

    Attributes:
      info: what the checkpoint says of itself: configuration, phase, names of labels, versions.
      step: of the checkpoint, in training steps of its phase.
    """

    @own_settings()
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
        self.info, self.step, self._dtype = info, step, dtype
        largest = info.config.evaluation_batch
        sizes = [size for size in _SMALLER if size < largest]
        self._embed = BatchedEmbedding(
            _model(info, dtype), variables, *sizes, largest, mirror=info.config.mirror
        )

    def __reduce__(self) -> tuple:
        # Devices and compiled programs belong to this process: another makes its own.
        return partial(type(self), dtype=self._dtype), (
            self.info,
            self._embed.variables(),
            self.step,
        )

    def variables(self) -> dict[str, Any]:
        """Weights and statistics of the model, on the host."""
        return self._embed.variables()

    @own_settings()
    def embed(self, images: Any) -> np.ndarray:
        """Descriptors to compare by Euclidean distance.

        Images are decoded and resized batch by batch, on all cores, while the devices work. Batches
        hold 1, 8, 32, ... or `config.evaluation_batch` images, see `BatchedEmbedding`: the first
        call of a size waits for its compilation, and descriptors of different sizes differ by no
        more than rounding. Files need never fit in memory at once.

        Args:
          images: uint8 RGB [n, height, width, 3] of any size, or one image or several of any sizes:
            the name of a file, its bytes, an image of Pillow or, among several, uint8 RGB
            [height, width, 3]. Files are JPEG, PNG or BMP, see `fgsam_jax.data.images`; arrays are
            of NumPy, JAX or what NumPy takes. They are resized to the size trained on, bilinearly
            and without keeping their proportions: pass crops of people, not whole pictures.

        Returns:
          [n, dim] float32, rows of length 1, in the order of the images.

        Raises:
          InputError: something is not such an image; the message has its place or name.

        Example:
          >>> embedder = fgsam_jax.load("runs/market")  # doctest: +SKIP
          >>> rows = embedder.embed(["a.jpg", "b.jpg", "c.jpg"])  # doctest: +SKIP
          >>> np.linalg.norm(rows[1:] - rows[0], axis=1)  # doctest: +SKIP
          array([0.61, 1.32], dtype=float32)
        """
        return self._of(self._embed, images)["descriptor"]

    @own_settings()
    def describe(self, images: Any) -> Description:
        """Descriptors, and what the model says of each image beside them.

        It is a program of its own, compiled when first asked for; `embed` costs what it did.

        Args:
          images: as `embed` takes them.

        Raises:
          InputError: as `embed` does.

        Example:
          >>> embedder = fgsam_jax.load("runs/market")  # doctest: +SKIP
          >>> found = embedder.describe(["a.jpg", "b.jpg"])  # doctest: +SKIP
          >>> found.attributes["backpack"], found.visibility["head"]  # doctest: +SKIP
          (array([[0.9, 0.1], [0.2, 0.8]], dtype=float32), array([0.62, 0.11], dtype=float32))
        """
        found = self._of(self._embed.describing(), images)
        rows = found["descriptor"]
        columns = branch_columns(self.info, rows.shape[1])
        return Description(rows, columns, found["probabilities"], found["visibility"])

    def _of(self, embedding: BatchedEmbedding, images: Any) -> Embedded:
        size = (self.info.config.data.width, self.info.config.data.height)
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            return embedding(sized(images, size, pool))
        finally:
            # An error must not wait for the images still queued.
            pool.shutdown(cancel_futures=True)


@own_settings()
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
      InputError: there is no such checkpoint or dtype, the phase gives no descriptors, or the
        checkpoint is broken.

    Example:
      >>> embedder = fgsam_jax.load("runs/market", which="best")  # doctest: +SKIP
      >>> embedder.embed("query/0001_c1s1_001051_00.jpg").shape  # doctest: +SKIP
      (1, 2048)
    """
    info, variables, step = restore(Path(workdir), phase, which)
    if info.kind == "pose":
        raise InputError(
            f"the phase {phase} of {workdir} estimates joints and gives no descriptors: name "
            "another, or none for the last that does"
        )
    return Embedder(info, variables, step, dtype=dtype)


def _model(info: CheckpointInfo, dtype: str | None) -> nn.Module:
    """The model of a checkpoint, computing in a dtype; None: the one it was trained in."""
    if dtype is None:
        return info.model()
    if dtype not in get_args(Dtype):
        raise InputError(f'dtype is "float32" or "bfloat16", got {dtype!r}')
    sizes = dataclasses.replace(info.config.model, dtype=cast(Dtype, dtype))
    config = dataclasses.replace(info.config, model=sizes)
    return dataclasses.replace(info, config=config).model()
