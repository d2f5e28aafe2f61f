"""COCO images as OpenPose was trained on them: crops around a person, turned, scaled and shifted.

Sources: `genJSON.m` of Realtime_Multi-Person_Pose_Estimation for the main people;
`cpm_data_transformer.cpp` and `setLayers.py` of OpenPose's training code for the crops.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fgsam_jax.data.datasets.coco_annotations import Person
from fgsam_jax.data.datasets.coco_layout import PADDING, CocoBuilder
from fgsam_jax.data.images import decode, encode
from fgsam_jax.labels.skeleton import JOINTS, STRIDE

# OpenPose's thresholds of a main person.
MIN_JOINTS = 5
MIN_AREA = 32 * 32
# Crops are scaled by the box's height.
MIN_BOX = 1.0
# A person whose centre is nearer to an earlier main person's than this share of the longer side
# of that one's box gives much the same crop.
MIN_DISTANCE = 0.3
# Share of the crop's height that the main person's box takes, times the random scale.
PERSON_HEIGHT = 0.6
SCALES = (0.5, 1.1)
MAX_DEGREES = 40.0
MAX_SHIFT = 40.0  # pixels of the crop


class CocoOpenPose(CocoBuilder):
    """Builder of one record for each image with a main person.

    An example is {"image": the JPEG file, "name": image number, "joints": float32
    [people, 18, 3] of everyone labelled, "mask": PNG of the image, 255 where the pose loss
    counts, "boxes": float32 [mains, 4]}. Joints are as in `CocoKeypoints`, in pixels of the
    image; a box is (x, y, width, height) of a main person.

    An epoch takes one crop of each image, around a main person drawn anew, where OpenPose takes
    one crop around each main person: images with many people weigh no more than others. [D]
    """

    VERSION = tfds.core.Version("1.0.0")
    name = "coco_openpose"
    TITLE = "COCO person keypoints in whole images"
    VIEWS_DIFFER = True
    WANTED = f"{MIN_JOINTS} labelled joints and an area of {MIN_AREA} pixels"

    def features(self) -> dict[str, Any]:
        """Image, name, joints, mask and boxes."""
        return {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "name": tfds.features.Text(),
            "joints": tfds.features.Tensor(shape=(None, len(JOINTS), 3), dtype=np.float32),
            "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
        }

    @staticmethod
    def chosen(persons: list[Person]) -> list[Person]:
        """The main people, see `main_people`."""
        return main_people(persons)

    @staticmethod
    def examples(
        encoded: bytes,
        image: Image.Image,
        mask: np.ndarray,
        joints: dict[int, np.ndarray],
        chosen: list[Person],
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """One: the whole image."""
        del image
        example = {
            "image": encoded,
            "joints": np.stack(list(joints.values())),
            "mask": encode(Image.fromarray(mask), "png"),
            "boxes": np.array([person["bbox"] for person in chosen], np.float32),
        }
        yield "", example

    def view(
        self, example: dict[str, Any], height: int, width: int, random: Any = None
    ) -> dict[str, np.ndarray]:
        """A crop around a main person drawn by `random`, or around the first one."""
        boxes = example["boxes"]
        box = boxes[0 if random is None else random.integers(len(boxes))]
        image, mask = decode(example["image"]), decode(example["mask"], "L")
        pixels, joints, weight = crop(image, example["joints"], mask, box, height, width, random)
        return {"image": pixels, "joints": joints, "mask": weight}


def main_people(persons: list[Person]) -> list[Person]:
    """Those a crop can be made around, by OpenPose's rule, in the order of the annotations.

    They are no crowd, have 5 labelled joints and a segment of 32 x 32 pixels, and their box's
    centre is at least .3 of the longer side of every earlier main person's box away from its
    centre.
    """
    mains: list[Person] = []
    for person in persons:
        enough = person["num_keypoints"] >= MIN_JOINTS and person["area"] >= MIN_AREA
        if person["iscrowd"] or not enough or person["bbox"][3] < MIN_BOX:
            continue
        distances = [np.linalg.norm(_centre(person) - _centre(main)) for main in mains]
        limits = [MIN_DISTANCE * max(main["bbox"][2:]) for main in mains]
        if all(far >= limit for far, limit in zip(distances, limits, strict=True)):
            mains.append(person)
    return mains


def crop(
    image: Image.Image,
    joints: np.ndarray,
    mask: Image.Image,
    box: np.ndarray,
    height: int,
    width: int,
    random: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A crop of height x width around a box; the same affine map moves image, joints and mask.

    The box becomes .6 height U(.5, 1.1) pixels tall, the image is turned by U(-40, 40) degrees
    around the box's centre, and that lies U(-40, 40) pixels from the crop's centre on each axis.
    Outside of the image lies grey, where nobody stands: the mask is 1 there.

    Args:
      image: RGB.
      joints: float [people, 18, 3] in pixels of the image, whose centres have whole numbers.
      mask: mode "L" of the image's size, 255 where the pose loss counts, else 0.
      box: (x, y, width, height) in pixels of the image.
      height, width: of the crop in pixels, divisible by 8.
      random: None makes the box .6 height tall, upright and in the centre.

    Returns:
      uint8 [height, width, 3]; joints float32 of all people, in pixels of the crop; mask float32
      [height / 8, width / 8], the share of each cell where the loss counts.
    """
    forward = crop_matrix(box, height, width, random)
    back = np.linalg.inv(forward)
    counts = mask.transform(
        (width, height), Image.Transform.AFFINE, back[:2].ravel().tolist(), fillcolor=255
    )
    moved = joints.astype(np.float32)
    moved[..., :2] = (joints[..., :2] + 0.5) @ forward[:2, :2].T + forward[:2, 2] - 0.5
    pixels = np.asarray(_warp(image, back, height, width))
    grid = counts.convert("F").resize((width // STRIDE, height // STRIDE), Image.Resampling.BOX)
    return pixels, moved, np.asarray(grid, np.float32) / 255


def crop_matrix(
    box: np.ndarray, height: int, width: int, random: np.random.Generator | None = None
) -> np.ndarray:
    """The map of `crop` from the image to the crop, [3, 3], of points (x, y, 1).

    Here the first pixel reaches from 0 to 1, so that its centre lies at .5.
    """
    scale, angle, shift = 1.0, 0.0, np.zeros(2)
    if random is not None:
        scale = random.uniform(*SCALES)
        angle = np.deg2rad(random.uniform(-MAX_DEGREES, MAX_DEGREES))
        shift = random.uniform(-MAX_SHIFT, MAX_SHIFT, 2)
    x, y, across, down = np.asarray(box, np.float64)
    scale *= PERSON_HEIGHT * height / down
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = np.array([width, height]) / 2 + shift - turn @ (x + across / 2, y + down / 2)
    return matrix


def _warp(image: Image.Image, back: np.ndarray, height: int, width: int) -> Image.Image:
    """The crop whose points `back` takes to those of the image."""
    step = np.sqrt(np.linalg.det(back[:2, :2]))
    if step > 1:
        # Bilinear sampling would skip pixels: shrink first, with every pixel counted. Only what
        # the crop shows is shrunk, and a little more for the filter.
        corners = back[:2] @ np.array([[0, width, 0, width], [0, 0, height, height], [1] * 4])
        low = np.clip(np.floor(corners.min(1) - 2 * step), 0, np.array(image.size) - 1)
        high = np.clip(np.ceil(corners.max(1) + 2 * step), low + 1, image.size)
        size = np.maximum(np.round((high - low) / step), 1)
        image = image.resize((int(size[0]), int(size[1])), Image.Resampling.BILINEAR, (*low, *high))
        ratio = size / (high - low)
        back = np.diag([*ratio, 1]) @ (back - np.array([[0, 0, low[0]], [0, 0, low[1]], [0, 0, 0]]))
    return image.transform(
        (width, height),
        Image.Transform.AFFINE,
        back[:2].ravel().tolist(),
        Image.Resampling.BILINEAR,
        fillcolor=(PADDING,) * 3,
    )


def _centre(person: Person) -> np.ndarray:
    x, y, width, height = person["bbox"]
    return np.array([x + width / 2, y + height / 2])
