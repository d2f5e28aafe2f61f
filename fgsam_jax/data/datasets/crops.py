"""What the re-identification sets share: crops of people, each with an identity and a camera."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from fgsam_jax.data.datasets.builder import LocalBuilder
from fgsam_jax.data.datasets.image_files import SUFFIXES
from fgsam_jax.data.datasets.joint_files import Labelled, read_joints
from fgsam_jax.data.images import read_image
from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import JOINTS
from fgsam_jax.metrics.protocol import DISTRACTOR, JUNK

# What a shard writes: numbered examples.
Shard = Callable[[], Iterator[tuple[int, dict[str, Any]]]]

# A shard is held in memory while it is written.
_CROPS_OF_A_SHARD = 5000

# Identity and camera are all that is read from a name such as 0002_c1s1_000451_03.jpg; nine digits
# fit the 32 bits of a table, and camera 0 would be an unknown one.
_NAME = re.compile(r"(-1|[0-9]{1,9})_c0*([1-9][0-9]{0,8})[^0-9].*", re.DOTALL)


@dataclass(frozen=True)
class Crop:
    """One image of a person.

    Attributes:
      path: the file.
      name: its name in tables, unique within the set.
      identity: -1 junk, 0 distractor, else the person.
      camera: 0 where it is not known.
      attributes: class by attribute; those left out are not labelled.
    """

    path: Path
    name: str
    identity: int
    camera: int = 0
    attributes: Mapping[str, int] = field(default_factory=dict)


class CropsBuilder(LocalBuilder):
    """A builder of crops; its splits are train, query and gallery, or `WHOLE` if it has none.

    An example is {"image": the file's bytes, "name", "identity", "camera", "attributes": {name:
    class, -1 unlabelled}}, see `Crop`, and, if joints were given, "joints" float32
    [people, 18, 3] in pixels of the crop, in the order and with the states of `Table.joints`.
    """

    SUFFIXES: ClassVar[tuple[str, ...]] = SUFFIXES
    # What was published, by split: (images, identities above 0), to be compared by a person.
    PUBLISHED: ClassVar[Mapping[str, tuple[int, int]]] = {}

    def crops(self) -> dict[str, list[Crop]]:
        """The crops of every split, in the order of their rows. Reads no image."""
        raise NotImplementedError

    @staticmethod
    def roots(source: Path) -> list[Path]:
        """The folders that hold the images and nothing else."""
        return [source] if source.is_dir() else []

    def images(self) -> dict[str, list[Path]]:
        """The crops' files."""
        return {split: [crop.path for crop in crops] for split, crops in self.crops().items()}

    def features(self) -> dict[str, Any]:
        """Image bytes, name, identity, camera, attributes and perhaps joints."""
        features = {
            # Stored as published: jpeg, png or bmp.
            "image": tfds.features.Image(shape=(None, None, 3)),
            "name": tfds.features.Text(),
            "identity": np.int64,
            "camera": np.int64,
            "attributes": {
                attribute.name: tfds.features.ClassLabel(names=attribute.classes)
                for attribute in self.attributes()
            },
        }
        if self.builder_config.joints is not None:
            features["joints"] = tfds.features.Tensor(
                shape=(None, len(JOINTS), 3), dtype=np.float32
            )
        return features

    def _shard_iterators_per_split(self, dl_manager: Any) -> dict[str, list[Shard]]:
        """The shards of the splits; every name and label is checked before an image is read."""
        splits = self.crops()
        joints: dict[str, list[Labelled]] = {}
        if self.builder_config.joints is not None:
            names = {split: [crop.name for crop in crops] for split, crops in splits.items()}
            joints = read_joints(self.builder_config.joints, names)
        shards: dict[str, list[Shard]] = {}
        for split, crops in splits.items():
            begins = range(0, len(crops), _CROPS_OF_A_SHARD)
            shards[split] = [
                functools.partial(
                    self._shard,
                    f"reading {split} {number}/{len(begins)}",
                    crops[begin : begin + _CROPS_OF_A_SHARD],
                    joints[split][begin : begin + _CROPS_OF_A_SHARD] if joints else None,
                )
                for number, begin in enumerate(begins, 1)
            ]
        return shards

    def _shard(
        self, title: str, crops: list[Crop], joints: list[Labelled] | None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The examples of some crops, numbered; with a bar of this title."""
        unlabelled = {attribute.name: -1 for attribute in self.attributes()}
        bar = tqdm(crops, title, unit=" images", leave=False, disable=None)
        for row, crop in enumerate(bar):
            encoded, image = read_image(crop.path)
            example = {
                "image": encoded,
                "name": crop.name,
                "identity": crop.identity,
                "camera": crop.camera,
                "attributes": unlabelled | dict(crop.attributes),
            }
            if joints is not None:
                example["joints"] = joints[row].of(crop.path, image.size)
            yield row, example


def parse_name(path: Path) -> tuple[int, int]:
    """Identity and camera of a file named like 0002_c1s1_000451_03.jpg or -1_c3s2_....jpg.

    Raises:
      InputError: another name; identities go from -1 to 999999999 and cameras from 1.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise InputError(
            f"{str(path)!r} is not named like an image of Market-1501: expected "
            f"identity_cCAMERA..., for example 0002_c1s1_000451_03.jpg. Rename or remove it."
        )
    return int(match[1]), int(match[2])


def check_roles(splits: Mapping[str, list[Crop]]) -> None:
    """Refuse who cannot be where they are: nobody is learned from, and no distractor looked for.

    Raises:
      InputError: junk or a distractor in train, or a distractor in query.
    """
    for split, nobody in (("train", (DISTRACTOR, JUNK)), ("query", (DISTRACTOR,))):
        for crop in splits.get(split, ()):
            if crop.identity in nobody:
                kind = "junk" if crop.identity else "a distractor"
                raise InputError(
                    f"{crop.path} has the identity {crop.identity}, {kind}, and is in the split "
                    f"{split}, which shows people: these count from 1. Move it to the gallery or "
                    f"leave it out; if it shows a person, number all people from 1."
                )
