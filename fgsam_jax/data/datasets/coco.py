"""COCO person keypoints as crops in the shape of re-identification boxes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fgsam_jax.data.datasets.coco_annotations import Person
from fgsam_jax.data.datasets.coco_layout import PADDING, CocoBuilder
from fgsam_jax.data.images import encode
from fgsam_jax.labels.skeleton import JOINTS

# A person gives a crop if this many joints are labelled and the box is this tall in pixels:
# fewer joints or smaller people would be mostly guesswork once enlarged to a training image.
MIN_JOINTS = 3
MIN_HEIGHT = 64.0
# Boxes are enlarged as detectors do, as joints lie on the outline of tight ones.
MARGIN = 1.1
# Taller crops hold nothing that a training image of 256 x 128 could show.
MAX_HEIGHT = 384


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


def worth_a_crop(person: Person) -> bool:
    """At least 3 labelled joints, a box at least 64 pixels tall, and not a crowd."""
    return (
        not person["iscrowd"]
        and person["num_keypoints"] >= MIN_JOINTS
        and person["bbox"][3] >= MIN_HEIGHT
    )


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
        "image": encode(crop, "jpeg", quality=95),
        "joints": people,
        "mask": encode(counts, "png"),
    }
