import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from PIL import Image

from fgsam_jax.checkpoint import CheckpointInfo, Checkpoints, checkpoint_folder
from fgsam_jax.data import load_table, open_set
from fgsam_jax.data.datasets.joint_files import read_joints
from fgsam_jax.data.images import read_image, resize
from fgsam_jax.data.splits import WHOLE
from fgsam_jax.errors import InputError
from fgsam_jax.labels.pose_targets import pose_targets
from fgsam_jax.labels.skeleton import JOINTS, MIRRORED_JOINT
from fgsam_jax.retrieval.inference import forward
from fgsam_jax.retrieval.joints import KEYPOINTS, coco_joints, find_joints, peaks

SIZES = {"anna/1.png": (40, 100), "anna/2.png": (16, 32), "ben/1.png": (90, 33)}


@pytest.fixture(scope="module")
def tool():
    """tools/label_joints.py as a module."""
    path = Path(__file__).parents[2] / "tools" / "label_joints.py"
    spec = importlib.util.spec_from_file_location("label_joints", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """A folder of people, images of several sizes."""
    folder = tmp_path_factory.mktemp("crops")
    random = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        pixels = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def variables(scale=1.0):
    """Of a pose net with random weights, its last maps times a factor."""
    drawn = tiny.numpy_variables(tiny.model("pose"))
    last = drawn["params"]["pose"]["Mconv7_stage3_L2"]
    last["kernel"] *= scale
    last["bias"] += 0.4 * (scale > 0)
    return drawn


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with pose nets of random weights, one of them blind, and a baseline."""
    folder = tmp_path_factory.mktemp("run")
    phases = (tiny.POSE, tiny.Phase("blind", "Blind", "pose"), tiny.BASE)
    config = tiny.config(Path("unused"), phases, evaluation_batch=2)
    nets = {
        "pose": variables(),
        "blind": variables(0),
        "base": tiny.numpy_variables(tiny.model("baseline")),
    }
    for phase, held in nets.items():
        checkpoints = Checkpoints(checkpoint_folder(folder, phase), create=True)
        info = CheckpointInfo(config, phase, tiny.PEOPLE, tiny.MARKET1501)
        checkpoints.save(1, {"variables": held}, info.to_dict())
        checkpoints.wait()
    return folder


def test_a_joint_between_cells_is_found_from_the_target_map_it_gives():
    random = np.random.default_rng(1)
    joints = np.full((4, 1, 18, 3), 2, np.float32)
    joints[..., :2] = random.uniform((12, 12), (51, 115), (4, 1, 18, 2))  # not in a rim cell

    heat = np.asarray(pose_targets(joints, 128, 64, sigma=8.0)[0])[..., :18]
    found = peaks(heat)

    np.testing.assert_allclose(found[..., :2] * (64, 128) - 0.5, joints[:, 0, :, :2], atol=1e-2)
    cells = np.abs(found[..., :2] * (8, 16) % 1 - 0.5).max()
    assert cells > 0.3  # whole cells would not do


def test_at_the_rim_and_on_flat_maps_the_place_is_the_middle_of_the_highest_cell():
    heat = np.zeros((1, 4, 2, 2))
    heat[0, 3, 1, 0] = 0.5
    assert peaks(heat)[0].tolist() == [[0.75, 0.875, 0.5], [0.25, 0.125, 0.0]]


def test_joints_are_those_of_the_mean_of_image_and_mirror_image_in_pixels_of_the_file(run, crops):
    size = (tiny.HEIGHT, tiny.WIDTH)
    found, sizes = find_joints(run, [crops / name for name in SIZES])

    assert sizes.tolist() == [list(size) for size in SIZES.values()]
    model = tiny.model("pose")
    heat = jax.jit(lambda v, images: forward(model, v, images).pose.heat[-1][..., :18])
    images = np.stack([resize(read_image(crops / name)[1], *size) for name in SIZES])
    maps = np.asarray(heat(variables(), np.concatenate([images, images[:, :, ::-1]])))
    expected = peaks((maps[:3] + maps[3:, :, ::-1][..., MIRRORED_JOINT]) / 2)
    for row, file_size in enumerate(SIZES.values()):
        expected[row, :, :2] = expected[row, :, :2] * file_size - 0.5
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_unsure_joints_are_not_labelled_and_one_never_seen_is_no_keypoint():
    joints = np.zeros((3, 18, 3), np.float32)
    joints[..., 2] = 0.2
    joints[0, JOINTS.index("left_wrist")] = 10.26, 20.5, 0.9
    joints[0, JOINTS.index("nose")] = 5, 6, 0.5
    joints[2, JOINTS.index("nose")] = 7, 8, 0.4
    joints[..., JOINTS.index("neck"), 2] = 1.0  # COCO has none

    content = coco_joints(["a", "b", "c"], joints, np.array([[64, 128]] * 3))

    assert content["categories"][0]["keypoints"] == ["nose", "left_wrist"]
    first, third = content["annotations"]  # of b nothing is said
    assert (first["image_id"], third["image_id"]) == (1, 3)
    assert first["keypoints"] == [5, 6, 2, 10.3, 20.5, 2]
    assert third["keypoints"] == [7, 8, 2, 0, 0, 0]
    assert (first["num_keypoints"], third["num_keypoints"]) == (2, 1)
    assert first["score"] == 0.7


def test_the_labels_of_a_folder_come_back_as_the_joints_of_its_table(
    tool, run, crops, tmp_path, capsys
):
    target = tmp_path / "joints.json"
    tool.main([str(run), str(crops), "--to", str(target)])

    written = len(json.loads(target.read_text())["annotations"])
    assert f"in {written} of 3 images" in capsys.readouterr().out
    found, _ = find_joints(run, [crops / name for name in SIZES])
    read = read_joints(target, {"train": list(SIZES)})["train"]
    labelled = 0
    for row, (held, size) in enumerate(zip(read, SIZES.values(), strict=True)):
        sure = found[row, :, 2] >= 0.3
        sure[JOINTS.index("neck")] = False  # read from the shoulders instead
        assert held.size == size
        if sure.any():
            person = held.people[0]
            np.testing.assert_allclose(person[sure, :2], found[row, sure, :2], atol=0.06)
            assert (person[sure, 2] == 2).all()
            others = [JOINTS.index(name) for name in KEYPOINTS if not sure[JOINTS.index(name)]]
            assert (person[others, 2] <= 0).all()
        labelled += sure.sum()
    assert labelled > 10

    builder = open_set("folder", crops, tmp_path / "records", joints=target)
    table = load_table(builder, WHOLE, 32, 16)
    assert table.joints.shape == (3, 1, 18, 3)
    assert (table.joints[..., 2] == 2).sum() >= labelled


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["{run}", "{empty}"], "holds no image"),
        (["{run}", "{crops}", "--phase=base"], "has no pose net: name another by --phase"),
        (["{run}", "{crops}", "--phase=blind"], "no joint in any image: train it longer"),
        (["{run}", "{crops}", "--phase=pos"], "train first"),
        (["{run}"], "--help tells all"),
    ],
)
def test_what_cannot_be_labelled_is_said(tool, run, crops, tmp_path, given, message):
    places = {"run": run, "crops": crops, "empty": tmp_path}
    with pytest.raises(InputError, match=message):
        tool.main([*(word.format(**places) for word in given), "--to", str(tmp_path / "x.json")])
