"""COCO person keypoints as crops in the shape of re-identification boxes.

Source: Lin et al., "Microsoft COCO: Common Objects in Context"; the layout is that of the 2017
release. The mask W(p) of the pose loss follows OpenPose's `genCOCOMask.m`, except that every
crowd region is masked and not only an image's single one.
"""

import functools
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from pycocotools import mask as coco_mask
from tqdm import tqdm

from fgsam_jax.data.datasets.builder import LocalBuilder, check_layout
from fgsam_jax.data.images import read_image
from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import JOINTS

SPLITS = {"train": "train2017", "val": "val2017"}

# A person gives a crop if this many joints are labelled and the box is this tall in pixels:
# fewer joints or smaller people would be mostly guesswork once enlarged to a training image.
MIN_JOINTS = 3
MIN_HEIGHT = 64.0
# Boxes are enlarged as detectors do, as joints lie on the outline of tight ones.
MARGIN = 1.1
# Taller crops hold nothing that a training image of 256 x 128 could show.
MAX_HEIGHT = 384
# Outside of the image: OpenPose's (x - 128) / 256 makes it 0.
PADDING = 128


# A shard is held in memory while it is written: some 160 MB of whole images.
_IMAGES_OF_A_SHARD = 1000

Person = dict[str, Any]


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
            found[split] = [self.builder_config.source / folder / names[n] for n in shown]
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
            paths = {number: source / folder / images[number] for number in ids}
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
            if not path.is_file():
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
            mask = loss_mask(persons, image.height, image.width)
            joints = {
                person["id"]: convert_joints(person["keypoints"], names)
                for person in persons
                if person["num_keypoints"] > 0 and not person["iscrowd"]
            }
            chosen = self.chosen(persons)
            for end, example in self.examples(encoded, image, mask, joints, chosen):
                yield row, example | {"name": f"{image_id:012d}{end}"}
                row += 1


class CocoKeypoints(CocoBuilder):
    """Builder of one crop for each well labelled person.

    An example is {"image": JPEG of the crop, twice as tall as wide, "name": image and annotation
    number, "joints": float32 [people, 18, 3], "mask": PNG of the crop, 255 where the pose loss
    counts}. Joints are (x, y, state) in crop pixels, in the order of `skeleton.JOINTS`: state 2
    visible, 1 labelled but hidden, 0 not labelled, -1 not among the category's keypoints. The
    first person is the one the crop was made for; the others are all who have a labelled joint
    inside. Joints outside the crop keep their place there, as their limbs may reach in.
    """

    VERSION = tfds.core.Version("1.0.0")
    TITLE = "COCO person keypoints"
    WANTED = f"{MIN_JOINTS} labelled joints and a box {MIN_HEIGHT:.0f} pixels tall"

    def features(self) -> dict[str, Any]:
        """Crop, name, joints and mask."""
        return {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "name": tfds.features.Text(),
            "joints": tfds.features.Tensor(shape=(None, len(JOINTS), 3), dtype=np.float32),
            "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
        }

    @staticmethod
    def chosen(persons: list[Person]) -> list[Person]:
        """Those who give a crop."""
        return [person for person in persons if worth_a_crop(person)]

    @staticmethod
    def examples(
        encoded: bytes,
        image: Image.Image,
        mask: np.ndarray,
        joints: dict[int, np.ndarray],
        chosen: list[Person],
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The crops of an image."""
        del encoded
        for person in chosen:
            yield f"_{person['id']}", _crop(image, mask, joints, person)


def read_annotations(
    path: Path,
) -> tuple[dict[int, str], dict[int, list[Person]], list[str]]:
    """File names and people by image number, and the names of a person's keypoints."""
    try:
        content = json.loads(path.read_text())
        (category,) = [entry for entry in content["categories"] if entry["name"] == "person"]
        names = list(category["keypoints"])
        images = {entry["id"]: str(entry["file_name"]) for entry in content["images"]}
        sizes = {
            entry["id"]: (entry["width"], entry["height"]) if "width" in entry else None
            for entry in content["images"]
        }
        people: dict[int, list[Person]] = defaultdict(list)
        for entry in sorted(content["annotations"], key=lambda entry: entry["id"]):
            if entry["category_id"] != category["id"]:
                continue
            if len(entry["keypoints"]) != 3 * len(names):
                raise ValueError(f"annotation {entry['id']} has not {len(names)} keypoints")
            if len(entry["bbox"]) != 4 or entry["image_id"] not in images:
                raise ValueError(f"annotation {entry['id']} has no box or no image")
            # Only these are read later.
            fields = ("id", "bbox", "keypoints", "num_keypoints")
            person = {field: entry[field] for field in fields}
            # Files in COCO's format from elsewhere may lack the segment and its area.
            person["area"] = entry.get("area", entry["bbox"][2] * entry["bbox"][3])
            person["segmentation"] = entry.get("segmentation", [])
            person["iscrowd"] = entry.get("iscrowd", 0)
            person["image_size"] = sizes[entry["image_id"]]
            people[entry["image_id"]].append(person)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read as COCO person keypoints ({type(error).__name__}: {error})."
        ) from error
    return images, dict(people), names


def worth_a_crop(person: Person) -> bool:
    """At least 3 labelled joints, a box at least 64 pixels tall, and not a crowd."""
    return (
        not person["iscrowd"]
        and person["num_keypoints"] >= MIN_JOINTS
        and person["bbox"][3] >= MIN_HEIGHT
    )


def convert_joints(keypoints: list[float], names: list[str]) -> np.ndarray:
    """COCO's flat keypoints in our order: float32 [18, 3].

    A neck that the source does not name lies midway between two labelled shoulders and is as
    visible as the less visible of them.
    """
    points = np.asarray(keypoints, np.float32).reshape(-1, 3)
    joints = np.zeros((len(JOINTS), 3), np.float32)
    joints[:, 2] = -1
    for row, joint in enumerate(JOINTS):
        if joint in names:
            joints[row] = points[names.index(joint)]
    if "neck" not in names:
        shoulders = joints[[JOINTS.index("right_shoulder"), JOINTS.index("left_shoulder")]]
        state = shoulders[:, 2].min()
        place = shoulders[:, :2].mean(0) if state > 0 else (0, 0)
        joints[JOINTS.index("neck")] = (*place, state)
    return joints


def loss_mask(persons: list[Person], height: int, width: int) -> np.ndarray:
    """Where the pose loss counts, uint8 [height, width]: 255, but 0 on unlabelled people."""
    mask = np.full((height, width), 255, np.uint8)
    for person in persons:
        if person["iscrowd"] or person["num_keypoints"] == 0:
            mask[_region(person["segmentation"], height, width)] = 0
    return mask


def _region(segmentation: Any, height: int, width: int) -> np.ndarray:
    """The pixels of polygons or of a run-length code, bool [height, width]."""
    if isinstance(segmentation, list):
        # A polygon needs three corners; published files hold some with fewer.
        polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
        if not polygons:
            return np.zeros((height, width), bool)
        code = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    elif isinstance(segmentation["counts"], list):
        code = coco_mask.frPyObjects(segmentation, height, width)
    else:
        code = segmentation
    return coco_mask.decode(code).astype(bool)


def crop_box(bbox: list[float]) -> tuple[int, int, int, int]:
    """The crop (left, top, width, height) around a box (x, y, width, height), in whole pixels.

    It has the box's centre, is twice as tall as wide and holds the box with its margin.
    """
    x, y, box_width, box_height = bbox
    width = max(round(MARGIN * max(box_width, box_height / 2)), 1)
    height = 2 * width
    return round(x + (box_width - width) / 2), round(y + (box_height - height) / 2), width, height


def _crop(
    image: Image.Image, mask: np.ndarray, joints: dict[int, np.ndarray], person: Person
) -> dict[str, Any]:
    left, top, width, height = crop_box(person["bbox"])
    place = (-left, -top)
    crop = Image.new("RGB", (width, height), (PADDING,) * 3)
    crop.paste(image, place)
    # Nobody stands in the padding: an empty target is right there and counts.
    counts = Image.new("L", (width, height), 255)
    counts.paste(Image.fromarray(mask), place)

    first = joints[person["id"]]
    others = [other for number, other in joints.items() if number != person["id"]]
    people = np.stack([first, *others])
    people[..., :2] -= (left, top)
    x, y, state = np.moveaxis(people, -1, 0)
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5) & (state > 0)
    people = np.concatenate([people[:1], people[1:][inside[1:].any(1)]])

    if height > MAX_HEIGHT:
        scale = MAX_HEIGHT / height
        size = (MAX_HEIGHT // 2, MAX_HEIGHT)
        # Pixel centres have whole numbers, so corners lie half a pixel before them.
        people[..., :2] = (people[..., :2] + 0.5) * scale - 0.5
        crop = crop.resize(size, Image.Resampling.BILINEAR)
        counts = counts.resize(size, Image.Resampling.NEAREST)
    return {
        "image": _encode(crop, "jpeg", quality=95),
        "joints": people,
        "mask": encode_png(counts),
    }


def encode_png(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    return _encode(image, "png")


def _encode(image: Image.Image, encoding: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, encoding, **options)
    return buffer.getvalue()


def _annotation_file(source: Path, folder: str) -> Path:
    return source / "annotations" / f"person_keypoints_{folder}.json"
