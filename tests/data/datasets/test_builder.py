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
from trees import TRAIN, write_image, write_market

from fgsam_jax.data import load_table, open_set
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


def build(market, records, **options):
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, str(market), str(records)],
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
    # An image that is a pipe: the build waits there until it is killed.
    path = market / "query" / "0003_c6s4_000001_00.jpg"
    os.remove(path)
    os.mkfifo(path)
    records = tmp_path / "records"
    killed = build(market, records)
    deadline = time.monotonic() + 60
    while not list(records.rglob("incomplete.*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert list(records.rglob("incomplete.*"))

    # The image makes it another set; what the first build left goes all the same.
    os.remove(path)
    write_image(path)
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
