"""What a build does when the disk is full, when it is killed and when two run at once."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from trees import QUERY, TRAIN, write_image, write_market

from fgsam_jax.data import load_table, open_set
from fgsam_jax.data.datasets import source
from fgsam_jax.data.table import Rows
from fgsam_jax.errors import InputError

BUILD = """
import sys
from fgsam_jax.data import load_table, open_set
from fgsam_jax.errors import InputError
try:
    builder = open_set("market1501", sys.argv[1], sys.argv[2])
    print(len(load_table(builder, "train", 64, 32)), len(load_table(builder, "gallery", 64, 32)))
except InputError as error:
    sys.exit(f"error: {error}")
"""

# The same, waiting at the first image until it is killed.
HANG = (
    """
import time
from fgsam_jax.data.datasets import crops
crops.read_image = lambda path: time.sleep(600)
"""
    + BUILD
)


@pytest.fixture
def market(tmp_path):
    return write_market(tmp_path / "Market-1501-v15.09.15")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def build(market, records, script=BUILD, **options):
    return subprocess.Popen(
        [sys.executable, "-c", script, str(market), str(records)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def left(records):
    return [path for path in records.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_several_processes_build_the_same_set_at_once(market, tmp_path):
    builds = [build(market, tmp_path / "records") for _ in range(3)]
    results = [process.communicate() for process in builds]

    assert [out for out, _ in results] == ["3 4\n"] * 3, results
    assert len(list((tmp_path / "records").rglob("*.array_record*"))) == 3
    assert not [path for path in (tmp_path / "records").rglob("*") if "incomplete" in path.name]


def test_a_build_that_was_killed_starts_again_cleanly(market, tmp_path):
    records = tmp_path / "records"
    killed = build(market, records, HANG)
    deadline = time.monotonic() + 60
    while not list(records.rglob("incomplete.*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert list(records.rglob("incomplete.*"))

    # Another image makes it another set; what the first build left goes all the same.
    write_image(market / "query" / "0003_c6s4_000001_00.jpg", 9)
    table = load_table(open_set("market1501", market, records), "query", 64, 32)

    assert len(table) == 2
    assert not list(records.rglob("incomplete.*"))


def test_what_a_killed_build_has_left_goes_with_the_next_one(market, tmp_path):
    records = tmp_path / "records"
    builder = open_set("market1501", market, records)
    home = builder.data_path.parent
    builder.data_path.rename(home / f"{builder.data_path.name}.incomplete.ABC_123")
    again = open_set("market1501", market, records)

    assert [path.name for path in home.iterdir() if path.is_dir()] == [again.data_path.name]


def test_a_full_disk_is_one_line_and_leaves_nothing(market, small_disk):
    random = np.random.default_rng(0)
    for row in range(40):
        path = market / "bounding_box_train" / f"{row + 10:04d}_c1s1_000001_00.jpg"
        path.write_bytes((market / "bounding_box_train" / TRAIN[0]).read_bytes())
        with path.open("ab") as file:
            file.write(random.bytes(50_000))  # decoders ignore what follows an image
    process = build(market, small_disk)
    _, err = process.communicate()

    assert process.returncode == 1, err
    assert err.startswith("error: The records of Market-1501 could not be written")
    assert err.count("\n") == 1
    assert not left(small_disk)


def test_a_disk_too_full_for_the_decoded_images_is_one_line_and_leaves_no_cache(market, small_disk):
    builder = open_set("market1501", market, small_disk)

    with pytest.raises(InputError, match="decoded images could not be written"):
        load_table(builder, "train", 1024, 512)
    assert not [path for path in left(small_disk) if "tables" in path.parts]


def test_a_folder_that_cannot_be_written_is_one_line(market, tmp_path):
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(InputError, match="could not be written"):
        open_set("market1501", market, tmp_path / "file" / "records")


def train_images(market, records):
    builder = open_set("market1501", market, records)
    return builder, np.array(load_table(builder, "train", 64, 32).images)


def write_of_a_size(path, seed):
    """An image in a file of 9,000 bytes, written in 2001."""
    write_image(path, seed)
    path.write_bytes(path.read_bytes().ljust(9000, b"\0"))
    os.utime(path, (10**9, 10**9))


def test_images_that_are_swapped_are_noticed_though_their_sizes_and_times_are_the_same(
    market, tmp_path
):
    a, b = (market / "bounding_box_train" / name for name in TRAIN[:2])
    write_of_a_size(a, 1)
    write_of_a_size(b, 2)
    _, before = train_images(market, tmp_path / "records")
    a.rename(market / "x")
    b.rename(a)
    (market / "x").rename(b)
    _, after = train_images(market, tmp_path / "records")

    np.testing.assert_array_equal(after[[1, 0, 2]], before)


def test_bytes_that_are_written_in_place_are_noticed_behind_the_same_time(market, tmp_path):
    path = market / "bounding_box_train" / TRAIN[0]
    write_of_a_size(path, 1)
    _, before = train_images(market, tmp_path / "records")
    write_of_a_size(path, 2)
    _, after = train_images(market, tmp_path / "records")

    assert not np.array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1:], after[1:])


def test_a_set_that_was_copied_or_touched_keeps_its_records_and_files_are_read_once(
    market, tmp_path, monkeypatch
):
    records = tmp_path / "records"
    first = open_set("market1501", market, records)
    shutil.copytree(market, tmp_path / "copy")
    os.utime(market / "query" / QUERY[0])
    assert open_set("market1501", market, records).data_dir == first.data_dir
    assert open_set("market1501", tmp_path / "copy", records).data_dir == first.data_dir
    monkeypatch.setattr(source, "_digest", None)
    assert open_set("market1501", market, records).data_dir == first.data_dir


def shard(builder):
    return next(builder.data_path.glob("*-train.array_record*"))


@pytest.mark.parametrize("damage", ["cut", "gone", "empty", "description", "features"])
def test_records_that_lack_something_are_made_anew(market, tmp_path, damage):
    records = tmp_path / "records"
    builder, before = train_images(market, records)
    path = {
        "description": builder.data_path / "dataset_info.json",
        "features": builder.data_path / "features.json",
    }.get(damage, shard(builder))
    whole = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(b"" if damage == "empty" else whole[:-20] + b"\xff" * 3)
    _, after = train_images(market, records)

    np.testing.assert_array_equal(before, after)


def test_records_with_a_flipped_bit_are_named_in_one_line(market, tmp_path):
    builder = open_set("market1501", market, tmp_path / "records")
    content = bytearray(shard(builder).read_bytes())
    content[2000] ^= 4
    shard(builder).write_bytes(content)

    with pytest.raises(InputError, match=r"are damaged .* remove that folder") as error:
        train_images(market, tmp_path / "records")
    assert str(builder.data_dir) in str(error.value)


def test_a_set_that_is_ready_is_opened_where_nothing_can_be_written(market, tmp_path, small_disk):
    shutil.copytree(market, small_disk / "set")
    _, before = train_images(small_disk / "set", small_disk / "records")
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)
    _, after = train_images(small_disk / "set", small_disk / "records")

    np.testing.assert_array_equal(before, after)


def test_processes_that_decode_the_same_split_wait_for_each_other(market, tmp_path):
    builder = open_set("market1501", market, tmp_path / "records")
    tables = []
    threads = [
        threading.Thread(target=lambda: tables.append(load_table(builder, "train", 64, 32)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(tables) == 4
    assert all((table.images == tables[0].images).all() for table in tables)


def test_rows_are_read_as_the_array_would_be():
    array = np.random.default_rng(0).integers(0, 256, (7, 2, 3))
    order = np.array([5, 0, 6, 2])
    rows, copy = Rows(array, order), array[order]

    assert (len(rows), rows.shape, rows.dtype) == (4, copy.shape, copy.dtype)
    for index in (2, -1, slice(1, 3), np.array([3, 1, 1]), np.array([True, False, False, True])):
        np.testing.assert_array_equal(rows[index], copy[index])
    np.testing.assert_array_equal(np.asarray(rows), copy)
    np.testing.assert_array_equal(np.stack(list(rows)), copy)
    np.testing.assert_array_equal(np.asarray(Rows(rows, np.array([1, 1]))), copy[[1, 1]])
