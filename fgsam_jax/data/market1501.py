"""Market-1501: 32,668 boxes of 1,501 people from six cameras, as published in 2015.

Source of the images: Zheng et al., "Scalable Person Re-identification: A Benchmark". Source of
the attributes: `market_attribute.mat` of vana77/Market-1501_Attribute, one row per identity.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import tensorflow_datasets as tfds
from tqdm import tqdm

from fgsam_jax.data import attributes as table_one
from fgsam_jax.data.records import LocalBuilder, read_image
from fgsam_jax.errors import InputError

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
ATTRIBUTE_FILE = "market_attribute.mat"

# Identity and camera are all that is read from a name such as 0002_c1s1_000451_03.jpg.
_NAME = re.compile(r"(-1|\d+)_c(\d+)\D.*")

# Our name of an attribute: its field in the file. The colours have one field for each class.
_FIELDS = {
    "gender": "gender",
    "hair": "hair",
    "hat": "hat",
    "age": "age",
    "backpack": "backpack",
    "bag": "bag",
    "handbag": "handbag",
    "sleeve": "up",
    "lower_length": "down",
    "lower_type": "clothes",
}
_COLOUR_PREFIX = {"upper_colour": "up", "lower_colour": "down"}


class Market1501(LocalBuilder):
    """Builder of Market-1501; splits train, query and gallery in file-name order.

    An example is {"image": the JPEG as published, "name": file name, "identity": -1 junk,
    0 distractor, else the person, "camera": 1 to 6, "attributes": {name: class, -1 unlabelled}}.
    """

    VERSION = tfds.core.Version("1.0.0")
    TITLE = "Market-1501"

    @staticmethod
    def find_attributes(source: Path, attributes: Path | None) -> Path | None:
        """The given file, or `market_attribute.mat` inside the source folder if it is there."""
        usual = source / ATTRIBUTE_FILE
        return attributes or (usual if usual.is_file() else None)

    @staticmethod
    def files(source: Path) -> list[Path]:
        """Every image of the three folders, sorted by folder and name."""
        _check_folders(source)
        found = []
        for folder in FOLDERS.values():
            images = _images(source / folder)
            if not images:
                raise InputError(
                    f"Market-1501 at {source} is incomplete: {folder} holds no .jpg. Unpack the "
                    f"data set again."
                )
            found += images
        return found

    def features(self) -> dict[str, Any]:
        """Image bytes, name, identity, camera and the twelve attributes."""
        return {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "name": tfds.features.Text(),
            "identity": np.int64,
            "camera": np.int64,
            "attributes": {
                attribute.name: tfds.features.ClassLabel(names=attribute.classes)
                for attribute in table_one.MARKET1501
            },
        }

    def _split_generators(self, dl_manager):
        """The examples of the three folders."""
        config = self.builder_config
        known = None if config.attributes is None else read_attributes(config.attributes)
        return {
            split: self._generate_examples(_images(config.source / folder), known)
            for split, folder in FOLDERS.items()
        }

    def _generate_examples(
        self, paths: list[Path], known: dict[int, dict[str, int]] | None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The examples of one folder."""
        unlabelled = {attribute.name: -1 for attribute in table_one.MARKET1501}
        bar = tqdm(
            paths, desc=f"reading {paths[0].parent.name}", unit=" images", leave=False, disable=None
        )
        for row, path in enumerate(bar):
            identity, camera = parse_name(path)
            labels = unlabelled
            if known is not None and identity > 0:
                if identity not in known:
                    raise InputError(
                        f"{self.builder_config.attributes} has no attributes for identity "
                        f"{identity:04d} of {path}. Use the attribute file of this data set, or "
                        f"none."
                    )
                labels = known[identity]
            encoded, _ = read_image(path)
            yield (
                row,
                {
                    "image": encoded,
                    "name": path.name,
                    "identity": identity,
                    "camera": camera,
                    "attributes": labels,
                },
            )


def parse_name(path: Path) -> tuple[int, int]:
    """Identity and camera of a file named like 0002_c1s1_000451_03.jpg or -1_c3s2_....jpg."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise InputError(
            f"{path} is not named like an image of Market-1501: expected identity_cCAMERA..., for "
            f"example 0002_c1s1_000451_03.jpg. Rename or remove it."
        )
    return int(match[1]), int(match[2])


def read_attributes(path: Path) -> dict[int, dict[str, int]]:
    """Attribute classes of every identity in `market_attribute.mat`: {identity: {name: class}}.

    Fields are found by name, as their order differs between the file's train and test structs.
    A person with no upper or lower colour, or with several, has -1 there.
    """
    try:
        structs = scipy.io.loadmat(path, simplify_cells=True)["market_attribute"]
        labels: dict[int, dict[str, int]] = {}
        for split in ("train", "test"):
            struct = structs[split]
            identities = np.atleast_1d(struct["image_index"])
            columns = {a.name: _column(struct, a) for a in table_one.MARKET1501}
            for row, identity in enumerate(identities):
                labels[int(identity)] = {name: int(column[row]) for name, column in columns.items()}
    except (OSError, KeyError, IndexError, TypeError, ValueError, NotImplementedError) as error:
        # The message of a KeyError is the missing field alone.
        raise InputError(
            f"{path} cannot be read as Market-1501's attributes ({type(error).__name__}: {error}). "
            f"Use market_attribute.mat as published."
        ) from error
    return labels


def _column(struct: dict[str, Any], attribute: table_one.Attribute) -> np.ndarray:
    """The classes of one attribute, [identities]: values count from 1 in the file, -1 is none."""
    prefix = _COLOUR_PREFIX.get(attribute.name)
    if prefix is not None:
        fields = [np.atleast_1d(struct[prefix + colour]) for colour in attribute.classes]
        yes = np.stack(fields) == 2
        return np.where(yes.sum(0) == 1, yes.argmax(0), -1)
    values = np.atleast_1d(struct[_FIELDS[attribute.name]]).astype(int)
    if values.max() > len(attribute.classes):
        raise ValueError(f"{_FIELDS[attribute.name]} has the value {values.max()}")
    return np.maximum(values, 0) - 1


def _images(folder: Path) -> list[Path]:
    """The .jpg files of a folder; Thumbs.db and hidden files are no part of the set."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() == ".jpg" and not path.name.startswith(".")
    )


def _check_folders(source: Path) -> None:
    expected = list(FOLDERS.values())

    def complete(folder: Path) -> bool:
        return all((folder / name).is_dir() for name in expected)

    if complete(source):
        return
    if not source.is_dir():
        found, hint = "there is no such folder", ""
    else:
        here = sorted(path.name for path in source.iterdir())
        shown = ", ".join(here[:6]) + (", ..." if len(here) > 6 else "")
        found, hint = f"found {shown or 'an empty folder'}", ""
        inside = [path for path in sorted(source.iterdir()) if path.is_dir() and complete(path)]
        if inside:
            hint = f" It seems to be one level deeper, at {inside[0]}."
        elif complete(source.resolve().parent):
            hint = f" It seems to be one level higher, at {source.resolve().parent}."
    raise InputError(
        f"Market-1501 was not found at {source}: expected the folders {expected[0]}, {expected[1]} "
        f"and {expected[2]}, {found}.{hint} Unpack the data set there or pass "
        f"--config.data.source=..."
    )
