import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from fgsam_jax.data.synthetic.body import sample_pose
from fgsam_jax.data.synthetic.pedestrian import Canvas, draw, visibility
from fgsam_jax.data.synthetic.person import sample_person
from fgsam_jax.data.synthetic.render import KEYPOINTS, _person, _run_lengths, render
from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import JOINTS

SMALL = {
    "train_identities": 3, "test_identities": 2, "images_per_identity": 5, "distractors": 2,
    "junk": 2, "pose_images": 25, "pose_val_images": 2,
}  # fmt: skip
UP = ("black", "white", "red", "purple", "yellow", "gray", "blue", "green")
DOWN = ("black", "white", "pink", "purple", "yellow", "gray", "blue", "green", "brown")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("rendered") / "set"
    render(path, seed=3, **SMALL)
    return path


@pytest.fixture(scope="module")
def coco(folder):
    return json.loads((folder / "coco/annotations/person_keypoints_train2017.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def names(folder: Path, part: str) -> list[str]:
    return sorted(path.name for path in (folder / "market1501" / part).iterdir())


def test_names_are_those_of_market_1501(folder):
    pattern = re.compile(r"(-1|\d{4})_c[1-6]s\d_\d{6}_\d\d\.jpg")
    for part in ("bounding_box_train", "bounding_box_test", "query"):
        assert all(pattern.fullmatch(name) for name in names(folder, part))
    assert len(names(folder, "bounding_box_train")) == 3 * 5
    tested = names(folder, "bounding_box_test")
    assert len(tested) + len(names(folder, "query")) == 2 * 5 + 2 + 2
    assert sum(name.startswith("0000_") for name in tested) == 2
    assert sum(name.startswith("-1_") for name in tested) == 2


def test_boxes_have_the_asked_size(folder):
    with Image.open(next((folder / "market1501/query").iterdir())) as image:
        assert (image.size, image.mode, image.format) == ((64, 128), "RGB", "JPEG")


def test_training_and_test_people_are_disjoint(folder):
    train = {name[:4] for name in names(folder, "bounding_box_train")}
    assert not train & {name[:4] for name in names(folder, "bounding_box_test")}


def test_every_person_and_camera_has_one_query_with_a_match_elsewhere(folder):
    queries = [name[:7] for name in names(folder, "query")]
    boxes = [name[:7] for name in names(folder, "bounding_box_test")]
    people = {box for box in boxes if not box.startswith(("0000", "-1"))}
    assert len(set(queries)) == len(queries)
    assert set(queries) == people
    assert all(any(b[:4] == q[:4] and b != q for b in boxes) for q in queries)


@pytest.mark.parametrize("part", ["train", "test"])
def test_the_attribute_file_reads_back_as_the_drawn_people(folder, part):
    struct = scipy.io.loadmat(folder / "market1501/market_attribute.mat")["market_attribute"]
    assert struct.dtype.names == ("test", "train")
    fields = struct[0, 0][part][0, 0]
    index = [str(cell[0]) for cell in fields["image_index"][0]]
    boxes = names(folder, f"bounding_box_{part}")
    assert index == sorted({name[:4] for name in boxes if not name.startswith(("0000", "-1"))})
    for column, identity in enumerate(index):
        person = _person(3, int(identity))
        row = {name: int(fields[name][0, column]) for name in fields.dtype.names[:-1]}
        assert row["gender"] == (2 if person.female else 1)
        assert row["up"] == (1 if person.long_sleeves else 2)
        assert row["clothes"] == (1 if person.dress else 2)
        assert row["age"] == person.age
        up = [colour for colour in UP if row[f"up{colour}"] == 2]
        down = [colour for colour in DOWN if row[f"down{colour}"] == 2]
        assert up == ([person.upper_colour] if person.upper_colour else [])
        assert down == ([person.lower_colour] if person.lower_colour else [])


def test_the_attribute_struct_has_the_published_fields_and_types(folder):
    struct = scipy.io.loadmat(folder / "market1501/market_attribute.mat")["market_attribute"]
    fields = struct[0, 0]["train"]
    expected = {"age", "backpack", "bag", "handbag", "clothes", "down", "up", "hair", "hat"}
    expected |= {"gender", "image_index", *(f"up{c}" for c in UP), *(f"down{c}" for c in DOWN)}
    assert fields.shape == (1, 1)
    assert set(fields.dtype.names) == expected
    for name in expected - {"image_index"}:
        assert fields[0, 0][name].shape == (1, 3)
        assert fields[0, 0][name].dtype == np.uint8
    assert fields[0, 0]["image_index"][0, 0].dtype.kind == "U"


def test_labels_are_as_uneven_as_the_published_ones():
    people = [sample_person(np.random.default_rng([9, i])) for i in range(1500)]
    share = {name: np.mean([getattr(p, name) for p in people]) for name in ("hat", "female")}
    assert 0.015 < share["hat"] < 0.05
    assert 0.38 < share["female"] < 0.48
    assert 0.06 < np.mean([p.upper_colour is None for p in people]) < 0.15
    assert all(p.female for p in people if p.dress)


def test_rendering_twice_gives_the_same_bytes(folder, tmp_path):
    render(tmp_path / "again", seed=3, **SMALL)
    assert contents(tmp_path / "again") == contents(folder)


def test_another_seed_gives_other_pictures(tmp_path):
    few = {"test_identities": 0, "distractors": 0, "junk": 0, "pose_images": 0}
    for seed in (0, 1):
        render(tmp_path / str(seed), seed=seed, train_identities=1, pose_val_images=0, **few)
    assert not (tmp_path / "0/coco").exists()
    jpegs = [set(contents(tmp_path / str(seed) / "market1501").values()) for seed in (0, 1)]
    assert not jpegs[0] & jpegs[1]


def test_the_same_arguments_leave_a_finished_folder_alone(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    render(folder, seed=3, **SMALL, progress=lambda done, total: pytest.fail("it rendered"))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_other_arguments_are_refused_and_named(folder):
    with pytest.raises(InputError, match=r"seed=3, and seed=4 was asked for"):
        render(folder, seed=4, **SMALL)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="holds no rendered pedestrians"):
        render(tmp_path, **SMALL)


@pytest.mark.parametrize(
    ("name", "value"),
    [("cameras", 1), ("cameras", 7), ("images_per_identity", 3), ("junk", -1), ("seed", 0.5)],
)
def test_an_argument_out_of_range_is_named(tmp_path, name, value):
    with pytest.raises(InputError, match=f"^{name} is {value}"):
        render(tmp_path / "new", **{**SMALL, name: value})


def test_an_interrupted_rendering_leaves_nothing_behind(tmp_path):
    def stop(done: int, total: int) -> None:
        assert total == 3 * 5 + 2 * 5 + 2 + 2 + 25 + 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(tmp_path / "new", **SMALL, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["new.lock"]


def test_keypoints_lie_in_the_image_or_are_marked_absent(coco):
    assert tuple(coco["categories"][0]["keypoints"]) == KEYPOINTS
    sizes = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
    flags = []
    for note in coco["annotations"]:
        width, height = sizes[note["image_id"]]
        points = np.array(note["keypoints"]).reshape(17, 3)
        flags += points[:, 2].tolist()
        assert note["num_keypoints"] == (points[:, 2] > 0).sum()
        assert (points[points[:, 2] == 0] == 0).all()
        assert ((points[:, :2] >= 0) & (points[:, :2] < (width, height))).all()
    assert set(flags) == {0, 1, 2}


def test_boxes_and_outlines_agree(coco):
    for note in coco["annotations"]:
        if note["iscrowd"]:
            continue
        ring = np.array(note["segmentation"][0]).reshape(-1, 2)
        left, top, width, height = note["bbox"]
        assert (ring >= (left, top)).all()
        assert (ring <= (left + width, top + height)).all()
        assert 0 < note["area"] <= width * height


def test_what_a_killed_rendering_has_left_is_removed_by_the_next(tmp_path):
    for name in (".set.part", ".set.4711.part", ".other.part"):
        (tmp_path / name / "market1501").mkdir(parents=True)
    none = dict.fromkeys(SMALL, 0) | {"images_per_identity": 4}
    render(tmp_path / "set", **none)
    left = {path.name for path in tmp_path.iterdir()} - {"set.lock"}
    assert left == {"set", ".other.part"}


def test_people_without_keypoints_and_crowds_are_among_the_scenes(coco):
    bare = [note for note in coco["annotations"] if not note["num_keypoints"]]
    assert any(not note["iscrowd"] for note in bare)
    assert any(note["iscrowd"] for note in bare)


def test_run_lengths_decode_to_the_mask():
    for mask in (np.eye(3, 4, dtype=bool), ~np.eye(3, 4, dtype=bool), np.ones((2, 2), bool)):
        coded = _run_lengths(mask)
        values = np.arange(len(coded["counts"])) % 2
        flat = np.repeat(values, coded["counts"])
        assert (flat.reshape(coded["size"], order="F") == mask).all()


def test_files_and_image_entries_agree(folder, coco):
    for image in coco["images"]:
        with Image.open(folder / "coco/train2017" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
    assert len({note["id"] for note in coco["annotations"]}) == len(coco["annotations"])


def test_the_mean_colour_of_a_box_does_not_find_its_person(tmp_path):
    few = {"train_identities": 0, "distractors": 20, "junk": 0, "pose_images": 0}
    render(tmp_path / "set", test_identities=16, pose_val_images=0, **few)
    means = {}
    for part in ("query", "bounding_box_test"):
        for path in sorted((tmp_path / "set/market1501" / part).iterdir()):
            with Image.open(path) as image:
                means[part, path.name[:4], path.name[6], path.name] = np.asarray(image).mean((0, 1))
    hits = []
    for (part, identity, camera, _), mean in means.items():
        if part != "query":
            continue
        rivals = {
            np.linalg.norm(other - mean): key[1]
            for key, other in means.items()
            if key[0] != "query" and key[1:3] != (identity, camera)
        }
        hits.append(rivals[min(rivals)] == identity)
    assert len(hits) > 32
    assert np.mean(hits) < 0.25


def drawn(yaw: float, seed: int = 0):
    rng = np.random.default_rng(seed)
    canvas = Canvas(Image.new("RGB", (200, 400), (130, 130, 130)))
    figure = draw(canvas, sample_person(rng), sample_pose(rng, yaw), scale=320, foot=100 + 370j)
    return canvas, figure, dict(zip(JOINTS, figure.joints, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_the_left_side_is_on_the_right_of_the_picture_when_facing_the_camera(seed):
    for part in ("shoulder", "hip", "eye", "ear"):
        at = drawn(0.0, seed)[2]
        assert at[f"left_{part}"][0] > at[f"right_{part}"][0]
        if part in ("shoulder", "hip"):
            at = drawn(math.pi, seed)[2]
            assert at[f"left_{part}"][0] < at[f"right_{part}"][0]


def test_the_far_shoulder_of_a_profile_is_hidden_and_the_near_one_seen():
    canvas, figure, _ = drawn(math.pi / 2)
    flags = dict(zip(JOINTS, visibility(canvas, figure), strict=True))
    assert flags["right_shoulder"] == 2
    assert flags["left_shoulder"] == 1


def test_the_face_is_hidden_from_behind_and_joints_outside_have_flag_zero():
    canvas, figure, _ = drawn(math.pi)
    flags = dict(zip(JOINTS, visibility(canvas, figure), strict=True))
    assert flags["nose"] == 1
    figure.joints[0] = (-5, 20)
    assert visibility(canvas, figure)[0] == 0


def test_every_joint_of_a_lone_person_lies_on_the_body():
    for seed in range(8):
        canvas, figure, _ = drawn(seed * math.pi / 4, seed)
        body = np.asarray(canvas.parts) > 0
        on = [
            body[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].any() for x, y in figure.joints
        ]
        assert all(on)
