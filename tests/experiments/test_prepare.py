import dataclasses
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from conftest import SIZES
from PIL import Image
from trees import TRAIN, write_attributes, write_image, write_market

from fgsam_jax.config import Config, Data, Phase, PoseData, Synthetic
from fgsam_jax.data import Table
from fgsam_jax.data.checks import Problem
from fgsam_jax.data.datasets.crops import CropsBuilder
from fgsam_jax.data.datasets.market1501 import Market1501
from fgsam_jax.errors import InputError
from fgsam_jax.experiments.prepare import Preparation, open_people
from fgsam_jax.experiments.run import each_run, render_set
from fgsam_jax.labels.skeleton import JOINTS
from fgsam_jax.runtime import cli
from fgsam_jax.visualization import dataset, poses

ROOT = Path(__file__).parents[2]
BASE = Phase("base", "Base", "baseline", batch=2)
POSE = Phase("pose", "Pose", "pose", batch=2)


@pytest.fixture(scope="module")
def tool():
    """tools/prepare.py as a module."""
    spec = importlib.util.spec_from_file_location("prepare_tool", ROOT / "tools" / "prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def market(tmp_path, monkeypatch):
    """A configuration of a small set that is complete."""
    published = {"train": (3, 2), "query": (2, 2), "gallery": (4, 2)}
    monkeypatch.setattr(Market1501, "PUBLISHED", published)
    source = write_market(tmp_path / "market")
    # Every split of that begins with the same image.
    for seed, path in enumerate(sorted(source.glob("*/[-0-9]*.jpg"))):
        write_image(path, seed)
    write_attributes(source / "market_attribute.mat")
    data = Data(source=str(source), records=str(tmp_path / "records"), height=32, width=16)
    return Config(data=data, phases=(BASE,))


def fatal(config):
    """The fatal problems of a configuration; its warnings are of no interest."""
    return [problem for problem in Preparation(config).problems if problem.fatal]


def test_a_complete_set_is_built_and_has_no_problem(market, capsys):
    done = Preparation(market)

    assert done.problems == []
    assert len(done.sheets) == 1
    tables = Path(market.data.records).rglob("table.json")
    assert {path.parent.name for path in tables} == {
        "train-32x16",
        "query-32x16",
        "gallery-32x16",
    }
    said = capsys.readouterr().out
    assert "Images to re-identify: market1501" in said
    assert "Images with joints" not in said
    assert "records: " in said


def test_missing_images_are_told_beside_the_published_number(market, capsys):
    (Path(market.data.source) / "bounding_box_train" / TRAIN[0]).unlink()

    assert fatal(market) == [Problem("images of train: published 3, found 2", fatal=True)]


def test_all_problems_are_found_in_one_run(market):
    source = Path(market.data.source)
    train, test = source / "bounding_box_train", source / "bounding_box_test"
    shutil.copy(train / TRAIN[0], test / "0002_c4s1_000451_03.jpg")
    (train / TRAIN[2]).write_bytes(b"")
    (test / "0001_c2s1_001976_01.jpg").write_bytes(b"cut")
    texts = [problem.text for problem in fatal(market)]

    assert texts == [
        "image files that cannot be used: 2 of 10; unpack the set again",
        "identities of train that are also in gallery: 1",
        "LEAK: images of train that are also in query or gallery: 1",
    ]
    assert not list(Path(market.data.records).rglob("*.array_record*"))


def test_people_whose_images_are_of_another_kind_are_told(tmp_path):
    for person in ("anna", "ben", "cem", "dora"):
        (tmp_path / "set" / person).mkdir(parents=True)
        for number in range(3):
            write_image(tmp_path / "set" / person / f"{number}.jpg", 10 * ord(person[0]) + number)
    for path in (tmp_path / "set" / "dora").iterdir():
        path.rename(path.with_suffix(".webp"))
    data = Data("folder", str(tmp_path / "set"), "", str(tmp_path / "records"), 32, 16)
    problems = Preparation(Config(data=data, phases=(BASE,))).problems
    texts = [problem.text for problem in problems]
    assert any("3 .webp" in text for text in texts)
    assert (str(tmp_path / "set" / "dora"),) in [problem.cases for problem in problems]


def test_a_problem_of_one_set_does_not_hide_those_of_the_other(market, tmp_path):
    pose = PoseData(source=str(tmp_path / "absent"))
    data = dataclasses.replace(market.data, source=str(tmp_path / "nowhere"))
    texts = [p.text for p in fatal(Config(data=data, pose_data=pose, phases=(BASE, POSE)))]

    assert len(texts) == 2
    assert texts[0].startswith("Market-1501 was not found")
    assert texts[1].startswith("COCO was not found")


def test_a_batch_that_the_set_cannot_fill_is_found(market):
    phases = (dataclasses.replace(BASE, batch=64),)
    (problem,) = fatal(dataclasses.replace(market, phases=phases))
    assert "a batch of 64 needs as many images" in problem.text


def test_a_set_without_people_is_refused_for_re_identification(rendered, tmp_path):
    data = Data(name="coco_keypoints", source=str(rendered / "coco"), records=str(tmp_path))
    with pytest.raises(InputError, match="COCO person keypoints has no identities"):
        open_people(Config(data=data), write=False)


def test_pose_phases_alone_look_at_the_joints_alone(rendered, capsys):
    done = Preparation(tiny.config(rendered, (dataclasses.replace(POSE, batch=16),)))

    assert done.problems == []
    said = capsys.readouterr().out
    assert "Images to re-identify" not in said
    assert "train: " in said
    assert "right_wrist" in said


def test_a_missing_image_of_coco_is_told_like_a_broken_one(rendered, tmp_path):
    shutil.copytree(rendered / "coco", tmp_path / "coco")
    images = sorted((tmp_path / "coco" / "train2017").glob("*.jpg"))
    images[0].unlink()
    images[1].write_bytes(b"cut")
    config = tiny.config(rendered, (POSE,), pose_data=PoseData(source=str(tmp_path / "coco")))
    (problem,) = fatal(config)
    assert [case.split(" cannot be read")[0] for case in problem.cases] == [
        str(path) for path in images[:2]
    ]


def test_a_pose_phase_on_a_set_without_joints_is_refused(market):
    pose = PoseData(name="market1501", source=market.data.source)
    (problem,) = fatal(dataclasses.replace(market, pose_data=pose, phases=(POSE,)))
    assert "Market-1501 has no joints: give config.pose_data.joints" in problem.text


def test_a_rendered_set_is_rendered_first_and_not_compared_with_the_published_one(
    tool, tmp_path, capsys
):
    synthetic = Synthetic(folder=str(tmp_path / "set"), height=32, width=16, **SIZES)
    data = Data(source=str(tmp_path / "set/market1501"), records=str(tmp_path), height=32, width=16)
    pose = PoseData(source=str(tmp_path / "set/coco"))
    config = Config(data=data, pose_data=pose, synthetic=synthetic, phases=(BASE, POSE))
    render_set(config)
    tool.prepare(config, tmp_path / "all.png")

    assert "ready for training" in capsys.readouterr().out
    with Image.open(tmp_path / "all.png") as picture:
        assert picture.format == "PNG"


def test_every_set_of_people_tells_its_images_by_split(market):
    builder = open_people(market, write=False)
    assert isinstance(builder, CropsBuilder)
    assert [path.name for path in builder.images()["train"]] == TRAIN
    assert not Path(market.data.records).exists()


@pytest.fixture
def run(tool, monkeypatch, tmp_path, capsys):
    """What the tool prints for a configuration and its own flags."""

    def run(config, limit=None, to="subset.csv", held_out=None):
        monkeypatch.setattr(cli, "configuration", lambda: (config, tmp_path / "run"))
        for name, value in {
            "_SHEET": str(tmp_path / "all.png"),
            "_LIMIT": limit,
            "_HELD_OUT": held_out,
            "_IDENTITIES": None,
            "_TO": to,
        }.items():
            monkeypatch.setattr(tool, name, SimpleNamespace(value=value))
        flag = SimpleNamespace(config_filename="configs/x.py", override_values={"data.height": 32})
        monkeypatch.setattr(tool.flags, "FLAGS", {"config": flag})
        monkeypatch.setattr(tool.config_flags, "get_override_values", lambda f: f.override_values)
        monkeypatch.setattr(tool.config_flags, "get_config_filename", lambda f: f.config_filename)
        tool.main(["prepare"])
        return capsys.readouterr().out

    return run


def test_the_tool_leaves_a_sheet_and_says_that_training_can_start(run, market, tmp_path):
    said = run(market)
    assert said.endswith("ready for training\n")
    with Image.open(tmp_path / "all.png") as picture:
        width, height = picture.size
    assert 256 < width < 2000
    assert 256 < height < 2000


def test_the_tool_ends_in_an_error_after_all_problems(run, market, capsys):
    (Path(market.data.source) / "query" / "0001_c1s1_001051_00.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="would spoil a training, listed above: 1"):
        run(market)
    assert "0001_c1s1_001051_00.jpg cannot be read" in capsys.readouterr().out


def test_the_tool_prepares_the_first_of_several_runs(run, market):
    assert "2 runs: the first" in run(dataclasses.replace(market, repeats=2))


def test_a_sheet_that_cannot_be_written_is_one_line(tool, market, tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        tool.prepare(market, tmp_path / "absent" / "all.png")


def test_the_limit_writes_a_list_and_the_command_that_reads_it(run, market, tmp_path):
    path = tmp_path / "a set.csv"
    said = run(market, 1, str(path))

    assert path.read_text().startswith("path,identity,camera,split")
    line = said.splitlines()[-1]
    assert line.startswith("python -m fgsam_jax.main --config=configs/x.py")
    assert f"'--config.data.source={path}'" in line
    assert "--config.data.name=folder" in line
    assert "--config.data.outside=True" in line
    assert "--config.data.height=32" in line
    assert not Path(market.data.records).exists()


def test_a_list_with_people_held_out_names_images_of_train_alone(run, rendered, tmp_path):
    path = tmp_path / "held_out.csv"
    run(tiny.config(rendered, (BASE,)), None, str(path), 2)

    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    assert {Path(row[0]).parent.name for row in rows} == {"bounding_box_train"}
    people = {split: {row[1] for row in rows if row[3] == split} for split in
              ("train", "query", "gallery")}  # fmt: skip
    assert people["query"] == people["gallery"]
    assert len(people["query"]) == 2
    assert not people["query"] & people["train"]


def test_the_limit_is_refused_without_a_phase_that_uses_people(run, market):
    with pytest.raises(InputError, match="no phase of this file uses"):
        run(dataclasses.replace(market, phases=(POSE,)), 1)


@pytest.mark.parametrize(
    ("flags", "message", "status"),
    [
        (["--config.data.source=nowhere"], "error: problems that would spoil a training", 1),
        (["--limit=0"], "limit", 1),
        (["--config.nonsense=1"], "Field nonsense not found", 1),
        (["surplus"], "unknown argument 'surplus'", 1),
    ],
)
def test_a_mistake_ends_in_a_line_and_a_status(flags, message, status, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "prepare.py", "--config", ROOT / "configs/market.py",
         "--config.pose_data.source=nowhere", *flags],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "prepare.png").exists()


def pixels(picture):
    return np.asarray(picture).astype(int)


def labelled(joint, x, y, state=2.0):
    person = np.zeros((1, len(JOINTS), 3))
    person[0, JOINTS.index(joint)] = (x, y, state)
    return person


GREY = np.full((64, 32, 3), 128, np.uint8)


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_joint_is_drawn_in_the_middle_of_its_pixel_in_the_colour_of_its_side(side):
    drawn = pixels(poses.labelled_pose(GREY, labelled(f"{side}_wrist", 10, 20)))
    # A tile is four times as large: the middle of pixel (10, 20) lies at (42, 82).
    assert tuple(drawn[82, 42]) == poses._SIDES[side]
    changed = np.argwhere((drawn != 128).any(axis=-1))
    np.testing.assert_allclose(changed.mean(axis=0), [81.5, 41.5], atol=0.6)


def test_a_hidden_joint_has_a_hole_and_an_unlabelled_one_is_not_drawn():
    hidden = pixels(poses.labelled_pose(GREY, labelled("left_knee", 10, 20, 1)))
    assert tuple(hidden[81, 41]) == (0, 0, 0)
    for state in (0, -1):
        drawn = pixels(poses.labelled_pose(GREY, labelled("left_knee", 10, 20, state)))
        assert (drawn == 128).all()


def test_every_person_is_drawn():
    two = np.concatenate([labelled("nose", 8, 8), labelled("nose", 24, 50)])
    drawn = pixels(poses.labelled_pose(GREY, two))
    for x, y in ((34, 34), (98, 202)):
        assert tuple(drawn[y, x]) == poses._SIDES[""]


def test_the_masked_area_is_coloured_and_the_rest_is_not():
    mask = np.ones((8, 4))
    mask[6, 1] = 0
    drawn = pixels(poses.labelled_pose(GREY, np.zeros((0, 18, 3)), mask))
    coloured = (drawn != 128).any(axis=-1)
    assert coloured[192:224, 32:64].all()
    coloured[188:228, 28:68] = False  # the edge is smoothed
    assert not coloured.any()


def test_people_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"\[any, 18, 3\], but came with \(18, 3\)"):
        poses.labelled_pose(GREY, np.zeros((18, 3)))


def test_a_sheet_pairs_images_of_one_person_of_query_and_gallery():
    colours = {1: (250, 0, 0), 2: (0, 250, 0), 3: (0, 0, 250), 0: (250, 250, 0)}

    def table(*people):
        images = np.array([np.full((64, 32, 3), colours[p]) for p in people], np.uint8)
        names = np.array([f"{n}.jpg" for n in range(len(people))])
        return Table(images, names, np.array(people), np.ones(len(people), int), {})

    drawn = dataset.people_sheet(table(1, 1), table(2, 3), table(0, 3, 2, 1))
    shown = [
        (pixels(drawn) == colour).all(axis=-1).sum() // (256 * 128)
        for colour in (colours[1], colours[2], colours[3], colours[0])
    ]
    assert shown == [2, 2, 2, 0]


def test_a_sheet_of_poses_has_the_labelled_crops_and_a_key():
    joints = np.concatenate([labelled("right_wrist", 10, 20), labelled("nose", 1, 1, -1)])[:, None]
    table = Table(
        np.stack([GREY, np.zeros_like(GREY)]),
        np.array(["a", "b"]),
        np.zeros(2, int),
        np.zeros(2, int),
        {},
        joints=joints,
        mask=np.ones((2, 8, 4)),
    )
    drawn = pixels(dataset.pose_sheet(table))
    assert (drawn == 128).all(axis=-1).sum() > 0.9 * 256 * 128
    assert (drawn == 0).all(axis=-1).sum() < 1000
    for colour in poses._SIDES.values():
        assert (drawn == colour).all(axis=-1).any()


def test_each_of_several_runs_has_seeds_and_a_folder_of_its_own(tmp_path):
    data = Data(source="{workdir}/set", split_seed=5)
    config = Config(seed=3, data=data, phases=(BASE,))

    ((one, folder),) = each_run(config, tmp_path)
    assert (one.seed, one.data.split_seed, folder) == (3, 5, tmp_path)
    runs = each_run(dataclasses.replace(config, repeats=2), tmp_path)
    assert [(c.seed, c.data.split_seed, f.name) for c, f in runs] == [
        (3, 5, "seed3"),
        (4, 6, "seed4"),
    ]
    assert runs[1][0].data.source == str(tmp_path / "seed4" / "set")


def test_a_set_without_any_known_joint_is_still_shown():
    joints = labelled("nose", 1, 1, -1)[:, None]
    table = Table(
        GREY[None], np.array(["a"]), np.zeros(1, int), np.zeros(1, int), {},
        joints=joints, mask=np.ones((1, 8, 4)),
    )  # fmt: skip
    assert (pixels(dataset.pose_sheet(table)) == 128).all(axis=-1).sum() >= 256 * 128
