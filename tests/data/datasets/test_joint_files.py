import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from trees import GALLERY, QUERY, TRAIN, write_market

from fgsam_jax.data import load_table, open_set
from fgsam_jax.data.datasets import matlab_child
from fgsam_jax.data.datasets.joint_files import read_joints
from fgsam_jax.errors import InputError
from fgsam_jax.labels.pose_targets import pose_targets
from fgsam_jax.labels.skeleton import JOINTS

FACE = ("nose", "right_eye", "left_eye", "right_ear", "left_ear")
FILES = {"train": TRAIN, "query": QUERY, "gallery": GALLERY}


def write_fourteen(folder, files=None):
    """The public files: joint j of image i of a split lies at x = 10 + j, y = 20 + 3 j + i."""
    folder.mkdir()
    for split, names in (files or FILES).items():
        j, i = np.meshgrid(np.arange(14), np.arange(len(names)))
        points = np.concatenate([10 + j, 20 + 3 * j + i], 1).astype(np.float64)
        with h5py.File(folder / f"market1501_14point_{split}.mat", "w") as file:
            file["pp"] = points.T  # as MATLAB writes it
    return folder


def write_json(path, images):
    """COCO's format: {file name: [{keypoint: (x, y, flag)} for each person]}."""
    names = ["nose", "left_shoulder", "right_shoulder"]
    annotations = []
    for number, people in enumerate(images.values(), 1):
        for person in people:
            points = [value for name in names for value in person.get(name, (0, 0, 0))]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": [0, 0, 64, 128],
                    "iscrowd": 0,
                    "keypoints": points,
                    "num_keypoints": sum(flag > 0 for flag in points[2::3]),
                    "segmentation": [],
                }
            )
    content = {
        "images": [{"id": i, "file_name": f"any/{name}"} for i, name in enumerate(images, 1)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
    }
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def market(tmp_path):
    return write_market(tmp_path / "Market-1501-v15.09.15")


def test_the_fourteen_joints_count_pixels_from_one_and_know_no_face(tmp_path):
    joints = read_joints(write_fourteen(tmp_path / "joints"), FILES)

    person = joints["gallery"][2].people[0]
    assert joints["gallery"][2].people.shape == (1, 18, 3)
    assert person[JOINTS.index("neck")].tolist() == [10, 24, 2]
    assert person[JOINTS.index("right_shoulder")].tolist() == [11, 27, 2]
    assert person[JOINTS.index("right_wrist")].tolist() == [13, 33, 2]
    assert person[JOINTS.index("left_shoulder")].tolist() == [14, 36, 2]
    assert person[JOINTS.index("right_hip")].tolist() == [17, 45, 2]
    assert person[JOINTS.index("left_ankle")].tolist() == [22, 60, 2]
    assert {name for name, row in zip(JOINTS, person, strict=True) if row[2] == -1} == set(FACE)


def test_a_json_is_matched_by_file_name_and_gives_the_neck_from_both_shoulders(tmp_path):
    shoulders = {"left_shoulder": (20, 30, 2), "right_shoulder": (10, 32, 1)}
    path = write_json(
        tmp_path / "joints.json",
        {TRAIN[1]: [shoulders, {"nose": (5, 6, 2)}], QUERY[0]: [{"nose": (1, 2, 1)}]},
    )
    joints = read_joints(path, FILES)

    assert [len(crop.people) for crop in joints["train"]] == [0, 2, 0]
    first, second = joints["train"][1].people
    assert first[JOINTS.index("neck")].tolist() == [15, 31, 1]
    assert second[JOINTS.index("nose")].tolist() == [5, 6, 2]
    assert first[JOINTS.index("left_ankle"), 2] == -1
    assert joints["query"][0].people[0, 0].tolist() == [1, 2, 1]


def test_a_table_with_joints_keeps_identities_and_scales_the_joints(market, tmp_path):
    joints = write_fourteen(tmp_path / "joints")
    builder = open_set("market1501", market, tmp_path / "records", joints=joints)
    table = load_table(builder, "train", 64, 32)

    assert table.identities.tolist() == [2, 2, 7]
    assert table.joints.shape == (3, 1, 18, 3)
    # Half the size: pixel 10's centre, 10.5 from the edge, comes to 5.25, pixel 4.75.
    np.testing.assert_allclose(table.joints[0, 0, JOINTS.index("neck")], [4.75, 10.75, 2])
    assert table.mask.shape == (3, 8, 4)
    assert (table.mask == 1).all()


def test_unknown_joints_are_no_target_rather_than_absent(market, tmp_path):
    builder = open_set(
        "market1501", market, tmp_path / "records", joints=write_fourteen(tmp_path / "joints")
    )
    table = load_table(builder, "train", 64, 32)
    heat, _, known_heat, known_affinity = pose_targets(table.joints, 64, 32)

    known = [JOINTS[c] not in FACE for c in range(18)]
    assert known_heat[0].astype(bool).tolist() == [*known, False]  # nor is the background
    assert known_affinity[0].sum() == 2 * 12
    assert (np.asarray(heat).max((1, 2))[:, :18] > 0.5).tolist() == [known] * 3


def test_joints_given_or_changed_make_other_records(market, tmp_path):
    records = tmp_path / "records"
    folders = [
        open_set("market1501", market, records, joints=path).data_dir
        for path in (
            None,
            write_fourteen(tmp_path / "joints"),
            write_json(tmp_path / "joints.json", {TRAIN[0]: [{"nose": (1, 1, 2)}]}),
        )
    ]

    assert len(set(folders)) == 3


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({**FILES, "query": QUERY[:1]}, r"query\.mat has joints of the shape \(1, 28\).* 2 images"),
        ({"train": TRAIN, "query": QUERY}, r"gallery\.mat cannot be read as joints"),
    ],
)
def test_joints_of_another_set_are_refused_and_leave_nothing(market, tmp_path, files, message):
    joints = write_fourteen(tmp_path / "joints", files)

    with pytest.raises(InputError, match=message):
        open_set("market1501", market, tmp_path / "records", joints=joints)
    left = [p for p in (tmp_path / "records").rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert not left


@pytest.mark.parametrize("size", [(128, 256), (128, 64), (63, 128)])
def test_joints_of_crops_of_another_size_are_refused(market, tmp_path, size):
    path = write_json(tmp_path / "joints.json", {TRAIN[0]: [{"nose": (20, 24, 2)}]})
    content = json.loads(path.read_text())

    def opened(width, height):
        content["images"][0] |= {"width": width, "height": height}
        path.write_text(json.dumps(content))
        return open_set("market1501", market, tmp_path / "records", joints=path)

    with pytest.raises(InputError, match=rf"jpg is 64x128, and .* of {size[0]}x{size[1]}: give"):
        opened(*size)
    assert load_table(opened(64, 128), "train", 128, 64).joints[0, 0, 0].tolist() == [20, 24, 2]


def test_joints_of_one_crop_in_two_sizes_are_refused(tmp_path):
    for number, width in enumerate([64, 128]):
        path = write_json(tmp_path / f"{number}.json", {TRAIN[0]: [{"nose": (20, 24, 2)}]})
        content = json.loads(path.read_text())
        content["images"][0] |= {"width": width, "height": 2 * width}
        path.write_text(json.dumps(content))

    with pytest.raises(InputError, match="in two sizes"):
        read_joints(tmp_path, FILES)


HDF5 = {
    "group": lambda file: file.create_group("pp"),
    "text": lambda file: file.create_dataset("pp", data="abc"),
    "nothing": lambda file: file.create_dataset("pp", data=h5py.Empty("f")),
    "compound": lambda file: file.create_dataset("pp", data=np.zeros((28, 1), [("a", "f4")])),
    "complex": lambda file: file.create_dataset("pp", data=np.zeros((28, 1), complex)),
    "references": lambda file: file.create_dataset("pp", (28, 1), dtype=h5py.ref_dtype),
    "rows of any length": lambda file: file.create_dataset("pp", (28, 1), h5py.vlen_dtype("f4")),
    "not a number": lambda file: file.create_dataset("pp", data=np.full((28, 1), np.nan)),
    "three axes": lambda file: file.create_dataset("pp", data=np.zeros((28, 1, 1))),
    "22 GB": lambda file: file.create_dataset("pp", (28, 100_000_000), "f8"),
    "2 GB at once": lambda file: file.create_dataset(
        "pp", (28, 1), "f8", maxshape=(28, None), chunks=(28, 10**7), fillvalue=0
    ),
    "another file's": lambda file: file.__setitem__("pp", h5py.ExternalLink("x.mat", "/pp")),
    "another file's bytes": lambda file: file.create_dataset(
        "pp", (28, 1), "f8", external=[("raw", 0, 224)]
    ),
    "a link to itself": lambda file: file.__setitem__("pp", h5py.SoftLink("/pp")),
    "absent": lambda file: None,
}


@pytest.mark.parametrize("kind", HDF5)
def test_only_a_bounded_matrix_of_numbers_is_read_of_a_mat(tmp_path, kind):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        HDF5[kind](file)
    with pytest.raises(ValueError, match=r"its pp |it has no pp of its own"):
        matlab_child.matrix(str(tmp_path / "a.mat"), "pp")


def test_joints_that_are_no_places_are_refused_in_one_line(tmp_path):
    folder = write_fourteen(tmp_path / "joints")
    for value, message in ((np.nan, "values that are no numbers"), (1e300, "1e.300 pixels")):
        with h5py.File(folder / "market1501_14point_query.mat", "r+") as file:
            file["pp"][3, 1] = value
        with pytest.raises(InputError, match=message):
            read_joints(folder, {"query": QUERY})


def test_a_file_without_our_images_or_without_joints_is_refused(tmp_path):
    other = write_json(tmp_path / "other.json", {"somewhere_else.jpg": [{"nose": (1, 1, 2)}]})
    with pytest.raises(InputError, match="names none of the images"):
        read_joints(other, FILES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no joints"):
        read_joints(tmp_path / "empty", FILES)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match=r"broken\.json is not valid JSON"):
        read_joints(tmp_path / "broken.json", FILES)


def test_the_real_joints_fit_the_real_market1501():
    root = Path(os.environ.get("FGSAM_DATA", "nowhere"))
    if not (root / "market1501_body_point").is_dir():
        pytest.skip("FGSAM_DATA names no folder with market1501_body_point")
    sizes = {"train": 12936, "query": 3368, "gallery": 19732}
    joints = read_joints(
        root / "market1501_body_point", {split: [""] * size for split, size in sizes.items()}
    )

    people = np.concatenate([crop.people for crop in joints["train"]])
    neck, hips = (people[:, JOINTS.index(name), 1] for name in ("neck", "right_hip"))
    knees, ankles = (people[:, JOINTS.index(name), 1] for name in ("right_knee", "right_ankle"))
    assert ((neck < hips) & (hips < knees) & (knees < ankles)).mean() > 0.95
    inside = (people[..., :2] >= 0) & (people[..., :2] <= (63, 127))
    assert inside[people[..., 2] > 0].all()
