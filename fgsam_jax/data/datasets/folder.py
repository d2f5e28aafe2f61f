"""A user's own set: a folder in Market's naming, a folder for each person, or a CSV.

docs/own_data.md shows all three. Without splits of its own the set is one split, `WHOLE`, and
train, query and gallery are drawn from it, see `fgsam_jax.data.table.load_table`.
"""

import functools
import re
from pathlib import Path

import tensorflow_datasets as tfds

from fgsam_jax.data.datasets.crops import Crop, CropsBuilder, check_roles, parse_name
from fgsam_jax.data.datasets.csv_list import read_csv
from fgsam_jax.data.datasets.folder_tree import KINDS, people_in, split_folders
from fgsam_jax.data.datasets.names import check_distinct, is_missing
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import Attribute

# What follows a person's name in a file of the kind 0002/0002_c1s1_000451_03.jpg.
_CAMERA = re.compile(r"_c0*([1-9][0-9]{0,8})[^0-9].*", re.DOTALL)

Splits = dict[str, list[Crop]]


class Folder(CropsBuilder):
    """Builder of a set of one's own; rows in the order of the file names or of the CSV."""

    name = "folder"
    VERSION = tfds.core.Version("1.0.0")
    TITLE = "your own set"

    @staticmethod
    def find_attributes(source: Path, attributes: Path | None) -> Path | None:
        """None: attributes are columns of the CSV. InputError if a file is given."""
        if attributes is not None:
            raise InputError(
                f"A set of one's own takes no attribute file, got {attributes}: make the "
                f"attributes columns of a CSV (docs/own_data.md) and leave the file out."
            )
        return None

    @staticmethod
    def files(source: Path) -> list[Path]:
        """Every image, and the CSV."""
        splits, _ = read_set(source, outside=True)  # whether that is allowed is asked of `_set`
        images = [crop.path for crops in splits.values() for crop in crops]
        return images if source.is_dir() else [source, *images]

    @functools.cached_property
    def _set(self) -> tuple[Splits, tuple[Attribute, ...]]:
        return read_set(self.builder_config.source, outside=self.builder_config.outside)

    def attributes(self) -> tuple[Attribute, ...]:
        """The columns of the CSV."""
        return self._set[1]

    def crops(self) -> Splits:
        """See `read_set`."""
        return self._set[0]


def read_set(source: Path, *, outside: bool = False) -> tuple[Splits, tuple[Attribute, ...]]:
    """The crops of every split and their attributes. Reads no image.

    Args:
      source: a folder or a CSV.
      outside: whether a CSV may name images outside of its own folder.

    Raises:
      InputError: the source is none of the three kinds; the message says what was found.
    """
    if not source.exists():
        raise InputError(f"There is no {source}: pass --config.data.source=... with {KINDS}.")
    if not source.is_dir() and source.suffix.lower() != ".csv":
        raise InputError(f"{source} is neither a folder nor a .csv: expected {KINDS}.")
    try:
        splits, attributes = (
            (_read_folder(source), ()) if source.is_dir() else read_csv(source, outside=outside)
        )
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error}): correct its permissions.") from None
    check_roles(splits)
    return splits, attributes


def _read_folder(source: Path) -> Splits:
    found = {split: people_in(folder) for split, folder in split_folders(source).items()}
    flat = {split for split, people in found.items() if "" in people}
    if not flat:
        return _by_person(source, found)
    if len(flat) < len(found):
        raise InputError(
            f"{source} mixes two kinds: {', '.join(sorted(flat))} holds images, "
            f"{', '.join(sorted(set(found) - flat))} a folder for each person. Use one kind."
        )
    return {
        split: [_market(path, source) for path in people[""]] for split, people in found.items()
    }


def _market(path: Path, source: Path) -> Crop:
    """A crop by its name in Market's manner."""
    try:
        identity, camera = parse_name(path)
    except InputError as error:
        raise InputError(f"{error} Or use a folder for each person, or a CSV.") from None
    return Crop(path, path.relative_to(source).as_posix(), identity, camera)


def _by_person(source: Path, found: dict[str, dict[str, list[Path]]]) -> Splits:
    """Crops of people numbered from 1 in the order of their folders' names.

    Cameras are known where every file is named after its folder in Market's manner, such as
    0002/0002_c1s1_000451_03.jpg; the folders -1 and 0000 are then junk and distractors.
    """
    paths = [path for people in found.values() for images in people.values() for path in images]
    cameras = {path: _camera(path) for path in paths}
    named = [path for path in paths if cameras[path]]
    if named and len(named) < len(paths):
        other = next(path for path in paths if not cameras[path])
        raise InputError(
            f"{source} mixes two kinds: {str(named[0].relative_to(source))!r} names a camera and "
            f"{str(other.relative_to(source))!r} does not. Rename one of them, or use a CSV."
        )
    special = {"-1": -1, "0000": 0} if named else {}
    everybody = sorted({person for split in found.values() for person in split})
    for person in everybody:
        if is_missing(person):
            raise InputError(
                f"{source} has a folder {person!r}, which names nobody: rename or remove it."
            )
    check_distinct(f"{source}: the people", dict.fromkeys(everybody, ""))
    people = [person for person in everybody if person not in special]
    numbers = special | {person: number for number, person in enumerate(people, 1)}
    return {
        split: [
            Crop(path, path.relative_to(source).as_posix(), numbers[person], cameras[path])
            for person, images in people_of.items()
            for path in images
        ]
        for split, people_of in found.items()
    }


def _camera(path: Path) -> int:
    """The camera in a name such as 0002/0002_c1s1_000451_03.jpg, 0 if there is none."""
    person = path.parent.name
    match = _CAMERA.fullmatch(path.name[len(person) :]) if path.name.startswith(person) else None
    return int(match[1]) if match else 0
