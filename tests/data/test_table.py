import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgsam_jax.data import Table, load_table
from fgsam_jax.data.datasets.market1501 import Market1501
from fgsam_jax.data.datasets.records import open_builder
from fgsam_jax.data.images import scale_joints
from fgsam_jax.data.table_cache import _pad_people
from fgsam_jax.errors import InputError

NAMES = ["0002_c1s1_000451_03.jpg", "0005_c2s1_000451_01.jpg", "0009_c3s3_077419_03.jpg"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A builder over nine images of differing sizes and colours, and their folder."""
    root = tmp_path_factory.mktemp("market")
    rng = np.random.default_rng(0)
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (root / folder).mkdir()
        for row, name in enumerate(NAMES):
            pixels = rng.integers(0, 256, (4, 2, 3), np.uint8)
            size = (64 + 10 * row, 128 + 5 * row)
            image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
            image.convert("L" if row == 1 else "RGB").save(root / folder / name)
    return open_builder(Market1501, root, tmp_path_factory.mktemp("records")), root


@pytest.fixture
def builder(prepared):
    """The same builder without any cache."""
    shutil.rmtree(Path(prepared[0].data_dir) / "tables", ignore_errors=True)
    return prepared[0]


def cache(builder):
    return Path(builder.data_dir) / "tables" / "train-32x16"


def test_images_are_decoded_and_resized_bilinearly(builder, prepared):
    table = load_table(builder, "train", 32, 16)

    assert table.images.shape == (3, 32, 16, 3)
    assert table.images.dtype == np.uint8
    assert isinstance(table.images, np.memmap)
    for row, name in enumerate(NAMES):
        image = Image.open(prepared[1] / "bounding_box_train" / name).convert("RGB")
        expected = np.asarray(image.resize((16, 32), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(table.images[row], expected)


def test_the_columns_have_the_promised_types(builder):
    table = load_table(builder, "train", 32, 16)

    assert len(table) == 3
    assert table.identities.dtype == np.int32
    assert table.cameras.dtype == np.int32
    assert all(column.dtype == np.int8 for column in table.attributes.values())
    assert table.classes["sleeve"] == ("long", "short")
    assert table.joints is None
    assert table.mask is None


def test_a_second_call_reads_the_cache_and_not_the_records(builder, monkeypatch):
    first = load_table(builder, "train", 32, 16)
    monkeypatch.setattr(builder, "as_data_source", None)
    second = load_table(builder, "train", 32, 16)

    np.testing.assert_array_equal(first.images, second.images)
    assert first.names.tolist() == second.names.tolist()


def test_each_size_and_split_has_its_own_cache(builder):
    assert load_table(builder, "train", 32, 16).images.shape[1:3] == (32, 16)
    assert load_table(builder, "train", 16, 32).images.shape[1:3] == (16, 32)
    train, query = (load_table(builder, split, 32, 16) for split in ("train", "query"))
    assert not np.array_equal(train.images, query.images)


@pytest.mark.parametrize("file", ["images.npy", "identities.npy", "table.json"])
def test_a_cache_that_was_cut_short_is_rebuilt(builder, file):
    expected = np.array(load_table(builder, "train", 32, 16).images)
    path = cache(builder) / file
    path.write_bytes(path.read_bytes()[:-20])

    np.testing.assert_array_equal(load_table(builder, "train", 32, 16).images, expected)
    assert path.stat().st_size > 20


@pytest.mark.parametrize("file", ["images.npy", "identities.npy", "contents.npy", "table.json"])
def test_a_cache_with_wrong_bytes_of_the_right_size_is_rebuilt(builder, file):
    expected = load_table(builder, "train", 32, 16)
    images = np.array(expected.images)
    content = bytearray((cache(builder) / file).read_bytes())
    content[-3] ^= 1
    (cache(builder) / file).write_bytes(content)
    table = load_table(builder, "train", 32, 16)

    np.testing.assert_array_equal(table.images, images)
    assert table.digest == expected.digest


@pytest.mark.parametrize("content", ["null", "[]", "{}", '{"origin": 1, "checksums": []}', "\0"])
def test_a_description_that_is_no_description_is_rebuilt(builder, content):
    load_table(builder, "train", 32, 16)
    (cache(builder) / "table.json").write_text(content)
    assert len(load_table(builder, "train", 32, 16)) == 3


def test_a_file_in_the_place_of_a_cache_is_replaced(builder):
    cache(builder).parent.mkdir()
    cache(builder).write_text("no folder")
    assert len(load_table(builder, "train", 32, 16)) == 3


def test_the_digest_is_of_the_files_and_of_all_that_is_said_of_them(builder):
    table = load_table(builder, "train", 32, 16)
    whole = np.arange(3)
    assert table.select(whole).digest == table.digest
    for change in (
        {"contents": table.contents + np.uint64(1)},
        {"names": table.names[[1, 0, 2]]},
        {"identities": table.identities + 1},
        {"cameras": table.cameras + 1},
        {"attributes": table.attributes | {"hat": table.attributes["hat"] + 1}},
    ):
        assert dataclasses.replace(table, **change).digest != table.digest


@pytest.mark.parametrize("field", ["version", "rows", "records", "height"])
def test_a_cache_of_another_origin_is_rebuilt(builder, field):
    load_table(builder, "train", 32, 16)
    described = json.loads((cache(builder) / "table.json").read_text())
    described["origin"][field] = "something else"
    (cache(builder) / "table.json").write_text(json.dumps(described))
    np.save(cache(builder) / "identities.npy", np.array([7, 7, 7], np.int32))

    assert load_table(builder, "train", 32, 16).identities.tolist() == [2, 5, 9]


def test_an_interrupted_build_leaves_no_cache(builder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_table(builder, "train", 32, 16)

    left = (Path(builder.data_dir) / "tables").iterdir()
    assert [path for path in left if path.suffix != ".lock"] == []
    assert len(load_table(builder, "train", 32, 16)) == 3


def test_rows_are_selected_from_every_column(builder):
    table = load_table(builder, "train", 32, 16)
    chosen = table.select(np.array([2, 0]))

    assert chosen.names.tolist() == [NAMES[2], NAMES[0]]
    assert chosen.identities.tolist() == [9, 2]
    assert chosen.cameras.tolist() == [3, 1]
    assert chosen.labels.tolist() == [1, 0]
    assert all(len(column) == 2 for column in chosen.attributes.values())
    np.testing.assert_array_equal(chosen.images[0], table.images[2])


def test_labels_number_the_people_without_gaps_and_leave_junk_out():
    identities = np.array([5, -1, 1500, 0, 5, 2], np.int32)
    empty = np.zeros(6)
    table = Table(empty, empty, identities, empty, {}, {})

    assert table.labels.tolist() == [1, -1, 2, -1, 1, 0]
    assert table.labels.dtype == np.int32


def test_an_unknown_split_is_answered_with_the_choices(builder):
    with pytest.raises(InputError, match="no split 'val': choose one of gallery, query, train"):
        load_table(builder, "val", 32, 16)


def test_an_impossible_size_is_refused(builder):
    with pytest.raises(InputError, match="got 0x16"):
        load_table(builder, "train", 0, 16)


def test_joints_keep_their_place_between_the_corners_of_a_resized_image():
    # The centres of the first and last of 10 pixels become those of the first and last pair of 20.
    joints = np.zeros((1, 18, 3))
    joints[0, 0] = (0, 0, 2)
    joints[0, 1] = (9, 19, 1)
    scaled = scale_joints(joints, (10, 20), (20, 40))

    np.testing.assert_allclose(scaled[0, :2], [[0.5, 0.5, 2], [18.5, 38.5, 1]])


def test_absent_people_are_padded_as_unknown():
    padded = _pad_people([np.ones((1, 18, 3)), np.full((2, 18, 3), 2.0)])

    assert padded.shape == (2, 2, 18, 3)
    assert (padded[0, 0] == 1).all()
    assert (padded[1] == 2).all()
    assert (padded[0, 1, :, 2] == -1).all()
