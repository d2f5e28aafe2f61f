"""The crops that a user names, with camera, time and person as far as names or a CSV tell them."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fgsam_jax.errors import InputError

# In a file's name or in the name of its folder: cam3, camera_03, c3; but not the 3 of abc3.
_CAMERA = re.compile(r"(?<![a-z0-9])c(?:am|amera)?[_-]?0*([1-9][0-9]{0,8})(?![0-9])", re.IGNORECASE)
_IS_CAMERA = re.compile(rf"{_CAMERA.pattern}.*", re.IGNORECASE)
# 20261128T101500, 2026-11-28_10-15-00, 2026-11-28 10.15.00
_TIME = re.compile(
    r"(?<![0-9])((?:19|20)[0-9]{2})-?([01][0-9])-?([0-3][0-9])[T _-]"
    r"([0-2][0-9])[-.:]?([0-5][0-9])[-.:]?([0-5][0-9])(?![0-9])"
)
_MARKET = re.compile(r"(-1|[0-9]{1,9})_c0*[1-9]")
# Folders of the published sets, which are nobody's name.
_SPLITS = {"query", "gallery", "train", "bounding_box_test", "bounding_box_train"}
_COLUMNS = ("path", "identity", "camera", "time", "words")


@dataclass(frozen=True)
class Crop:
    """One crop to index.

    Attributes:
      path: of the file.
      name: the same from the folder that names are relative to.
      identity: see `gallery.Row`.
      camera: see there.
      time: as a gallery takes it.
      words: of the user's own.
    """

    path: Path
    name: str
    identity: str | None = None
    camera: str | None = None
    time: str | float | None = None
    words: tuple[str, ...] = ()


def list_crops(given: Sequence[Path], root: Path, *, camera_folders: bool = False) -> list[Crop]:
    """The crops of folders, files and CSVs, in this order; in a folder sorted, with all below it.

    Of an image that a folder has, the name tells

    - the camera: cam3, camera_03 or c3 in its name (0002_c3s1_000451_03.jpg) or its folder's;
    - the time: 20261128T101500 or 2026-11-28_10-15-00;
    - the person: the number in front of Market's names, or else a folder that is no camera.

    A CSV has a column path, relative to the CSV, and perhaps identity, camera, time and words, the
    last parted by blanks.

    Args:
      given: folders, images or CSVs.
      root: the folder that names are relative to; no image may lie outside of it.
      camera_folders: the folder that holds an image is its camera, and nobody's name.

    Raises:
      InputError: there is no such file, no image, or one outside of the root; or a CSV's fault.

    Example:
      >>> crops = list_crops([Path("data/cam1"), Path("data/cam2")], Path("data"))  # doctest: +SKIP
      >>> crops[0].name, crops[0].camera  # doctest: +SKIP
      ('cam1/20261128T101500.jpg', '1')
    """
    found: dict[str, Crop] = {}
    for source in given:
        for crop in _listed(source, root, camera_folders):
            found.setdefault(crop.name, crop)
    return list(found.values())


def relative_name(path: Path, root: Path) -> str:
    """The name of a file in a gallery: from the root, with / on every system.

    Raises:
      InputError: it lies outside of the root.

    Example:
      >>> relative_name(Path("data/cam1/a.jpg"), Path("data"))
      'cam1/a.jpg'
    """
    name = os.path.relpath(path, root)
    if name.startswith(os.pardir):
        raise InputError(
            f"{path} is not in {root.absolute()}, which names are relative to: pass --root with a "
            "folder above it"
        )
    return Path(name).as_posix()


def located(name: str, root: Path) -> Path:
    """The file of a name, which a gallery of another's may have made up.

    Raises:
      InputError: it would lie outside of the root.

    Example:
      >>> located("../a.jpg", Path("/data"))
      Traceback (most recent call last):
      fgsam_jax.errors.InputError: the gallery names ../a.jpg, which is not in /data
    """
    path = Path(os.path.abspath(root / name))
    if not path.is_relative_to(os.path.abspath(root)):
        raise InputError(f"the gallery names {name}, which is not in {root.absolute()}")
    return path


def kept_file(name: str, root: Path) -> Path:
    """As `located`, of a file that is there. Raises InputError too if it is not.

    Example:
      >>> kept_file("a.jpg", Path("/absent"))
      Traceback (most recent call last):
      fgsam_jax.errors.InputError: there is no /absent/a.jpg: pass --root with the folder that \
the names in the gallery are relative to
    """
    path = located(name, root)
    if not path.is_file():
        raise InputError(
            f"there is no {path}: pass --root with the folder that the names in the gallery are "
            "relative to"
        )
    return path


def _listed(source: Path, root: Path, camera_folders: bool) -> Iterator[Crop]:
    # Late: TensorFlow Datasets comes with it.
    from fgsam_jax.data.datasets.image_files import SUFFIXES, images_below

    if source.is_dir():
        empty = True
        for path in images_below(source):
            empty = False
            yield _by_name(path, source, root, camera_folders)
        if empty:
            raise InputError(f"{source} holds no image ({', '.join(SUFFIXES)})")
    elif not source.is_file():
        raise InputError(f"there is no {source}: name folders, images or a .csv")
    elif source.suffix.lower() == ".csv":
        yield from _from_csv(source, root)
    else:
        yield _by_name(source, source.parent, root, camera_folders)


def _by_name(path: Path, source: Path, root: Path, camera_folders: bool) -> Crop:
    folder = path.absolute().parent.name
    numbered = _IS_CAMERA.fullmatch(folder)
    found = _CAMERA.search(path.name) or numbered
    camera = found[1] if found else None
    if camera_folders:
        camera = numbered[1] if numbered else folder
    market = _MARKET.match(path.name)
    identity = None
    if market:
        identity = market[1] if market[1] == "-1" else str(int(market[1]))
    elif path.parent != source and not (camera_folders or numbered or folder in _SPLITS):
        identity = folder
    name = relative_name(path, root)
    return Crop(path, name, identity, camera, _time(path.name))


def _time(name: str) -> float | None:
    match = _TIME.search(name)
    try:
        return datetime(*map(int, match.groups()), tzinfo=UTC).timestamp() if match else None  # type: ignore[arg-type,misc]
    except ValueError:  # the 31st of February
        return None


def _from_csv(file: Path, root: Path) -> Iterator[Crop]:
    from fgsam_jax.data.datasets.csv_list import read_columns

    lines, columns = read_columns(file, needed=("path",))
    empty = [""] * len(lines)
    known = [columns.get(name, empty) for name in _COLUMNS]
    for path, identity, camera, time, words in zip(*known, strict=True):
        place = file.parent / path
        name = relative_name(place, root)
        own = tuple(words.split())
        yield Crop(place, name, identity or None, camera or None, time or None, own)
