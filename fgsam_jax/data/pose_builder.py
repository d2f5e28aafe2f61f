"""What builders of images with joints share: records shard by shard, and a view for training."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fgsam_jax.data.records import LocalBuilder

STRIDE = 8


class PoseBuilder(tfds.core.ShardBasedBuilder, LocalBuilder):
    """A builder whose examples have joints, of a set that may be larger than the memory.

    A subclass gives `VERSION`, `TITLE`, `features`, `files`, `view` and TFDS's
    `_shard_iterators_per_split`. TFDS's other way collects a whole split first; beyond 1 GB it
    does so on disk, for which it needs TensorFlow, and reads all of it back at once.
    """

    def view(
        self,
        example: dict[str, Any],
        height: int,
        width: int,
        random: np.random.Generator | None = None,
    ) -> dict[str, np.ndarray]:
        """A training image of one example.

        Args:
          example: one record with its image and mask still encoded.
          height, width: of the image in pixels, divisible by 8.
          random: chooses among the views of the example; None takes the one for validation.

        Returns:
          "image" uint8 RGB [height, width, 3], "joints" float32 [people, 18, 3] in its pixels, as
          in `Table`, and "mask" float32 [height / 8, width / 8].
        """
        raise NotImplementedError

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        raise NotImplementedError("the records are written shard by shard")

    def _generate_examples(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        raise NotImplementedError("the records are written shard by shard")


def decoded(encoded: bytes, mode: str) -> Image.Image:
    """The image of an encoded file in one of Pillow's modes."""
    with Image.open(io.BytesIO(encoded)) as image:
        return image.convert(mode)


def cell_mask(mask: Image.Image, height: int, width: int) -> np.ndarray:
    """A mask of 0 and 255 averaged over the cells of an image of height x width.

    Returns:
      float32 [height / 8, width / 8], from 0 to 1.
    """
    size = (width // STRIDE, height // STRIDE)
    return np.asarray(mask.convert("F").resize(size, Image.Resampling.BOX), np.float32) / 255
