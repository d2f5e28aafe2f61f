"""The layout that Market-1501 and DukeMTMC-reID share: three folders, names and attribute file.

Source: the published sets, vana77/Market-1501_Attribute and vana77/DukeMTMC-attribute.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fgsam_jax.data.datasets.crops import Crop, CropsBuilder, check_roles, parse_name
from fgsam_jax.data.datasets.image_files import check_depth, images_in
from fgsam_jax.data.datasets.source import check_layout
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import Attribute

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}


# What SciPy raises for files that are cut, flipped or of another kind.
_UNREADABLE = (
    OSError, KeyError, IndexError, TypeError, ValueError, NotImplementedError, zlib.error,
)  # fmt: skip


class MarketLayout(CropsBuilder):
    """Builder of a set in this layout; splits train, query and gallery in file-name order.

    A subclass gives `TITLE`, `ATTRIBUTES`, the name of the struct in their file, which is also the
    file's, and the field of each attribute there; a field that ends in - has one column a class.
    """

    ATTRIBUTES: ClassVar[tuple[Attribute, ...]]
    STRUCT: ClassVar[str]
    FIELDS: ClassVar[Mapping[str, str]]
    SUFFIXES = (".jpg",)

    @classmethod
    def find_attributes(cls, source: Path, attributes: Path | None) -> Path | None:
        """The given file, or the published one inside the source folder if it is there."""
        usual = source / f"{cls.STRUCT}.mat"
        return attributes or (usual if usual.is_file() else None)

    @classmethod
    def files(cls, source: Path) -> list[Path]:
        """Every image of the three folders, sorted by folder and name."""
        check_layout(cls.TITLE, source, list(FOLDERS.values()))
        return [path for images in cls._images(source).values() for path in images]

    @classmethod
    def _images(cls, source: Path) -> dict[str, list[Path]]:
        found = {
            split: images_in(source / folder, cls.SUFFIXES) for split, folder in FOLDERS.items()
        }
        for split, images in found.items():
            check_depth(source / FOLDERS[split])
            if not images:
                raise InputError(
                    f"{cls.TITLE} at {source} is incomplete: {FOLDERS[split]} holds no .jpg. "
                    f"Unpack the data set again."
                )
        return found

    @staticmethod
    def roots(source: Path) -> list[Path]:
        """The three folders; beside them lie others, as published."""
        return [source / folder for folder in FOLDERS.values()]

    def attributes(self) -> tuple[Attribute, ...]:
        """Those of the published file."""
        return self.ATTRIBUTES

    def crops(self) -> dict[str, list[Crop]]:
        """The images of the three folders, with their identity's attributes."""
        file = self.builder_config.attributes
        known = None if file is None else self.read_attributes(file)
        found: dict[str, list[Crop]] = {}
        for split, paths in self._images(self.builder_config.source).items():
            found[split] = []
            for path in paths:
                identity, camera = parse_name(path)
                labels = {} if known is None else _labels(known, identity, path, file)
                found[split].append(Crop(path, path.name, identity, camera, labels))
        check_roles(found)
        return found

    @classmethod
    def read_attributes(cls, path: Path) -> dict[int, dict[str, int]]:
        """Attribute classes of every identity in the file: {identity: {name: class}}.

        Fields are found by name, as their order differs between the structs of train and test.
        Values count from 1 and 0 is no label. A colour has one field for each class; a person with
        none of them, or with several, has -1 there.

        Raises:
          InputError: the file is not the published one.
        """
        # Most starts find the labels in the records; SciPy takes a sixth of a second.
        from scipy.io.matlab import MatReadError, loadmat

        try:
            structs = loadmat(path, simplify_cells=True)[cls.STRUCT]
            labels: dict[int, dict[str, int]] = {}
            for split in ("train", "test"):
                struct = structs[split]
                columns = {a.name: _column(struct, a, cls.FIELDS) for a in cls.ATTRIBUTES}
                for row, identity in enumerate(np.atleast_1d(struct["image_index"])):
                    labels[int(identity)] = {name: int(x[row]) for name, x in columns.items()}
        except (*_UNREADABLE, MatReadError) as error:
            # The message of a KeyError is the missing field alone.
            raise InputError(
                f"{path} cannot be read as {cls.TITLE}'s attributes "
                f"({type(error).__name__}: {error}). Use {cls.STRUCT}.mat as published."
            ) from error
        return labels


def _labels(
    known: Mapping[int, dict[str, int]], identity: int, path: Path, file: Path | None
) -> dict[str, int]:
    """The labels of an identity; junk and distractors have none."""
    if identity > 0 and identity not in known:
        raise InputError(
            f"{file} has no attributes for identity {identity:04d} of {path}. Use the attribute "
            f"file of this data set, or none."
        )
    return known.get(identity, {})


def _column(
    struct: Mapping[str, Any], attribute: Attribute, fields: Mapping[str, str]
) -> np.ndarray:
    """The classes of one attribute, [identities]."""
    field = fields[attribute.name]
    if field.endswith("-"):
        columns = [np.atleast_1d(struct[field[:-1] + name]) for name in attribute.classes]
        yes = np.stack(columns) == 2
        return np.where(yes.sum(0) == 1, yes.argmax(0), -1)
    values = np.atleast_1d(struct[field]).astype(int)
    if values.max() > len(attribute.classes) or values.min() < 0:
        raise ValueError(f"{field} has values from {values.min()} to {values.max()}")
    return values - 1
