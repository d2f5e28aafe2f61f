import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from trees import STANDING_PERSON, coco_person, write_coco

from fgsam_jax.data import builders, load_table
from fgsam_jax.data.datasets.coco_openpose import crop, crop_matrix, main_people
from fgsam_jax.data.datasets.records import open_builder
from fgsam_jax.data.stream import nearest_people
from fgsam_jax.errors import InputError

FIVE = STANDING_PERSON | {"right_hip": (94, 130, 2)}
BOX = np.array((80, 40, 40, 160), np.float32)


def records(source, to, split="train"):
    """The builder of a source, and its examples with images still encoded."""
    builder = open_builder(builders()["coco_openpose"], source, to)
    skip = {name: tfds.decode.SkipDecoding() for name in ("image", "mask")}
    return builder, builder.as_data_source(split=split, decoders=skip)


def grey(width, height, level=60):
    return Image.new("RGB", (width, height), (level,) * 3)


def everywhere(width, height, level=255):
    return Image.new("L", (width, height), level)


def one_joint(x, y):
    joints = np.zeros((1, 18, 3), np.float32)
    joints[0, 0] = (x, y, 2)
    return joints


def test_a_main_person_has_five_joints_and_a_thousand_pixels_and_is_no_crowd():
    four = dict(list(FIVE.items())[:4])
    box = [80, 40, 40, 160]

    assert main_people([coco_person(1, box, FIVE, area=1024)])
    assert not main_people([coco_person(1, box, FIVE, area=1023.9)])
    assert not main_people([coco_person(1, box, four, area=1024)])
    assert not main_people([coco_person(1, box, FIVE, area=1024, iscrowd=1)])


def test_a_person_near_to_an_earlier_main_person_is_none():
    # 0.3 of the longer side, 160, is 48 pixels.
    people = [
        coco_person(number, [left, top, 40, 160], FIVE, area=2000)
        for number, (left, top) in enumerate([(80, 40), (127, 40), (128, 40), (140, 60)], 1)
    ]

    assert [main["id"] for main in main_people(people)] == [1, 3]


def test_a_record_holds_the_file_everyone_labelled_and_the_boxes_of_main_people(tmp_path):
    square = [[150, 200, 160, 200, 160, 210, 150, 210]]
    few = {name: FIVE[name] for name in ("nose", "left_ankle")}
    source = write_coco(
        tmp_path / "coco",
        [
            coco_person(1, [80, 40, 40, 160], FIVE),
            coco_person(2, [10, 20, 30, 90], few),
            coco_person(3, [150, 200, 10, 10], segmentation=square),
            coco_person(4, [10, 20, 30, 90], few, image=2),
        ],
        images=2,
    )
    _, examples = records(source, tmp_path / "records")

    # Nobody in the second image is worth a crop.
    assert len(examples) == 1
    example = examples[0]
    assert example["image"] == (source / "train2017" / "000000000001.jpg").read_bytes()
    assert example["name"] == b"000000000001"
    assert example["joints"].shape == (2, 18, 3)
    assert (example["joints"][..., 2] > 0).sum(1).tolist() == [6, 2]
    np.testing.assert_array_equal(example["boxes"], [[80, 40, 40, 160]])
    with Image.open(_file(tmp_path, example["mask"])) as mask:
        assert (np.asarray(mask) == 0).sum() == 100


def _file(folder, encoded):
    path = folder / "mask.png"
    path.write_bytes(encoded)
    return path


def test_annotations_without_a_main_person_are_an_error(tmp_path):
    source = write_coco(tmp_path / "coco", [coco_person(1, [80, 40, 40, 160], STANDING_PERSON)])

    with pytest.raises(InputError, match="nobody with 5 labelled joints and an area of 1024"):
        records(source, tmp_path / "records")


def test_a_set_larger_than_the_memory_for_sorting_is_written(tmp_path, monkeypatch):
    from tensorflow_datasets.core import shuffle

    # Beyond this TFDS collects a split with TensorFlow, which is not there.
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 100)
    monkeypatch.setattr("fgsam_jax.data.datasets.coco_layout._IMAGES_OF_A_SHARD", 2)
    people = [coco_person(n, [80, 40, 40, 160], FIVE, image=n) for n in range(1, 6)]
    source = write_coco(tmp_path / "coco", people, images=5)
    builder, examples = records(source, tmp_path / "records")

    assert builder.info.splits["train"].num_shards == 3
    assert [int(example["name"]) for example in examples] == [1, 2, 3, 4, 5]


def test_the_view_for_validation_is_upright_centred_and_of_one_height():
    # The box's centre (100, 120) comes to the middle; 160 pixels become .6 x 320 = 192.
    joints = np.zeros((1, 18, 3), np.float32)
    joints[0, :3] = (99.5, 119.5, 2), (99.5, 39.5, 2), (119.5, 119.5, 1)
    _, moved, mask = crop(grey(200, 240), joints, everywhere(200, 240), BOX, 320, 240)

    np.testing.assert_allclose(moved[0, :2, 0], 119.5)
    np.testing.assert_allclose(moved[0, :2, 1], (159.5, 159.5 - 96))
    np.testing.assert_allclose(moved[0, 2], (119.5 + 24, 159.5, 1))
    assert mask.shape == (40, 30)
    assert (mask == 1).all()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("tall", [40, 400])
def test_a_bright_dot_at_a_joint_is_where_the_moved_joint_says(seed, tall):
    random = np.random.default_rng(seed)
    x, y = random.integers(250, 390, 2)
    box = (320 - tall / 4, 320 - tall / 2, tall / 2, tall)
    pixels = np.zeros((640, 640, 3), np.uint8)
    pixels[y - 2 : y + 3, x - 2 : x + 3] = 255
    made, moved, _ = crop(
        Image.fromarray(pixels), one_joint(x, y), everywhere(640, 640), box, 368, 368, random
    )

    # The grey around the image is no dot.
    light = np.where((made == 128).all(-1), 0, made[..., 0]).astype(float)
    place = moved[0, 0, :2]
    if not ((place > 8) & (place < 360)).all():
        assert tall == 40  # enlarged, the dot can lie outside
        return
    down, across = np.indices(light.shape)
    near = np.hypot(across - place[0], down - place[1]) < 40
    light = light * near
    found = (light * across).sum() / light.sum(), (light * down).sum() / light.sum()
    assert np.linalg.norm(found - place) < 0.1


def test_scale_turn_and_shift_stay_in_openposes_ranges_and_fill_them():
    sizes, angles, shifts = [], [], []
    for seed in range(400):
        matrix = crop_matrix(BOX, 368, 240, np.random.default_rng(seed))
        sizes.append(np.sqrt(np.linalg.det(matrix[:2, :2])) * 160 / 368)
        angles.append(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
        shifts.append(matrix[:2] @ (100, 120, 1) - (120, 184))
    for values, low, high in (
        (sizes, 0.3, 0.66),
        (angles, -40, 40),
        (np.array(shifts)[:, 0], -40, 40),
        (np.array(shifts)[:, 1], -40, 40),
    ):
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high


def test_shrinking_averages_stripes_instead_of_skipping_them():
    pixels = np.zeros((900, 900, 3), np.uint8)
    pixels[:, ::2] = 200
    joints, mask = one_joint(0, 0), everywhere(900, 900)
    box = (350, 50, 200, 800)
    made, _, _ = crop(
        Image.fromarray(pixels), joints, mask, box, 368, 368, np.random.default_rng(1)
    )

    inside = made[(made != 128).all(-1)].astype(int)
    assert len(inside) > 10000
    assert np.abs(np.percentile(inside, (1, 50, 99)) - 100).max() <= 2


def test_grey_lies_outside_of_the_image_and_the_mask_counts_there():
    # Of the image's 200 x 240 pixels, the mask leaves out the left half.
    mask = np.full((240, 200), 255, np.uint8)
    mask[:, :100] = 0
    made, _, weight = crop(grey(200, 240), one_joint(0, 0), Image.fromarray(mask), BOX, 320, 320)

    # Scale 1.2: the image covers columns 40 to 280 and rows 16 to 304.
    expected = np.full((320, 320), 128)
    expected[16:304, 40:280] = 60
    np.testing.assert_array_equal(made, np.repeat(expected[..., None], 3, -1))
    counts = np.ones((40, 40))
    counts[2:38, 5:20] = 0
    np.testing.assert_array_equal(weight, counts)


@pytest.mark.parametrize("seed", range(3))
def test_the_mask_of_a_turned_crop_is_that_of_its_pixels(seed):
    # The image shows its mask, so the crop's pixels tell what its mask must be.
    shape = np.zeros((240, 200), np.uint8)
    shape[60:150, 50:160] = 255
    image = Image.fromarray(shape).convert("RGB")
    made, _, weight = crop(
        image, one_joint(0, 0), Image.fromarray(shape), BOX, 368, 368, np.random.default_rng(seed)
    )

    lit = np.where((made == 128).all(-1), 255, made[..., 0]).astype(float) / 255
    cells = lit.reshape(46, 8, 46, 8).mean((1, 3))
    np.testing.assert_allclose(weight, cells, atol=0.08)


def test_a_view_draws_its_main_person_and_takes_the_first_one_for_validation(tmp_path):
    boxes = [[20, 40, 40, 160], [140, 40, 40, 100]]
    people = [coco_person(number, box, FIVE) for number, box in enumerate(boxes, 1)]
    builder, examples = records(write_coco(tmp_path / "coco", people), tmp_path / "records")
    joints = examples[0]["joints"]

    def moved(box, random=None):
        return crop(grey(200, 240), joints, everywhere(200, 240), box, 64, 64, random)[1]

    np.testing.assert_array_equal(builder.view(examples[0], 64, 64)["joints"], moved(boxes[0]))
    taken = set()
    for seed in range(10):
        random = np.random.default_rng(seed)
        main = random.integers(2)
        found = builder.view(examples[0], 64, 64, np.random.default_rng(seed))
        np.testing.assert_array_equal(found["joints"], moved(boxes[main], random))
        taken.add(main)
    assert taken == {0, 1}


def test_a_table_holds_the_views_for_validation(tmp_path):
    people = [coco_person(n, [80, 40, 40, 130 + 10 * n], FIVE, image=n) for n in (1, 2)]
    source = write_coco(tmp_path / "coco", people, images=2)
    builder, examples = records(source, tmp_path / "records", "val")
    table = load_table(builder, "val", 64, 48)

    for row, example in enumerate(examples):
        seen = builder.view(example, 64, 48)
        np.testing.assert_array_equal(table.images[row], seen["image"])
        np.testing.assert_array_equal(table.joints[row], seen["joints"])
        np.testing.assert_array_equal(table.mask[row], seen["mask"])


def test_the_real_images_give_crops_with_a_labelled_joint(tmp_path):
    root = os.environ.get("FGSAM_DATA")
    if root is None or not (Path(root) / "coco_mini").is_dir():
        pytest.skip("FGSAM_DATA names no folder with coco_mini")
    for split, count in (("train", 25), ("val", 29)):
        builder, examples = records(Path(root) / "coco_mini", tmp_path / "records", split)
        assert len(examples) == count
        for row, example in enumerate(examples):
            random = np.random.default_rng(row)
            made = builder.view(example, 368, 368, random)
            kept = nearest_people(made["joints"], 368, 368)
            assert (kept[0, :, 2] > 0).any()
            assert made["image"].shape == (368, 368, 3)
            assert made["mask"].shape == (46, 46)
