"""COCO's annotation files: people, their joints in our order, and where the pose loss counts.

Source: Lin et al., "Microsoft COCO: Common Objects in Context". The mask W(p) of the pose loss
follows OpenPose's `genCOCOMask.m`, except that every crowd region is masked and not only an image's
single one.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import JOINTS

Person = dict[str, Any]


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
