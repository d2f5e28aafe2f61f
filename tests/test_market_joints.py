import runpy
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from fgsam_jax.data import open_table
from fgsam_jax.data.skeleton import JOINTS

TOOL = Path(__file__).parents[1] / "tools" / "market_joints.py"
BOXES = {"bounding_box_train": ("train", 3), "query": ("query", 2)}


@pytest.fixture
def arguments(tmp_path):
    """A made-up Market-1501 with its joints: joint j of image i is at x = 1 + i, y = 2 + 8 j."""
    for folder, (split, count) in BOXES.items():
        (tmp_path / "market" / folder).mkdir(parents=True)
        for index in range(count):
            path = tmp_path / "market" / folder / f"0001_c{index + 1}s1_000001_00.jpg"
            Image.new("RGB", (64, 128)).save(path)
        x = np.repeat(np.arange(count)[:, None], 14, axis=1) + 1
        y = np.repeat(2 + 8 * np.arange(14)[None], count, axis=0)
        (tmp_path / "joints").mkdir(exist_ok=True)
        with h5py.File(tmp_path / "joints" / f"market1501_14point_{split}.mat", "w") as file:
            file["pp"] = np.concatenate([x, y], axis=1).astype(float)
    return [
        *("--market", tmp_path / "market", "--joints", tmp_path / "joints"),
        *("--to", tmp_path / "out"),
    ]


def run(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name="__main__")


def test_the_written_folder_reads_back_as_coco_with_unknown_faces(arguments, tmp_path, monkeypatch):
    run(arguments, monkeypatch)
    table = open_table("coco_keypoints", tmp_path / "out", tmp_path / "records", "train", 128, 64)
    assert len(table) == 3
    states = dict(zip(JOINTS, table.joints[0, 0, :, 2], strict=True))
    assert {name for name, state in states.items() if state == -1} == {
        "nose", "right_eye", "left_eye", "right_ear", "left_ear",
    }  # fmt: skip
    # The neck is row 1 of the file, the left ankle row 13: their distance is 12 * 8 pixels, here
    # shrunk by the margin of the crop.
    neck, ankle = (table.joints[0, 0, JOINTS.index(name)] for name in ("neck", "left_ankle"))
    assert ankle[1] - neck[1] == pytest.approx(12 * 8 / 1.1, abs=1)
    # Image 2 lies two pixels further right than image 0.
    assert table.joints[2, 0, 1, 0] - table.joints[0, 0, 1, 0] == pytest.approx(2 / 1.1, abs=0.1)


def test_joints_for_another_number_of_images_are_refused(arguments, tmp_path, monkeypatch):
    next((tmp_path / "market" / "query").glob("*.jpg")).unlink()
    with pytest.raises(SystemExit, match="has joints for 2 images, query holds 1"):
        run(arguments, monkeypatch)
