"""A user's own set: a folder in Market's naming, a folder for each person, or a CSV.

docs/own_data.md shows all three. Without splits of its own the set is one split, `WHOLE`, and
train, query and gallery are drawn from it, see `fgsam_jax.data.table.load_table`.
"""

import functools
import os
import re
from pathlib import Path

import tensorflow_datasets as tfds

from fgsam_jax.data.datasets.crops import SUFFIXES, Crop, CropsBuilder, images_in, parse_name
from fgsam_jax.data.datasets.csv_list import read_csv
from fgsam_jax.data.splits import WHOLE
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import Attribute

# The folders of the splits, by either of two names.
SPLIT_FOLDERS = {
    "train": ("train", "bounding_box_train"),
    "query": ("query",),
    "gallery": ("gallery", "bounding_box_test"),
}
_KINDS = "images named like 0002_c1s1_000451_03.jpg, a folder of images for each person, or a CSV"
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
        splits, _ = read_set(source)
        images = [crop.path for crops in splits.values() for crop in crops]
        return images if source.is_dir() else [source, *images]

    @functools.cached_property
    def _set(self) -> tuple[Splits, tuple[Attribute, ...]]:
        return read_set(self.builder_config.source)

    def attributes(self) -> tuple[Attribute, ...]:
        """The columns of the CSV."""
        return self._set[1]

    def crops(self) -> Splits:
        """See `read_set`."""
        return self._set[0]


def read_set(source: Path) -> tuple[Splits, tuple[Attribute, ...]]:
    """The crops of every split and their attributes. Reads no image.

    Raises:
      InputError: the source is none of the three kinds; the message says what was found.
    """
    if not source.exists():
        raise InputError(f"There is no {source}: pass --config.data.source=... with {_KINDS}.")
    if not source.is_dir() and source.suffix.lower() != ".csv":
        raise InputError(f"{source} is neither a folder nor a .csv: expected {_KINDS}.")
    try:
        splits, attributes = (_read_folder(source), ()) if source.is_dir() else read_csv(source)
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error}): correct its permissions.") from None
    for crop in splits.get("train", ()):
        if crop.identity < 1:
            kind = "junk" if crop.identity else "a distractor"
            raise InputError(
                f"{crop.path} has the identity {crop.identity}, {kind}, and is in the split train: "
                f"that trains on people from 1 on. Move it to the gallery or leave it out."
            )
    return splits, attributes


def _read_folder(source: Path) -> Splits:
    found = {split: _people(folder) for split, folder in _split_folders(source).items()}
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


def _split_folders(source: Path) -> dict[str, Path]:
    """The folder of each split, or of `WHOLE`."""

    def present(folder: Path) -> dict[str, Path]:
        return {
            split: folder / name
            for split, names in SPLIT_FOLDERS.items()
            for name in names
            if (folder / name).is_dir()
        }

    found = present(source)
    twice = [
        names
        for names in SPLIT_FOLDERS.values()
        if sum((source / name).is_dir() for name in names) > 1
    ]
    if twice:
        raise InputError(f"{source} has both {' and '.join(twice[0])}: one split, two folders.")
    lacking = [" or ".join(SPLIT_FOLDERS[split]) for split in SPLIT_FOLDERS if split not in found]
    if not lacking:
        return found
    if found:
        raise InputError(
            f"{source} has {', '.join(path.name for path in found.values())} but no folder "
            f"{', no '.join(lacking)}: give all three splits, or the images without splits to have "
            f"them drawn."
        )
    higher = source.resolve().parent
    if source.resolve() in present(higher).values() and len(present(higher)) == len(SPLIT_FOLDERS):
        raise InputError(f"{source} is one split of a set: pass the folder above it, {higher}.")
    return {WHOLE: source}


def _people(folder: Path) -> dict[str, list[Path]]:
    """The images of each person's folder, by its name; "" for images that lie in none."""
    images = images_in(folder)
    inside = {path.name: images_in(path) for path in _folders(folder)}
    people = {name: found for name, found in inside.items() if found}
    if images and people:
        raise InputError(
            f"{folder} mixes two kinds: it holds images, such as {images[0].name!r}, and folders "
            f"of images, such as {next(iter(people))!r}. Use one kind."
        )
    if images:
        return {"": images}
    deep = [folder / name for name in inside.keys() - people.keys()]
    deep = sorted(path for path in deep if any(map(images_in, _folders(path))))
    if deep and not people:
        hint = f" It seems to be one level deeper, at {deep[0]}." if len(deep) == 1 else ""
        raise InputError(f"{folder} holds folders of folders: expected {_KINDS}.{hint}")
    if deep:
        raise InputError(f"{deep[0]} holds images one level too deep: put them into {deep[0]}.")
    if not people:
        here = sorted(path.name for path in folder.iterdir())
        raise InputError(
            f"{folder} holds no image ({', '.join(SUFFIXES)}): expected {_KINDS}, found "
            f"{', '.join(map(repr, here[:6])) or 'an empty folder'}{', ...' * (len(here) > 6)}."
        )
    return people


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones and what a Mac's archives add."""
    with os.scandir(folder) as entries:
        return sorted(
            Path(entry.path)
            for entry in entries
            if entry.is_dir() and not entry.name.startswith(".") and entry.name != "__MACOSX"
        )


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
    people = sorted({person for split in found.values() for person in split} - special.keys())
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
