"""Where the images of a user's own set lie: folders of splits, and folders of people in them."""

from pathlib import Path

from fgsam_jax.data.datasets.image_files import (
    SUFFIXES,
    check_depth,
    folders_in,
    images_below,
    images_in,
)
from fgsam_jax.data.splits import WHOLE
from fgsam_jax.errors import InputError

# The folders of the splits, by either of two names.
_SPLIT_FOLDERS = {
    "train": ("train", "bounding_box_train"),
    "query": ("query",),
    "gallery": ("gallery", "bounding_box_test"),
}
KINDS = "images named like 0002_c1s1_000451_03.jpg, a folder of images for each person, or a CSV"


def split_folders(source: Path) -> dict[str, Path]:
    """The folder of each split, or of `WHOLE`."""

    def present(folder: Path) -> dict[str, Path]:
        return {
            split: folder / name
            for split, names in _SPLIT_FOLDERS.items()
            for name in names
            if (folder / name).is_dir()
        }

    found = present(source)
    twice = [
        names
        for names in _SPLIT_FOLDERS.values()
        if sum((source / name).is_dir() for name in names) > 1
    ]
    if twice:
        raise InputError(f"{source} has both {' and '.join(twice[0])}: one split, two folders.")
    lacking = [" or ".join(_SPLIT_FOLDERS[split]) for split in _SPLIT_FOLDERS if split not in found]
    if not lacking:
        return found
    if found:
        raise InputError(
            f"{source} has {', '.join(path.name for path in found.values())} but no folder "
            f"{', no '.join(lacking)}: give all three splits, or the images without splits to have "
            f"them drawn."
        )
    known = {name for names in _SPLIT_FOLDERS.values() for name in names}
    for path in folders_in(source):
        if path.name.casefold() in known:
            raise InputError(f"{path} is no split: write its name {path.name.casefold()}")
    higher = source.resolve().parent
    if source.resolve() in present(higher).values() and len(present(higher)) == len(_SPLIT_FOLDERS):
        raise InputError(f"{source} is one split of a set: pass the folder above it, {higher}.")
    return {WHOLE: source}


def people_in(folder: Path) -> dict[str, list[Path]]:
    """The images of each person's folder, by its name; "" for images that lie in none."""
    images = images_in(folder)
    inside = {path.name: images_in(path) for path in folders_in(folder)}
    people = {name: found for name, found in inside.items() if found}
    if images and people:
        raise InputError(
            f"{folder} mixes two kinds: it holds images, such as {images[0].name!r}, and folders "
            f"of images, such as {next(iter(people))!r}. Use one kind."
        )
    if images:
        check_depth(folder)
        return {"": images}
    if not people:
        deep = [folder / name for name in inside if next(images_below(folder / name), None)]
        if deep:
            hint = f" It seems to be one level deeper, at {deep[0]}." if len(deep) == 1 else ""
            raise InputError(f"{folder} holds folders of folders: expected {KINDS}.{hint}")
        here = sorted(path.name for path in folder.iterdir())
        raise InputError(
            f"{folder} holds no image ({', '.join(SUFFIXES)}): expected {KINDS}, found "
            f"{', '.join(map(repr, here[:6])) or 'an empty folder'}{', ...' * (len(here) > 6)}."
        )
    for name in inside:
        check_depth(folder / name)
    return people
