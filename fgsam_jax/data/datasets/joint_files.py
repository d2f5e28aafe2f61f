"""Joints given for the crops of a re-identification set.

Two sources are read: COCO's keypoint format, and the files of layumi/market1501_body_point (14
joints found by machine in every crop of Market-1501, MATLAB v7.3). Joints that a source does not
know have state -1 and take no part in the loss.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fgsam_jax.data.datasets.coco_annotations import convert_joints, read_annotations
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


def read_joints(path: Path, names: Mapping[str, Sequence[str]]) -> dict[str, list[np.ndarray]]:
    """The people in every crop: by split, for each of its files float32 [people, 18, 3].

    Args:
      path: a .json in COCO's keypoint format or a folder of such, its images found by name, with
        or without their folders; or the folder of the files
        market1501_14point_{train,query,gallery}.mat.
      names: of the images of each split in their order. One that a json does not name has nobody.

    Returns:
      (x, y, state) in pixels from 0, in the order of `skeleton.JOINTS`; state 2 visible, 1
      labelled but hidden, 0 not labelled, -1 not known to the source.

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
            if crop is not None:
                people.setdefault(crop, []).extend(seen)
    if not people:
        raise InputError(
            f"{path} names none of the images, such as {next(iter(of_file), 'none')}. Use the "
            f"joints of this data set."
        )
    nobody = np.zeros((0, len(JOINTS), 3), np.float32)
    return {
        split: [np.stack(people[name]) if people.get(name) else nobody for name in files]
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


def _fourteen(path: Path, images: int) -> list[np.ndarray]:
    """The joints of one file, rows in file-name order; it counts pixels from 1."""
    try:
        import h5py
    except ImportError:
        raise InputError(f'{path} needs h5py to be read: pip install -e ".[joints]"') from None
    try:
        with h5py.File(path) as file:
            points = np.asarray(file["pp"], np.float32)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} cannot be read as joints ({error}).") from None
    columns = 2 * (1 + len(_FOURTEEN))
    if points.ndim == 2 and points.shape[0] == columns:
        points = points.T  # MATLAB's columns are HDF5's rows
    if points.shape != (images, columns):
        raise InputError(
            f"{path} has joints of the shape {points.shape}, the set has {images} images there: "
            f"use the joints of this data set, and the whole of it."
        )
    joints = np.zeros((images, 1, len(JOINTS), 3), np.float32)
    joints[..., 2] = -1
    for column, joint in enumerate(_FOURTEEN, 1):
        row = joints[:, 0, JOINTS.index(joint)]
        row[:, 0], row[:, 1] = points[:, column] - 1, points[:, len(_FOURTEEN) + 1 + column] - 1
        row[:, 2] = 2
    return list(joints)
