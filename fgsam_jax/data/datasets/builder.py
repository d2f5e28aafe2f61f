"""What every data set's builder shares.

TFDS takes most of a second to import. Builders and records alone import it; `fgsam_jax.data`
imports them when a table is opened.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from fgsam_jax.data.images import resized
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import Attribute


@dataclass(eq=False)
class SourceConfig(tfds.core.BuilderConfig):
    """Where a builder reads from; its name holds the fingerprint of what is read.

    Attributes:
      source: the unpacked data set.
      attributes: the attribute file, or None for a set without labelled attributes.
      joints: the file or folder of joints for the crops of a set, or None.
      outside: whether a CSV may name images outside of its own folder.
    """

    source: Path = Path()
    attributes: Path | None = None
    joints: Path | None = None
    outside: bool = False


class Records:
    """The examples of a split in the order of its rows, image and mask still encoded."""

    def __init__(self, builder: "LocalBuilder", split: str):
        """Open the records. Raises InputError if they are damaged, as does reading."""
        self._builder = builder
        encoded = {"image", "mask"} & set(builder.info.features)
        skip = {name: tfds.decode.SkipDecoding() for name in encoded}
        with self._damage():
            self._source = builder.as_data_source(split=split, decoders=skip)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row: int) -> dict[str, Any]:
        with self._damage():
            return self._source[row]

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        """ArrayRecord has checksums, and as many kinds of errors as places for damage."""
        try:
            yield
        except (RuntimeError, OSError, ValueError, IndexError) as error:
            raise InputError(
                f"the records in {self._builder.data_dir} are damaged ({error}): remove that "
                f"folder, and the next start makes them anew"
            ) from error


class LocalInfo(tfds.core.DatasetInfo):
    """Dataset info that never looks for a public copy of the set."""

    def initialize_from_bucket(self) -> None:
        """TFDS would leave an empty folder in the temporary directory at each call."""


class LocalBuilder(tfds.core.ShardBasedBuilder):
    """A builder over a folder that the user has unpacked.

    A subclass gives `VERSION`, the data set's `features` and `files`, and TFDS's
    `_shard_iterators_per_split`: only a shard at a time is held in memory. TFDS's other way
    collects a whole split, and beyond 1 GB does so by TensorFlow.
    """

    TITLE: str
    # Whether `view` draws another view each time, so that a training set cannot be kept.
    VIEWS_DIFFER: ClassVar[bool] = False
    # Nothing is downloaded; TFDS would look for a checksum file with a package we do not need.
    url_infos = None
    builder_config: SourceConfig

    @staticmethod
    def find_attributes(source: Path, attributes: Path | None) -> Path | None:
        """The attribute file to use: the one given, or one found in its usual place, or None.

        Raises:
          InputError: one is given to a set that takes none.
        """
        if attributes is not None:
            raise InputError(
                f"this set takes no attribute file, got {attributes}: leave config.data.attributes "
                f"empty"
            )
        return None

    @staticmethod
    def files(source: Path) -> list[Path]:
        """Every file that the records are made from, sorted; InputError if the layout is wrong."""
        raise NotImplementedError

    def features(self) -> dict[str, Any]:
        """The features of one example."""
        raise NotImplementedError

    def images(self) -> dict[str, list[Path]]:
        """The image files that the records of each split are made from, missing ones too."""
        raise NotImplementedError

    def attributes(self) -> tuple[Attribute, ...]:
        """The attributes that an example may be labelled with."""
        return ()

    def view(
        self, example: dict[str, Any], height: int, width: int, random: Any = None
    ) -> dict[str, np.ndarray]:
        """What a model sees of a record.

        Args:
          example: of the records, image and mask still encoded.
          height, width: of the view in pixels.
          random: a NumPy generator, for the sets that are seen another way each time.

        Returns:
          "image" uint8 [height, width, 3] and, for a set with joints, "joints" float32
          [people, 18, 3] in pixels of the view and "mask" float32 [height / 8, width / 8].
        """
        return resized(example, height, width)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        raise NotImplementedError("the records are written shard by shard")

    def _generate_examples(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        raise NotImplementedError("the records are written shard by shard")

    def _info(self) -> tfds.core.DatasetInfo:
        # File-name order keeps the rows of a table in the order that other tools use.
        return LocalInfo(
            builder=self,
            description=self.TITLE,
            features=tfds.features.FeaturesDict(self.features()),
            disable_shuffling=True,
        )
