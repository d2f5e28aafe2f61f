"""Make a COCO keypoints folder of Market-1501 crops from the public 14-joint files.

The joints are `market1501_14point_{train,query}.mat` of github.com/layumi/market1501_body_point,
found by machine: the training boxes become the split "train", the queries "val". The written
annotation names 13 of the 14 joints (the head's top is none of COCO's); eyes, ears and nose stay
unknown and are left out of the pose loss. Images are linked, not copied.

    python tools/market_joints.py --market data/Market-1501-v15.09.15 \\
        --joints data/market1501_body_point --to data/market_joints --limit 4000
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

try:
    import h5py
except ImportError:
    sys.exit('error: h5py is missing: pip install -e ".[joints]"')

from fgsam_jax.errors import InputError

# Rows 1 to 13 of the file; its row 0 is the top of the head.
_NAMES = (
    "neck",
    "right_shoulder", "right_elbow", "right_wrist",
    "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle",
    "left_hip", "left_knee", "left_ankle",
)  # fmt: skip
_SPLITS = (("train", "bounding_box_train"), ("val", "query"))
_WIDTH, _HEIGHT = 64, 128


def read_joints(path: Path) -> np.ndarray:
    """The joints of a split in file-name order: [images, 14, 2], x and y in pixels from 0."""
    with h5py.File(path) as file:
        points = np.asarray(file["pp"], np.float64)
    if points.shape[0] == 28:
        points = points.T
    return np.stack([points[:, :14], points[:, 14:]], axis=-1) - 1


def annotate(names: list[str], joints: np.ndarray) -> dict:
    """COCO annotations of whole crops, one person each."""
    images, annotations = [], []
    for number, (name, points) in enumerate(zip(names, joints[:, 1:], strict=True), 1):
        images.append({"id": number, "file_name": name, "height": _HEIGHT, "width": _WIDTH})
        keypoints = [value for x, y in points for value in (float(x), float(y), 2)]
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [0, 0, _WIDTH, _HEIGHT],
                "area": _WIDTH * _HEIGHT,
                "num_keypoints": len(_NAMES),
                "keypoints": keypoints,
                "segmentation": [[0, 0, _WIDTH, 0, _WIDTH, _HEIGHT, 0, _HEIGHT]],
            }
        )
    category = {"id": 1, "name": "person", "keypoints": list(_NAMES), "skeleton": []}
    return {"images": images, "annotations": annotations, "categories": [category]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--market", type=Path, required=True, help="the unpacked Market-1501")
    parser.add_argument("--joints", type=Path, required=True, help="folder of the .mat files")
    parser.add_argument("--to", type=Path, required=True, help="folder to write")
    parser.add_argument("--limit", type=int, help="evenly spread images of each split")
    arguments = parser.parse_args()
    (arguments.to / "annotations").mkdir(parents=True, exist_ok=True)
    for split, folder in _SPLITS:
        source = arguments.joints / f"market1501_14point_{split.replace('val', 'query')}.mat"
        names = sorted(path.name for path in (arguments.market / folder).glob("*.jpg"))
        joints = read_joints(source)
        if len(names) != len(joints):
            raise InputError(
                f"{source} has joints for {len(joints)} images, {folder} holds {len(names)}"
            )
        limit = min(arguments.limit or len(names), len(names))
        rows = np.linspace(0, len(names) - 1, limit).astype(int)
        written = annotate([names[row] for row in rows], joints[rows])
        path = arguments.to / "annotations" / f"person_keypoints_{split}2017.json"
        path.write_text(json.dumps(written))
        link = arguments.to / f"{split}2017"
        if not link.exists():
            link.symlink_to((arguments.market / folder).resolve())
        print(f"{path}: {limit} images")


if __name__ == "__main__":
    try:
        main()
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
