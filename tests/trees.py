"""Small made-up data sets in exactly the layouts that are published."""

import json

import numpy as np
import scipy.io
from PIL import Image

from fgsam_jax.data import load_table, open_set

TRAIN = ["0002_c1s1_000451_03.jpg", "0002_c2s1_000451_01.jpg", "0007_c3s3_077419_03.jpg"]
QUERY = ["0001_c1s1_001051_00.jpg", "0003_c6s4_000001_00.jpg"]
GALLERY = [
    "-1_c1s1_000401_03.jpg",
    "0000_c4s6_017341_04.jpg",
    "0001_c2s1_001976_01.jpg",
    "0003_c5s1_000001_01.jpg",
]
UPPER = ("black", "white", "red", "purple", "yellow", "gray", "blue", "green")
LOWER = ("black", "white", "pink", "purple", "yellow", "gray", "blue", "green", "brown")


def open_table(name, source, records, split, height, width, attributes=None):
    """A split of a data set, its records made at the first call."""
    return load_table(open_set(name, source, records, attributes), split, height, width)


def write_image(path, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((64, 128)).save(path, "jpeg")


def write_market(root):
    for folder, names in (
        ("bounding_box_train", TRAIN),
        ("query", QUERY),
        ("bounding_box_test", GALLERY),
    ):
        (root / folder).mkdir(parents=True)
        for seed, name in enumerate(names):
            write_image(root / folder / name, seed)
        (root / folder / "Thumbs.db").write_bytes(b"not an image")
        (root / folder / "._0002_c1s1_000451_03.jpg").write_bytes(b"not an image")
    return root


def write_attributes(path, changes=None, train=("0002", "0007"), test=("0001", "0003")):
    """Market's published structure: everything 1, the first colour yes, then the changes."""
    plain = ["age", "backpack", "bag", "handbag", "clothes", "down", "up", "hair", "hat", "gender"]
    colours = [f"up{colour}" for colour in UPPER] + [f"down{colour}" for colour in LOWER]
    structs = {
        "test": _struct(test, plain + colours, changes),
        "train": _struct(train, colours[::-1] + plain[::-1], changes),
    }
    scipy.io.savemat(path, {"market_attribute": structs})
    return path


DUKE = {
    "bounding_box_train": ["0001_c2_f0046182.jpg", "0001_c2_f0046302.jpg", "0370_c1_f0000001.jpg"],
    "query": ["0002_c1_f0044158.jpg"],
    "bounding_box_test": ["0002_c2_f0043560.jpg", "0014_c8_f0123456.jpg"],
}


def write_duke(root):
    """DukeMTMC-reID: Market's folders, frame numbers in the names, distractors with identities."""
    for folder, names in DUKE.items():
        (root / folder).mkdir(parents=True)
        for seed, name in enumerate(names):
            write_image(root / folder / name, seed)
    return root


def write_duke_attributes(path, changes=None):
    """The published structure: train first, its fields in another order than the test's."""
    plain = ["backpack", "bag", "handbag", "boots", "gender", "hat", "shoes", "top"]
    down = [f"down{c}" for c in ("black", "white", "red", "gray", "blue", "green", "brown")]
    up = [f"up{c}" for c in ("black", "white", "red", "purple", "gray", "blue", "green", "brown")]
    structs = {
        "train": _struct(("0001", "0370"), plain + down + up, changes),
        "test": _struct(("0002", "0014"), plain[::-1] + up + down[::-1], changes),
    }
    scipy.io.savemat(path, {"duke_attribute": structs})
    return path


def _struct(identities, names, changes):
    fields = dict.fromkeys(names, 1) | {"upblack": 2, "downblack": 2}
    columns = {name: np.full(len(identities), value, np.uint8) for name, value in fields.items()}
    for (identity, name), value in (changes or {}).items():
        if identity in identities:
            columns[name][identities.index(identity)] = value
    return columns | {"image_index": np.array(identities, object)}


# Files and label lines by subset, each with a quirk of the published ones: numbers without zeros
# before them, CUHK's images that are people of their own, a line without image, a colour twice.
PETA = {
    "3DPeS": (["100_3_FRAME_26_RGB.bmp", "100_4_FRAME_185_RGB.bmp", "1_1_FRAME_1_RGB.bmp"],
              ["100 personalMale personalLess30 hairShort", "1 personalFemale hairLong"]),
    "CAVIAR4REID": (["0001_001.jpg", "0001_002.jpg"], ["0001 upperBodyBlack upperBodyBlack"]),
    "CUHK": (["0002.png", "0003.png"], ["0000.png hairBald", "0002.png hairBald", "0003.png"]),
    "GRID": (["0001_1_25004_107_32_106_221.jpeg"], ["0001 upperBodyRed upperBodyBlue"]),
    "i-LID": (["0001_001.jpg"], ["0001 accessoryHat carryingBackpack"]),
    "MIT": (["00001_male_back.jpg"], ["00001 personalMale lowerBodyShortSkirt"]),
    "PRID": (["0001_a.png", "0001_b.png"], ["0001 carryingPlasticBags"]),
    "SARC3D": (["001_Right.bmp"], ["001 footwearBoots footwearBrown"]),
    "TownCentre": (["0_16.jpg"], ["0 personalLarger60", "8 personalLess15"]),
    "VIPeR": (["000_45_1.bmp"], ["000 upperBodyNoSleeve lowerBodyHotPants"]),
}  # fmt: skip


def write_peta(root):
    """PETA: ten subsets, images of four formats and any size."""
    for subset, (names, lines) in PETA.items():
        folder = root / subset / "archive"
        folder.mkdir(parents=True)
        (folder / "Label.txt").write_text("".join(line + " \n" for line in lines))
        for seed, name in enumerate(names):
            pixels = np.random.default_rng(seed).integers(0, 256, (40 + seed, 17, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name)
    return root


COCO_JOINTS = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
]  # fmt: skip


def coco_person(number, box, points=None, image=1, **fields):
    """An annotation; `points` are {COCO joint: (x, y, state)}."""
    keypoints = [0] * 51
    for name, point in (points or {}).items():
        row = COCO_JOINTS.index(name)
        keypoints[3 * row : 3 * row + 3] = point
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": box,
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": len(points or {}),
        "segmentation": [],
    } | fields


STANDING_PERSON = {
    "nose": (100, 60, 2),
    "left_shoulder": (110, 80, 2),
    "right_shoulder": (90, 80, 1),
    "left_ankle": (105, 195, 2),
}


def write_coco(root, annotations, names=COCO_JOINTS, size=(200, 240), images=1):
    """The published layout with images of a smooth gradient, told apart by their blue."""
    (root / "annotations").mkdir(parents=True)
    across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    files = {number: f"{number:012d}.jpg" for number in range(1, images + 1)}
    for split in ("train2017", "val2017"):
        (root / split).mkdir()
        for number, file in files.items():
            pixels = np.stack([across, down, 0 * down + 20 * (number - 1)], -1).astype(np.uint8)
            Image.fromarray(pixels).save(root / split / file, quality=100, subsampling=0)
        content = {
            "images": [{"id": number, "file_name": file} for number, file in files.items()],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "person", "keypoints": list(names)}],
        }
        (root / "annotations" / f"person_keypoints_{split}.json").write_text(json.dumps(content))
    return root
