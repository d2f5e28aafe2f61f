"""Joints given for the crops of a re-identification set.

Two sources are read: COCO's keypoint format, and the files of layumi/market1501_body_point (14
joints found by machine in every crop of Market-1501, MATLAB v7.3). Joints that a source does not
know have state -1 and take no part in the loss.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fgsam_jax.data.datasets.coco_annotations import convert_joints, read_annotations
from fgsam_jax.data.datasets.coco_regions import FARTHEST
from fgsam_jax.data.datasets.matlab import read_matrix
from fgsam_jax.data.splits import WHOLE
from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import JOINTS

# Our joints in the order of the file's rows 1 to 13; its row 0, the top of the head, is none of
# ours, and it knows no face.
_FOURTEEN = (
    "neck",
    "right_shoulder", "right_elbow", "right_wrist",
    "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle",
    "left_hip", "left_knee", "left_ankle",
)  # fmt: skip


@dataclass(frozen=True)
class Labelled:
    """The people of a crop.

    Attributes:
      people: float32 [people, 18, 3], (x, y, state) in pixels from 0, in the order of
        `skeleton.JOINTS`; state 2 visible, 1 labelled but hidden, 0 not labelled, -1 not known to
        the source.
      size: (width, height) of the image that they were labelled in; None where the source is
        silent.
    """

    people: np.ndarray
    size: tuple[int, int] | None = None

    def of(self, path: Path, size: tuple[int, int]) -> np.ndarray:
        """The people, for a crop's file of (width, height) `size`. InputError for another size."""
        if self.size not in (None, size):
            raise InputError(
                f"{path} is {size[0]}x{size[1]}, and its joints were labelled in an image of "
                f"{self.size[0]}x{self.size[1]}: give the joints in pixels of the crop."
            )
        return self.people


def read_joints(path: Path, names: Mapping[str, Sequence[str]]) -> dict[str, list[Labelled]]:
    """The people in every crop, by split in the order of its files.

    Args:
      path: a .json in COCO's keypoint format or a folder of such, its images found by name, with
        or without their folders; or the folder of the files
        market1501_14point_{train,query,gallery}.mat.
      names: of the images of each split in their order. One that a json does not name has nobody.

    Raises:
      InputError: the files are none of these, or are of another set of images, or several images
        have the file name of one.
    """
    if path.is_dir() and (path / _mat_name("train")).is_file():
        if WHOLE in names:
            raise InputError(f"{path} has the joints of Market-1501, and the images are not that.")
        return {
            split: _fourteen(path / _mat_name(split), len(files)) for split, files in names.items()
        }
    jsons = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not jsons or any(file.suffix != ".json" for file in jsons):
        raise InputError(
            f"{path} holds no joints: expected a .json in COCO's keypoint format, a folder of "
            f"such, or the folder of {_mat_name('train')}, ..query.mat and ..gallery.mat."
        )
    people: dict[str, list[np.ndarray]] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    of_file: dict[str, list[str]] = {}
    for files in names.values():
        for name in files:
            of_file.setdefault(Path(name).name, []).append(name)
    for file in jsons:
        images, persons, keypoints = read_annotations(file)
        for image, entries in persons.items():
            shown = [entry for entry in entries if entry["num_keypoints"]]
            seen = [convert_joints(entry["keypoints"], keypoints) for entry in shown]
            crop = _meant(images[image], of_file, file)
            if crop is None:
                continue
            people.setdefault(crop, []).extend(seen)
            size = entries[0]["image_size"]
            if sizes.setdefault(crop, size) != size:
                raise InputError(f"{file} has joints of {crop} in two sizes, {sizes[crop]}, {size}")
    if not people:
        raise InputError(
            f"{path} names none of the images, such as {next(iter(of_file), 'none')}. Use the "
            f"joints of this data set."
        )
    nobody = np.zeros((0, len(JOINTS), 3), np.float32)
    return {
        split: [
            Labelled(np.stack(people[name]) if people.get(name) else nobody, sizes.get(name))
            for name in files
        ]
        for split, files in names.items()
    }


def _meant(given: str, of_file: Mapping[str, Sequence[str]], file: Path) -> str | None:
    """The image that a json means, by its whole name or by its file name alone."""
    found = of_file.get(Path(given).name, [])
    if given in found:
        return given
    if len(found) > 1:
        raise InputError(
            f"{file} has joints for {given}, which may be {found[0]} or {found[1]}: give its "
            f"file_name as one of them."
        )
    return found[0] if found else None


def _mat_name(split: str) -> str:
    return f"market1501_14point_{split}.mat"


def _fourteen(path: Path, images: int) -> list[Labelled]:
    """The joints of one file, rows in file-name order; it counts pixels from 1."""
    if importlib.util.find_spec("h5py") is None:
        raise InputError(f'{path} needs h5py to be read: pip install -e ".[joints]"')
    if not path.is_file():
        raise InputError(f"{path} cannot be read as joints: there is no such file.")
    try:
        points = np.array(read_matrix(path, "pp"), ndmin=2)
    except ValueError as error:
        raise InputError(f"{path} cannot be read as joints ({error}).") from None
    columns = 2 * (1 + len(_FOURTEEN))
    if points.ndim == 2 and points.shape[0] == columns:
        points = points.T  # MATLAB's columns are HDF5's rows
    if points.shape != (images, columns):
        raise InputError(
            f"{path} has joints of the shape {points.shape}, the set has {images} images there: "
            f"use the joints of this data set, and the whole of it."
        )
    if np.abs(points).max(initial=0) > FARTHEST:
        raise InputError(f"{path} has joints at {np.abs(points).max():g} pixels: it is broken.")
    joints = np.zeros((images, 1, len(JOINTS), 3), np.float32)
    joints[..., 2] = -1
    for column, joint in enumerate(_FOURTEEN, 1):
        row = joints[:, 0, JOINTS.index(joint)]
        row[:, 0], row[:, 1] = points[:, column] - 1, points[:, len(_FOURTEEN) + 1 + column] - 1
        row[:, 2] = 2
    return [Labelled(people) for people in joints]
