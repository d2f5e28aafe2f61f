import os
from pathlib import Path

import numpy as np
import pytest
from trees import COCO_JOINTS, STANDING_PERSON, coco_person, open_table, write_coco

from fgsam_jax.data.datasets.coco import CocoKeypoints, crop_box, worth_a_crop
from fgsam_jax.data.datasets.coco_annotations import convert_joints, loss_mask
from fgsam_jax.data.datasets.records import open_builder
from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import JOINTS

# pycocotools 2.0.11 hands NumPy 2 arrays of the old protocol.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
# 1-based, as algorithm texts give OpenPose's order; 0 stands for the neck.
OPENPOSE_FROM_COCO = [1, 0, 7, 9, 11, 6, 8, 10, 13, 15, 17, 12, 14, 16, 3, 2, 5, 4]


def test_a_crop_is_centred_and_twice_as_tall_as_wide():
    # 1.1 x 200 = 220 tall and 110 wide around the centre (100, 100).
    assert crop_box([80, 0, 40, 200]) == (45, -10, 110, 220)
    # A wide box needs 1.1 x 100 = 110 columns.
    assert crop_box([0, 50, 100, 60]) == (-5, -30, 110, 220)


def test_small_barely_labelled_and_crowded_people_give_no_crop():
    points = dict(list(STANDING_PERSON.items())[:3])
    assert worth_a_crop(coco_person(1, [0, 0, 30, 64], points))
    assert not worth_a_crop(coco_person(1, [0, 0, 30, 63.9], points))
    assert not worth_a_crop(coco_person(1, [0, 0, 30, 64], dict(list(points.items())[:2])))
    assert not worth_a_crop(coco_person(1, [0, 0, 30, 64], points, iscrowd=1))


def test_joints_come_in_openpose_order_with_a_neck_between_the_shoulders():
    points = np.array([[10 * k, 10 * k + 1, 2] for k in range(1, 18)], float)
    joints = convert_joints(points.ravel().tolist(), COCO_JOINTS)

    for row, column in enumerate(OPENPOSE_FROM_COCO):
        if column:
            np.testing.assert_array_equal(joints[row], points[column - 1])
    np.testing.assert_array_equal(joints[JOINTS.index("neck")], (65, 66, 2))


@pytest.mark.parametrize(("left", "right", "neck"), [(2, 1, 1), (0, 2, 0), (0, 0, 0), (2, 2, 2)])
def test_a_neck_is_as_visible_as_the_less_visible_shoulder(left, right, neck):
    points = np.zeros((17, 3))
    points[COCO_JOINTS.index("left_shoulder"), 2] = left
    points[COCO_JOINTS.index("right_shoulder"), 2] = right

    assert convert_joints(points.ravel().tolist(), COCO_JOINTS)[1, 2] == neck


def test_joints_that_the_category_does_not_name_are_unknown():
    names = ["neck", "left_hip", "head_top", "right_hip"]
    joints = convert_joints([1, 2, 2, 3, 4, 1, 9, 9, 2, 0, 0, 0], names)

    np.testing.assert_array_equal(joints[JOINTS.index("neck")], (1, 2, 2))
    np.testing.assert_array_equal(joints[JOINTS.index("left_hip")], (3, 4, 1))
    assert joints[JOINTS.index("right_hip"), 2] == 0
    assert (joints[:, 2] == -1).sum() == 15


def test_a_neck_is_unknown_without_the_shoulders():
    assert convert_joints([1, 1, 2], ["nose"])[JOINTS.index("neck"), 2] == -1


def test_the_mask_leaves_out_unlabelled_people_and_every_crowd():
    square = [[10, 10, 20, 10, 20, 20, 10, 20]]
    # Column-major runs: columns 0 and 1 of a 40 x 30 image.
    crowd = {"size": [40, 30], "counts": [0, 80, 40 * 28]}
    far_crowd = {"size": [40, 30], "counts": [40 * 29, 40]}
    mask = loss_mask(
        [
            coco_person(1, [10, 10, 10, 10], segmentation=square),
            coco_person(2, [0, 0, 2, 40], segmentation=crowd, iscrowd=1),
            coco_person(3, [29, 0, 1, 40], segmentation=far_crowd, iscrowd=1),
            coco_person(
                4, [0, 0, 30, 40], STANDING_PERSON, segmentation=[[0, 0, 30, 0, 30, 40, 0, 40]]
            ),
        ],
        40,
        30,
    )

    expected = np.full((40, 30), 255)
    expected[:, :2] = 0
    expected[:, 29] = 0
    expected[10:20, 10:20] = 0
    np.testing.assert_array_equal(mask, expected)


def crossings(x, y, corners):
    """Whether the point lies inside a polygon: an odd number of edges lies to its right."""
    inside = False
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
            inside = not inside
    return inside


@pytest.mark.parametrize("seed", range(4))
def test_the_mask_of_polygons_is_that_of_a_point_by_point_rasteriser(seed):
    rng = np.random.default_rng(seed)
    # A star around its centre has no crossing edges; two of them may overlap.
    polygons = []
    for centre in rng.uniform(15, 35, (2, 2)):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        reach = rng.uniform(6, 20, 9)
        polygons.append(centre + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None])
    flat = [polygon.ravel().tolist() for polygon in polygons]
    mask = loss_mask([coco_person(1, [0, 0, 50, 40], segmentation=flat)], 40, 50)

    slow = np.array(
        [
            [any(crossings(x + 0.5, y + 0.5, p.tolist()) for p in polygons) for x in range(50)]
            for y in range(40)
        ]
    )
    # The library draws on a grid five times as fine, so pixels that an edge touches may differ.
    rim = slow.copy()
    for axis in (0, 1):
        for shift in (-1, 1):
            rim |= np.roll(slow, shift, axis)
    core = ~slow
    for axis in (0, 1):
        for shift in (-1, 1):
            core |= np.roll(~slow, shift, axis)
    assert slow.any()
    assert (mask[~core] == 0).all()
    assert (mask[~rim] == 255).all()
    assert ((mask == 0) != slow).mean() < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_the_mask_of_a_crowd_is_its_runs_counted_down_the_columns(seed):
    rng = np.random.default_rng(seed)
    height, width = 23, 31
    runs = rng.integers(1, 40, 100).tolist()
    runs = runs[: int(np.searchsorted(np.cumsum(runs), height * width))]
    runs.append(height * width - sum(runs))
    crowd = {"size": [height, width], "counts": runs}
    mask = loss_mask([coco_person(1, [0, 0, 9, 9], segmentation=crowd, iscrowd=1)], height, width)

    slow, place, covered = np.full((height, width), 255), 0, False
    for run in runs:
        for pixel in range(place, place + run):
            if covered:
                slow[pixel % height, pixel // height] = 0
        place, covered = place + run, not covered
    np.testing.assert_array_equal(mask, slow)


def test_a_crop_shows_its_joints_where_the_image_had_them(tmp_path):
    # Colours tell the place: red is x, green is y. The crop reaches over the image's lower edge.
    source = write_coco(tmp_path / "coco", [coco_person(7, [80, 40, 40, 200], STANDING_PERSON)])
    left, top, width, height = crop_box([80, 40, 40, 200])
    example = open_builder(CocoKeypoints, source, tmp_path / "records").as_data_source("train")[0]
    image, joints = example["image"], example["joints"]
    assert image.shape == (height, width, 3)
    assert example["name"] == b"000000000001_7"
    assert joints.shape == (1, 18, 3)
    x, y, state = joints[0, 0]
    assert (x + left, y + top, state) == (100, 60, 2)
    pixel = image[int(y), int(x)].astype(int)
    assert abs(pixel[0] - 100) <= 4
    assert abs(pixel[1] - 60) <= 4
    outside = image[240 - top + 8 :]
    assert outside.size
    assert np.abs(outside.astype(int) - 128).max() <= 6


def test_a_tall_crop_is_resized_with_its_joints_and_mask(tmp_path):
    points = {name: (2 * x, 3 * y, state) for name, (x, y, state) in STANDING_PERSON.items()}
    half = [[0, 0, 400, 0, 400, 360, 0, 360]]
    source = write_coco(
        tmp_path / "coco",
        [
            coco_person(1, [160, 0, 80, 720], points),
            coco_person(2, [0, 0, 400, 360], segmentation=half),
        ],
        size=(400, 720),
    )
    _, top, _, height = crop_box([160, 0, 80, 720])
    example = open_builder(CocoKeypoints, source, tmp_path / "records").as_data_source("val")[0]

    assert example["image"].shape == (384, 192, 3)
    assert example["mask"].shape == (384, 192, 1)
    scale = 384 / height
    np.testing.assert_allclose(
        example["joints"][0, 0, 1], (180 - top + 0.5) * scale - 0.5, rtol=1e-5
    )
    edge = (360 - top) * scale
    column = example["mask"][:, 96, 0]
    assert (column[: int(-top * scale) - 1] == 255).all()
    assert (column[int(-top * scale) + 2 : int(edge) - 1] == 0).all()
    assert (column[int(edge) + 2 :] == 255).all()


def test_everybody_in_the_crop_brings_joints_and_the_crops_own_person_comes_first(tmp_path):
    near = {"left_hip": (112, 150, 2), "right_hip": (104, 150, 2), "nose": (108, 100, 2)}
    away = {"left_hip": (5, 5, 2), "right_hip": (3, 5, 2), "nose": (4, 4, 2)}
    source = write_coco(
        tmp_path / "coco",
        [
            coco_person(1, [100, 90, 20, 50], near),
            coco_person(2, [0, 0, 10, 10], away),
            coco_person(3, [80, 40, 40, 190], STANDING_PERSON),
        ],
    )
    table = open_table("coco_keypoints", source, tmp_path / "records", "train", 128, 64)

    assert table.names.tolist() == ["000000000001_3"]
    labelled = (table.joints[0, :, :, 2] > 0).sum(1)
    # Four and the neck; then the small neighbour's three.
    assert labelled.tolist() == [5, 3]


def test_the_table_of_a_pose_set_has_joints_in_its_pixels_and_a_mask_on_the_grid(tmp_path):
    top_half = [[0, 0, 200, 0, 200, 120, 0, 120]]
    source = write_coco(
        tmp_path / "coco",
        [
            coco_person(1, [80, 20, 40, 200], STANDING_PERSON),
            coco_person(2, [0, 0, 200, 120], segmentation=top_half),
        ],
    )
    table = open_table("coco_keypoints", source, tmp_path / "records", "train", 128, 64)

    left, top, width, height = crop_box([80, 20, 40, 200])
    nose = ((100 - left + 0.5) * 64 / width - 0.5, (60 - top + 0.5) * 128 / height - 0.5, 2)
    np.testing.assert_allclose(table.joints[0, 0, 0], nose, rtol=1e-5)
    assert table.mask.shape == (1, 16, 8)
    assert table.mask.dtype == np.float32
    assert table.mask.min() == 0
    assert table.mask.max() == 1
    # Area averages keep the share of masked pixels: image rows 0 to 119 of the crop's 220.
    rows = min(120 - max(top, 0), height) / height
    np.testing.assert_allclose(1 - table.mask.mean(), rows, atol=0.01)
    assert table.identities.tolist() == [0]
    assert table.attributes == {}


def test_a_table_of_a_pose_set_needs_whole_cells(tmp_path):
    source = write_coco(tmp_path / "coco", [coco_person(1, [80, 20, 40, 200], STANDING_PERSON)])

    with pytest.raises(InputError, match="divisible by 8, got 100x64"):
        open_table("coco_keypoints", source, tmp_path / "records", "train", 100, 64)


def test_a_missing_image_is_named(tmp_path):
    source = write_coco(tmp_path / "coco", [coco_person(1, [80, 20, 40, 200], STANDING_PERSON)])
    (source / "val2017" / "000000000001.jpg").unlink()

    with pytest.raises(InputError, match=r"val2017/000000000001\.jpg is missing"):
        open_table("coco_keypoints", source, tmp_path / "records", "train", 128, 64)


def test_a_cut_image_is_named(tmp_path):
    source = write_coco(tmp_path / "coco", [coco_person(1, [80, 20, 40, 200], STANDING_PERSON)])
    path = source / "train2017" / "000000000001.jpg"
    path.write_bytes(path.read_bytes()[:900])

    with pytest.raises(InputError, match=r"000000000001\.jpg cannot be read"):
        open_table("coco_keypoints", source, tmp_path / "records", "train", 128, 64)


def test_a_source_in_another_layout_says_what_is_missing(tmp_path):
    source = write_coco(tmp_path / "coco", [coco_person(1, [80, 20, 40, 200], STANDING_PERSON)])

    with pytest.raises(InputError, match=f"one level deeper, at {source}"):
        open_table("coco_keypoints", tmp_path, tmp_path / "records", "train", 128, 64)
    with pytest.raises(InputError, match=f"one level higher, at {source}"):
        open_table("coco_keypoints", source / "val2017", tmp_path / "records", "train", 128, 64)
    (source / "annotations" / "person_keypoints_val2017.json").unlink()
    with pytest.raises(InputError, match=r"It lacks annotations/person_keypoints_val2017\.json\."):
        open_table("coco_keypoints", source, tmp_path / "records", "train", 128, 64)


@pytest.mark.parametrize("text", ["{", "[]", '{"images": [], "annotations": []}'])
def test_annotations_that_are_no_keypoints_are_an_error(tmp_path, text):
    source = write_coco(tmp_path / "coco", [coco_person(1, [80, 20, 40, 200], STANDING_PERSON)])
    (source / "annotations" / "person_keypoints_train2017.json").write_text(text)

    with pytest.raises(InputError, match=r"person_keypoints_train2017\.json (cannot|is not|holds)"):
        open_table("coco_keypoints", source, tmp_path / "records", "train", 128, 64)


def test_annotations_without_anybody_to_crop_are_an_error(tmp_path):
    source = write_coco(tmp_path / "coco", [coco_person(1, [80, 20, 10, 20], STANDING_PERSON)])

    with pytest.raises(InputError, match="describes nobody"):
        open_table("coco_keypoints", source, tmp_path / "records", "train", 128, 64)


def test_every_well_labelled_person_of_the_real_images_gives_a_crop(tmp_path):
    root = os.environ.get("FGSAM_DATA")
    if root is None or not (Path(root) / "coco_mini").is_dir():
        pytest.skip("FGSAM_DATA names no folder with coco_mini")
    for split, crops in (("train", 68), ("val", 54)):
        table = open_table(
            "coco_keypoints", Path(root) / "coco_mini", tmp_path / "records", split, 128, 64
        )
        assert len(table) == crops
        assert (table.joints[:, 0, :, 2] > 0).sum(1).min() >= 3
        assert 0.5 < table.mask.mean() < 1
