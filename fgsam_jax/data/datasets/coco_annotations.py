"""COCO's annotation files: people, their joints in our order, and where the pose loss counts.

Source: Lin et al., "Microsoft COCO: Common Objects in Context". The mask W(p) of the pose loss
follows OpenPose's `genCOCOMask.m`, except that every crowd region is masked and not only an image's
single one.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from fgsam_jax.data.datasets.coco_regions import FARTHEST, are_numbers, region
from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import JOINTS
from fgsam_jax.runtime.files import read_json

Person = dict[str, Any]


def read_annotations(
    path: Path,
) -> tuple[dict[int, str], dict[int, list[Person]], list[str]]:
    """File names and people by image number, and the names of a person's keypoints.

    People are in the order of their numbers. A person has the fields "id", "bbox", "keypoints",
    "num_keypoints", "iscrowd", "area", "segmentation", as in the file, and "image_size", (width,
    height) or None where the file is silent. All but the segmentation are checked.

    Raises:
      InputError: a field is missing or cannot be; the message names the entry.
    """
    content = read_json(path)
    try:
        number, names = _category(_entries(content, "categories"))
        images, sizes = _images(_entries(content, "images"))
        found: list[tuple[int, Person]] = []
        for entry in _entries(content, "annotations"):
            if entry.get("category_id") != number:
                continue
            try:
                image, person = entry.get("image_id"), _person(entry, len(names))
                if not _is_whole(image) or image not in images:
                    raise ValueError(f"there is no image of the id {image!r}")
            except ValueError as error:
                raise ValueError(f"annotation {entry.get('id')!r}: {error}") from None
            found.append((image, person | {"image_size": sizes[image]}))
        people: dict[int, list[Person]] = defaultdict(list)
        for image, person in sorted(found, key=lambda pair: pair[1]["id"]):
            if people[image] and people[image][-1]["id"] == person["id"]:
                raise ValueError(f"two annotations of image {image} have the id {person['id']}")
            people[image].append(person)
    except ValueError as error:
        raise InputError(f"{path} cannot be read as COCO person keypoints: {error}") from None
    return images, dict(people), names


def _entries(content: dict[str, Any], field: str) -> list[dict[str, Any]]:
    entries = content.get(field)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{field} should be a list of objects")
    return entries


def _is_whole(value: object) -> TypeGuard[int]:
    return type(value) is int and abs(value) < 2**63


def _category(entries: list[dict[str, Any]]) -> tuple[int, list[str]]:
    """Number and keypoints of the category person."""
    persons = [entry for entry in entries if entry.get("name") == "person"]
    if len(persons) != 1:
        raise ValueError(f"one category should have the name person, {len(persons)} have it")
    number, names = persons[0].get("id"), persons[0].get("keypoints")
    if not _is_whole(number):
        raise ValueError(f"the id of the category person is {number!r}, needed a whole number")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("the category person has no list of the names of its keypoints")
    if len(set(names)) < len(names) or not set(names) & set(JOINTS):
        raise ValueError(f"its keypoints should be some of {', '.join(JOINTS)}, found {names}")
    return number, names


def _images(
    entries: list[dict[str, Any]],
) -> tuple[dict[int, str], dict[int, tuple[int, int] | None]]:
    """File names and sizes by number."""
    names: dict[int, str] = {}
    sizes: dict[int, tuple[int, int] | None] = {}
    for entry in entries:
        number, name = entry.get("id"), entry.get("file_name")
        if not _is_whole(number) or number in names:
            raise ValueError(f"an image has the id {number!r}, needed a whole number of its own")
        if not isinstance(name, str) or not name:
            raise ValueError(f"image {number} has the file_name {name!r}")
        names[number], sizes[number] = name, None
        width, height = entry.get("width"), entry.get("height")
        if (width, height) == (None, None):
            continue
        if not _is_whole(width) or not _is_whole(height) or min(width, height) < 1:
            raise ValueError(f"image {number} has the width {width!r} and the height {height!r}")
        sizes[number] = width, height
    return names, sizes


def _person(entry: dict[str, Any], keypoints: int) -> Person:
    """The fields of an annotation that are read later. Raises ValueError for one that cannot be."""
    box, points = entry.get("bbox"), entry.get("keypoints")
    if not _is_whole(entry.get("id")):
        raise ValueError("its id is no whole number")
    if not are_numbers(box) or len(box) != 4 or min(box[2:]) < 0:
        raise ValueError(f"its bbox is {box!r}, needed x, y, width and height in pixels")
    if not are_numbers(points) or len(points) != 3 * keypoints:
        raise ValueError(f"its keypoints are not {keypoints} times x, y and a state")
    if not all(0 <= state <= 2 for state in points[2::3]):
        raise ValueError("a state of its keypoints is none of 0, 1 and 2")
    person = {
        "id": entry["id"],
        "bbox": box,
        "keypoints": points,
        "num_keypoints": entry.get("num_keypoints"),
        # Files in COCO's format from elsewhere may lack the segment and its area.
        "iscrowd": entry.get("iscrowd", 0),
        "area": box[2] * box[3] if entry.get("area") is None else entry["area"],
        "segmentation": [] if entry.get("segmentation") is None else entry["segmentation"],
    }
    if not _is_whole(person["num_keypoints"]) or not 0 <= person["num_keypoints"] <= keypoints:
        raise ValueError(f"its num_keypoints is {person['num_keypoints']!r}")
    if person["iscrowd"] not in (0, 1):
        raise ValueError(f"its iscrowd is {person['iscrowd']!r}, needed 0 or 1")
    if type(person["area"]) not in (int, float) or not 0 <= person["area"] <= FARTHEST**2:
        raise ValueError(f"its area is {person['area']!r}, needed pixels")
    return person


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
    """Where the pose loss counts, uint8 [height, width]: 255, but 0 on unlabelled people.

    Raises:
      InputError: the segment of an unlabelled person or of a crowd cannot be of this image.
    """
    mask = np.full((height, width), 255, np.uint8)
    for person in persons:
        if person["iscrowd"] or person["num_keypoints"] == 0:
            try:
                mask[region(person["segmentation"], height, width)] = 0
            except ValueError as error:
                raise InputError(f"annotation {person.get('id')}: {error}") from None
    return mask
