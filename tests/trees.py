"""Small made-up data sets in exactly the layouts that are published."""

import numpy as np
import scipy.io
from PIL import Image

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
    """The published structure: everything 1, the first colour yes, then the changes."""

    def struct(identities, names):
        fields = dict.fromkeys(names, 1)
        fields |= {"upblack": 2, "downblack": 2}
        columns = {
            name: np.full(len(identities), value, np.uint8) for name, value in fields.items()
        }
        for (identity, name), value in (changes or {}).items():
            if identity in identities:
                columns[name][identities.index(identity)] = value
        return columns | {"image_index": np.array(identities, object)}

    plain = ["age", "backpack", "bag", "handbag", "clothes", "down", "up", "hair", "hat", "gender"]
    colours = [f"up{colour}" for colour in UPPER] + [f"down{colour}" for colour in LOWER]
    structs = {
        "test": struct(list(test), plain + colours),
        "train": struct(list(train), colours[::-1] + plain[::-1]),
    }
    scipy.io.savemat(path, {"market_attribute": structs})
    return path
