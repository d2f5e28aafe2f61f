import json
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds
from trees import (
    GALLERY,
    LOWER,
    QUERY,
    TRAIN,
    open_table,
    write_attributes,
    write_image,
    write_market,
)

from fgsam_jax.data import load_table
from fgsam_jax.data.datasets import crops, market_layout, matlab, matlab_child
from fgsam_jax.data.datasets.crops import parse_name
from fgsam_jax.data.datasets.market1501 import Market1501
from fgsam_jax.data.datasets.matlab import read_struct
from fgsam_jax.data.datasets.records import open_builder
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import MARKET1501

read_attributes = Market1501.read_attributes


@pytest.fixture
def market(tmp_path):
    return write_market(tmp_path / "Market-1501-v15.09.15")


def left(records):
    """What a build has left, apart from the empty file that served as a lock."""
    return [path for path in records.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_the_three_splits_come_in_file_name_order_with_identity_and_camera(market, tmp_path):
    tables = {
        split: open_table("market1501", market, tmp_path / "records", split, 128, 64)
        for split in ("train", "query", "gallery")
    }

    assert tables["train"].names.tolist() == TRAIN
    assert tables["query"].names.tolist() == QUERY
    assert tables["gallery"].names.tolist() == GALLERY
    assert tables["gallery"].identities.tolist() == [-1, 0, 1, 3]
    assert tables["gallery"].cameras.tolist() == [1, 4, 2, 5]
    assert tables["train"].labels.tolist() == [0, 0, 1]
    assert tables["gallery"].labels.tolist() == [-1, -1, 0, 1]


def test_the_records_hold_the_jpeg_files_byte_for_byte(market, tmp_path):
    builder = open_builder(Market1501, market, tmp_path / "records")
    skip = {"image": tfds.decode.SkipDecoding()}
    source = builder.as_data_source(split="train", decoders=skip)

    for example, name in zip(source, TRAIN, strict=True):
        assert example["image"] == (market / "bounding_box_train" / name).read_bytes()


def test_attributes_are_found_by_field_name_and_joined_by_identity(market, tmp_path):
    write_attributes(
        market / "market_attribute.mat",
        {
            ("0002", "gender"): 2,
            ("0007", "age"): 4,
            ("0007", "up"): 2,
            ("0001", "down"): 2,
            ("0003", "clothes"): 2,
            ("0002", "upblack"): 1,
            ("0002", "upgreen"): 2,
            ("0003", "downblack"): 1,
            ("0003", "downbrown"): 2,
        },
    )
    train = open_table("market1501", market, tmp_path / "records", "train", 128, 64)
    gallery = open_table("market1501", market, tmp_path / "records", "gallery", 128, 64)

    assert list(train.attributes) == [attribute.name for attribute in MARKET1501]
    assert train.attributes["gender"].tolist() == [1, 1, 0]
    assert train.attributes["age"].tolist() == [0, 0, 3]
    assert train.attributes["sleeve"].tolist() == [0, 0, 1]
    assert train.attributes["upper_colour"].tolist() == [7, 7, 0]
    assert train.classes["upper_colour"][7] == "green"
    assert gallery.attributes["lower_length"].tolist() == [-1, -1, 1, 0]
    assert gallery.attributes["lower_type"].tolist() == [-1, -1, 0, 1]
    assert gallery.attributes["lower_colour"].tolist() == [-1, -1, 0, 8]


def test_none_or_several_colours_leave_the_colour_unlabelled(tmp_path):
    path = write_attributes(
        tmp_path / "market_attribute.mat",
        {("0002", "upblack"): 1, ("0007", "upwhite"): 2, ("0001", "downblack"): 1},
    )
    labels = read_attributes(path)

    assert labels[2]["upper_colour"] == -1
    assert labels[7]["upper_colour"] == -1
    assert labels[1]["lower_colour"] == -1
    assert labels[3]["upper_colour"] == 0


def test_without_an_attribute_file_everything_is_unlabelled(market, tmp_path):
    train = open_table("market1501", market, tmp_path / "records", "train", 128, 64)

    assert len(train.attributes) == len(MARKET1501)
    assert all((column == -1).all() for column in train.attributes.values())


def test_an_identity_without_attributes_is_named(market, tmp_path):
    path = write_attributes(tmp_path / "other.mat", train=("0002",))

    with pytest.raises(InputError, match="no attributes for identity 0007"):
        open_table("market1501", market, tmp_path / "records", "train", 128, 64, path)


def test_an_attribute_file_that_is_not_there_is_an_error(market, tmp_path):
    with pytest.raises(InputError, match=r"missing\.mat was not found"):
        open_table("market1501", market, tmp_path, "train", 128, 64, tmp_path / "missing.mat")


@pytest.mark.parametrize("content", ["other fields", "bytes", "cut", "empty", "flipped"])
def test_a_file_that_is_no_attribute_file_is_an_error(tmp_path, content):
    path = tmp_path / "market_attribute.mat"
    if content in ("cut", "empty", "flipped"):
        struct = scipy.io.loadmat(write_attributes(path))["market_attribute"]
        scipy.io.savemat(path, {"market_attribute": struct}, do_compression=True)
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2] ^= 255
        kept = {"cut": len(whole) // 2, "empty": 0, "flipped": len(whole)}[content]
        path.write_bytes(bytes(whole[:kept]))
        with pytest.raises(InputError, match="cannot be read as Market-1501's attributes"):
            read_attributes(path)
        return
    if content == "bytes":
        path.write_bytes(b"no MATLAB file at all, but long enough to look at" * 10)
    else:
        scipy.io.savemat(path, {"market_attribute": {"train": {"age": 1}, "test": {"age": 1}}})

    with pytest.raises(InputError, match="cannot be read as Market-1501's attributes"):
        read_attributes(path)


def test_a_file_that_crashes_its_reader_is_an_error(tmp_path):
    path = write_attributes(tmp_path / "market_attribute.mat")
    whole = bytearray(path.read_bytes())
    whole[892] ^= 1 << 6  # the size of a field
    path.write_bytes(bytes(whole))
    with pytest.raises(InputError, match="its reader crashed: the file is broken"):
        read_attributes(path)


def test_a_reader_that_does_not_end_and_a_pipe_are_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(matlab, "_SECONDS", 0.01)
    with pytest.raises(InputError, match="reading it took more than"):
        read_attributes(write_attributes(tmp_path / "market_attribute.mat"))
    os.mkfifo(tmp_path / "pipe.mat")
    with pytest.raises(InputError, match="it is no regular file"):
        read_attributes(tmp_path / "pipe.mat")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("age", [["x", 1], [], [1, 1, 1], [-1, 1], [1, 5], [1.5, 1], ["a", "b"], [1, 10**30], {}]),
        ("upblack", [["2", "1"], [3, 1], [-1, 1], [1], [10**9, 1]]),
        ("image_index", [["0002", "0002"], ["0002", "x"], ["0002"], ["0000", "0002"], [{}, 1]]),
    ],
)
def test_an_attribute_that_cannot_be_is_an_error(tmp_path, monkeypatch, field, values):
    path = write_attributes(tmp_path / "market_attribute.mat")
    whole = read_struct(path, "market_attribute")
    for value in values:
        train = whole["train"] | {field: value}
        monkeypatch.setattr(market_layout, "read_struct", lambda *_, t=train: whole | {"train": t})
        with pytest.raises(InputError, match="cannot be read as Market-1501's attributes"):
            read_attributes(path)


@pytest.mark.parametrize("value", [1 + 2j, np.nan, [[1, 2], [3, 4]]])
def test_a_field_that_is_no_list_of_numbers_or_texts_is_an_error(tmp_path, value):
    scipy.io.savemat(tmp_path / "a.mat", {"a": {"field": value}})
    with pytest.raises((ValueError, TypeError)):
        json.dumps(matlab_child.struct(str(tmp_path / "a.mat"), "a"), allow_nan=False)


def test_a_missing_folder_is_one_line_that_says_what_is_there(market, tmp_path):
    for file in (market / "query").iterdir():
        file.unlink()
    (market / "query").rmdir()

    with pytest.raises(InputError) as error:
        open_table("market1501", market, tmp_path / "records", "train", 128, 64)

    message = str(error.value)
    assert "expected bounding_box_train, query and bounding_box_test in it" in message
    assert "found bounding_box_test, bounding_box_train. It lacks query." in message
    assert "\n" not in message


def test_a_source_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(InputError, match="there is no such folder"):
        open_table("market1501", tmp_path / "nowhere", tmp_path / "records", "train", 128, 64)


def test_a_folder_one_level_too_high_or_too_deep_gets_a_hint(market, tmp_path):
    with pytest.raises(InputError, match=f"one level deeper, at {market}"):
        open_table("market1501", market.parent, tmp_path / "records", "train", 128, 64)
    with pytest.raises(InputError, match=f"one level higher, at {market}"):
        open_table("market1501", market / "query", tmp_path / "records", "train", 128, 64)


def test_an_empty_folder_is_an_incomplete_data_set(market, tmp_path):
    for name in QUERY:
        (market / "query" / name).unlink()

    with pytest.raises(InputError, match=r"incomplete: query holds no \.jpg"):
        open_table("market1501", market, tmp_path / "records", "train", 128, 64)


@pytest.mark.parametrize("name", ["holiday.jpg", "0002-c1s1.jpg", "x0002_c1s1_000451_03.jpg"])
def test_an_image_with_another_kind_of_name_is_named(market, tmp_path, name):
    write_image(market / "bounding_box_train" / name)

    with pytest.raises(InputError, match=name):
        open_table("market1501", market, tmp_path / "records", "train", 128, 64)


def test_junk_and_people_beyond_four_digits_parse():
    assert parse_name(Path("-1_c3s2_000001_00.jpg")) == (-1, 3)
    assert parse_name(Path("12345_c15s2_000001_00.jpg")) == (12345, 15)


@pytest.mark.parametrize("kept", [0, 400])
def test_a_cut_image_is_named_and_leaves_no_records(market, tmp_path, kept):
    broken = market / "bounding_box_test" / GALLERY[2]
    broken.write_bytes(broken.read_bytes()[:kept])

    with pytest.raises(InputError, match=f"{GALLERY[2]} cannot be read"):
        open_table("market1501", market, tmp_path / "records", "train", 128, 64)
    assert not left(tmp_path / "records")


def test_an_interrupted_build_leaves_nothing_and_the_next_one_succeeds(
    market, tmp_path, monkeypatch
):
    original = crops.read_image

    def interrupted(path):
        if path.name == GALLERY[1]:
            raise KeyboardInterrupt
        return original(path)

    with monkeypatch.context() as patch:
        patch.setattr(crops, "read_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_table("market1501", market, tmp_path / "records", "train", 128, 64)
    assert not left(tmp_path / "records")

    assert len(open_table("market1501", market, tmp_path / "records", "train", 128, 64)) == 3


def test_a_changed_source_never_reuses_the_old_records(market, tmp_path):
    open_table("market1501", market, tmp_path / "records", "train", 128, 64)
    write_image(market / "bounding_box_train" / "0009_c1s1_000001_00.jpg")
    more = open_table("market1501", market, tmp_path / "records", "train", 128, 64)
    path = write_attributes(tmp_path / "market_attribute.mat", train=("0002", "0007", "0009"))
    labelled = open_table("market1501", market, tmp_path / "records", "train", 128, 64, path)

    assert len(more) == 4
    assert (more.attributes["age"] == -1).all()
    assert (labelled.attributes["age"] == 0).all()


def test_a_moved_source_keeps_its_records(market, tmp_path):
    first = open_builder(Market1501, market, tmp_path / "records")
    moved = market.rename(tmp_path / "moved")

    assert open_builder(Market1501, moved, tmp_path / "records").data_dir == first.data_dir


def test_building_says_nothing_on_a_pipe(market, tmp_path, capfd):
    open_table("market1501", market, tmp_path / "records", "train", 128, 64)

    assert capfd.readouterr() == ("", "")


def test_an_unknown_data_set_is_answered_with_the_choices(tmp_path):
    with pytest.raises(InputError, match="'mars': choose one of market1501, dukemtmc"):
        open_table("mars", tmp_path, tmp_path, "train", 128, 64)


@pytest.fixture(scope="module")
def real_data(tmp_path_factory):
    root = os.environ.get("FGSAM_DATA")
    if root is None or not (Path(root) / "Market-1501-v15.09.15").is_dir():
        pytest.skip("FGSAM_DATA names no folder with Market-1501-v15.09.15")
    return Path(root), tmp_path_factory.mktemp("records")


def test_the_published_attribute_file_has_the_published_statistics(real_data):
    root, _ = real_data
    path = root / "market_attribute.mat"
    if not path.is_file():
        pytest.skip("FGSAM_DATA holds no market_attribute.mat")
    labels = read_attributes(path)
    train = {
        int(p.name[:4]) for p in (root / "Market-1501-v15.09.15/bounding_box_train").glob("*.jpg")
    }
    rows = [labels[identity] for identity in train]
    others = [row for identity, row in labels.items() if identity not in train]

    def counts(rows, name):
        values = np.array([row[name] for row in rows])
        return np.bincount(values + 1).tolist()

    assert (len(rows), len(others)) == (751, 750)
    assert counts(rows, "age") == [0, 14, 569, 160, 8]
    assert counts(rows, "backpack") == [0, 552, 199]
    assert counts(rows, "bag") == [0, 566, 185]
    assert counts(rows, "handbag") == [0, 665, 86]
    assert counts(rows, "lower_type") == [0, 110, 641]
    assert counts(rows, "lower_length") == [0, 294, 457]
    assert counts(rows, "sleeve") == [0, 39, 712]
    assert counts(rows, "hair") == [0, 506, 245]
    assert counts(rows, "hat") == [0, 731, 20]
    assert counts(rows, "gender") == [0, 431, 320]
    assert counts(rows, "upper_colour")[0] == 78
    assert counts(rows, "lower_colour")[0] == 30
    assert counts(others, "upper_colour")[0] == 69
    assert counts(others, "lower_colour")[0] == 44
    purple, yellow = LOWER.index("purple"), LOWER.index("yellow")
    assert counts(others, "lower_colour")[1 + purple] == 0
    assert counts(others, "lower_colour")[1 + yellow] == 1


def test_the_real_market1501_has_its_published_size(real_data):
    root, records = real_data
    path = root / "market_attribute.mat"
    builder = open_builder(
        Market1501, root / "Market-1501-v15.09.15", records, path if path.is_file() else None
    )
    # The smallest image keeps this quick; the rows are the same.
    tables = {split: load_table(builder, split, 2, 1) for split in ("train", "query", "gallery")}

    assert {name: len(table) for name, table in tables.items()} == {
        "train": 12936,
        "query": 3368,
        "gallery": 19732,
    }
    assert [int(table.labels.max()) + 1 for table in tables.values()] == [751, 750, 750]
    assert (tables["gallery"].identities == 0).sum() == 2798
    assert (tables["gallery"].identities == -1).sum() == 3819
