"""The layout that Market-1501 and DukeMTMC-reID share: three folders, names and attribute file.

Source: the published sets, vana77/Market-1501_Attribute and vana77/DukeMTMC-attribute.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fgsam_jax.data.datasets.crops import Crop, CropsBuilder, check_roles, parse_name
from fgsam_jax.data.datasets.image_files import check_depth, images_in
from fgsam_jax.data.datasets.matlab import read_struct
from fgsam_jax.data.datasets.source import check_layout
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.metrics import UNLABELLED
from fgsam_jax.metrics.protocol import DISTRACTOR
from fgsam_jax.runtime.files import regular_file

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}


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
        labels: dict[int, dict[str, int]] = {}
        regular_file(path)
        try:
            structs = read_struct(path, cls.STRUCT)
            for split in ("train", "test"):
                struct = structs[split]
                people = [int(identity) for identity in struct["image_index"]]
                columns = {
                    attribute.name: _column(struct, attribute, cls.FIELDS, len(people))
                    for attribute in cls.ATTRIBUTES
                }
                for row, identity in enumerate(people):
                    if identity < 1 or identity in labels:
                        raise ValueError(f"the identity {identity} is not above 0 or comes twice")
                    labels[identity] = {name: int(x[row]) for name, x in columns.items()}
        except (KeyError, TypeError, ValueError) as error:
            # The message of a KeyError is the missing field alone.
            why = f"it has no {error}" if isinstance(error, KeyError) else error
            raise InputError(
                f"{path} cannot be read as {cls.TITLE}'s attributes ({why}). Use "
                f"{cls.STRUCT}.mat as published."
            ) from error
        return labels


def _labels(
    known: Mapping[int, dict[str, int]], identity: int, path: Path, file: Path | None
) -> dict[str, int]:
    """The labels of an identity; junk and distractors have none."""
    if identity > DISTRACTOR and identity not in known:
        raise InputError(
            f"{file} has no attributes for identity {identity:04d} of {path}. Use the attribute "
            f"file of this data set, or none."
        )
    return known.get(identity, {})


def _column(
    struct: Mapping[str, Any], attribute: Attribute, fields: Mapping[str, str], people: int
) -> np.ndarray:
    """The classes of one attribute, [people]."""
    field = fields[attribute.name]
    if field.endswith("-"):
        names = [field[:-1] + name for name in attribute.classes]
        yes = np.stack([_values(struct, name, 2, people) for name in names]) == 2
        return np.where(yes.sum(0) == 1, yes.argmax(0), UNLABELLED)
    return _values(struct, field, len(attribute.classes), people) - 1


def _values(struct: Mapping[str, Any], field: str, most: int, people: int) -> np.ndarray:
    """A field of whole numbers from 0 to `most`, int [people]."""
    values = np.array(struct[field])
    if values.shape != (people,) or not np.isin(values, range(most + 1)).all():
        raise ValueError(f"{field} should have {people} whole numbers from 0 to {most}")
    return values.astype(int)
