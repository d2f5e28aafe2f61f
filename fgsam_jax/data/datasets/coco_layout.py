"""The folders of COCO person keypoints, and what the builders over them share.

The layout is that of the 2017 release.
"""

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from fgsam_jax.data.datasets.builder import LocalBuilder
from fgsam_jax.data.datasets.coco_annotations import (
    Person,
    convert_joints,
    loss_mask,
    read_annotations,
)
from fgsam_jax.data.datasets.source import check_layout
from fgsam_jax.data.images import read_image
from fgsam_jax.errors import InputError

SPLITS = {"train": "train2017", "val": "val2017"}

# Outside of the image: OpenPose's (x - 128) / 256 makes it 0.
PADDING = 128

# A shard is held in memory while it is written: some 160 MB of whole images.
_IMAGES_OF_A_SHARD = 1000


class CocoBuilder(LocalBuilder):
    """What the builders over COCO's folders share; splits train and val.

    A subclass gives `chosen` and `examples`, and says in `WANTED` whom it needs.
    """

    WANTED: str

    @staticmethod
    def files(source: Path) -> list[Path]:
        """The two annotation files and every image of the two folders."""
        annotations = [f"annotations/person_keypoints_{name}.json" for name in SPLITS.values()]
        check_layout("COCO", source, [*annotations, *SPLITS.values()])
        found = [_annotation_file(source, folder) for folder in SPLITS.values()]
        for folder in SPLITS.values():
            found += sorted((source / folder).glob("*.jpg"))
        return found

    @staticmethod
    def chosen(persons: list[Person]) -> list[Person]:
        """The people of an image that training images are made for."""
        raise NotImplementedError

    @staticmethod
    def examples(
        encoded: bytes,
        image: Image.Image,
        mask: np.ndarray,
        joints: dict[int, np.ndarray],
        chosen: list[Person],
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """What an image with chosen people gives, each with the end of its name.

        Args:
          encoded: the image file.
          image: what it decodes to, RGB.
          mask: uint8 [height, width], 255 where the pose loss counts.
          joints: float32 [18, 3] of each labelled person, by annotation number.
          chosen: of this image.
        """
        raise NotImplementedError

    def images(self) -> dict[str, list[Path]]:
        """The images with somebody chosen."""
        found = {}
        for split, folder in SPLITS.items():
            file = _annotation_file(self.builder_config.source, folder)
            names, people, _ = read_annotations(file)
            shown = [number for number in sorted(people) if self.chosen(people[number])]
            home = self.builder_config.source / folder
            found[split] = [_image_file(home, names[number], file) for number in shown]
        return found

    def _shard_iterators_per_split(
        self, dl_manager: Any
    ) -> dict[str, list[Callable[[], Iterator[tuple[int, dict[str, Any]]]]]]:
        """The shards of the two folders, in the order of the image numbers."""
        source = self.builder_config.source
        shards: dict[str, list[Callable[[], Iterator[tuple[int, dict[str, Any]]]]]] = {}
        for split, folder in SPLITS.items():
            annotation_file = _annotation_file(source, folder)
            images, people, names = read_annotations(annotation_file)
            ids = [number for number in sorted(people) if self.chosen(people[number])]
            if not ids:
                raise InputError(
                    f"{annotation_file} describes nobody with {self.WANTED}. Use the published "
                    f"annotations."
                )
            paths = {n: _image_file(source / folder, images[n], annotation_file) for n in ids}
            begins = range(0, len(ids), _IMAGES_OF_A_SHARD)
            shards[split] = [
                functools.partial(
                    self._shard,
                    f"reading {folder} {shard}/{len(begins)}",
                    {number: paths[number] for number in ids[begin : begin + _IMAGES_OF_A_SHARD]},
                    people,
                    names,
                )
                for shard, begin in enumerate(begins, 1)
            ]
        return shards

    def _shard(
        self,
        title: str,
        paths: dict[int, Path],
        people: dict[int, list[Person]],
        names: list[str],
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The examples of some images, numbered; with a bar of this title."""
        row = 0
        for image_id, path in tqdm(paths.items(), title, unit=" images", leave=False, disable=None):
            if not os.path.isfile(path):
                raise InputError(
                    f"{path} is missing, but the annotations describe it. Unpack "
                    f"{path.parent.name} again."
                )
            encoded, image = read_image(path)
            persons = people[image_id]
            described = persons[0]["image_size"]
            if described not in (None, image.size):
                raise InputError(
                    f"{path} is {image.width}x{image.height} and the annotations describe "
                    f"{described[0]}x{described[1]}: unpack the images that belong to them."
                )
            try:
                mask = loss_mask(persons, image.height, image.width)
            except InputError as error:
                raise InputError(f"the annotations of {path} cannot be used: {error}") from None
            joints = {
                person["id"]: convert_joints(person["keypoints"], names)
                for person in persons
                if person["num_keypoints"] > 0 and not person["iscrowd"]
            }
            chosen = self.chosen(persons)
            _check_boxes(chosen, image, path)
            for end, example in self.examples(encoded, image, mask, joints, chosen):
                yield row, example | {"name": f"{image_id:012d}{end}"}
                row += 1


def _annotation_file(source: Path, folder: str) -> Path:
    return source / "annotations" / f"person_keypoints_{folder}.json"


def _image_file(home: Path, name: str, file: Path) -> Path:
    """The image of a file name, which may have folders before it but must not lead out of ours."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{file} names the image {name!r}, which lies outside of {home}")
    return home / name


def _check_boxes(persons: list[Person], image: Image.Image, path: Path) -> None:
    """Refuse a box that the image cannot hold: a crop of it could take all memory."""
    for person in persons:
        x, y, width, height = person["bbox"]
        meets = x < image.width and y < image.height and x + width > 0 and y + height > 0
        if not meets or max(width, height) > 2 * max(image.size):
            raise InputError(
                f"annotation {person['id']} has the box {person['bbox']}, and {path} is "
                f"{image.width}x{image.height}: use the annotations of these images."
            )
