"""How checkpoints are written and read; what goes on from them is in training/test_loop.py."""

import random
import resource
import shutil
import threading

import numpy as np
import orbax.checkpoint as ocp
import pytest

from fgsam_jax.errors import InputError
from fgsam_jax.runtime.checkpoints import Checkpoints


def trees(value, size=3):
    return {"variables": {"a": np.full(size, value, np.float32), "b": {"c": np.int32(value)}}}


def save(folder, *steps, maps=(), keep=9):
    """Checkpoints whose values are their steps."""
    checkpoints = Checkpoints(folder, keep=keep, create=True)
    for step, map in zip(steps, maps or [None] * len(steps), strict=True):
        checkpoints.save(step, trees(step), {"of": step}, map=map)
    checkpoints.wait()
    return checkpoints


def read(folder, which="last", **given):
    """Step, value and description of what is read."""
    checkpoints = Checkpoints(folder)

    def one(step):
        tree = checkpoints.restore(step, trees(0))["variables"]
        assert tree["a"].tolist() == 3 * [tree["b"]["c"]]
        return float(tree["a"][0]), checkpoints.info(step)["of"]

    (value, of), step = checkpoints.read(one, which, **given)
    return step, value, of


def test_a_checkpoint_is_written_beside_other_work_and_the_next_waits_for_it(tmp_path, monkeypatch):
    going, original = threading.Event(), ocp.Checkpointer.save

    def save(self, folder, **given):
        assert going.wait(60)
        return original(self, folder, **given)

    monkeypatch.setattr(ocp.Checkpointer, "save", save)
    checkpoints = Checkpoints(tmp_path / "phase", create=True)
    checkpoints.save(1, trees(1), {"of": "one"})
    assert not list(checkpoints.folder.iterdir())
    threading.Timer(0.1, going.set).start()
    checkpoints.save(2, trees(2), {"of": "two"})
    assert (checkpoints.folder / "1").is_dir()
    assert checkpoints.step() == 2
    assert checkpoints.info(2)["of"] == "two"
    np.testing.assert_equal(checkpoints.restore(2, trees(0)), trees(2))


def test_a_write_that_fails_is_told_of_and_leaves_the_checkpoint_before(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1, create=True)
    checkpoints.save(1, trees(1), {})
    checkpoints.wait()
    large = {"variables": {"a": np.random.default_rng(0).normal(size=10**6)}}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, limits[1]))  # the disk is full, say
    try:
        checkpoints.save(2, large, {})
        with pytest.raises(InputError, match=r"no checkpoint can be written.*File too large"):
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(InputError, match="File too large"):
        checkpoints.save(3, trees(3), {})
    again = Checkpoints(tmp_path, keep=1, create=True)
    assert again.step() == 1
    np.testing.assert_equal(again.restore(1, trees(0)), trees(1))
    again.save(2, trees(2), {})
    again.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def test_no_single_flipped_bit_goes_unnoticed(tmp_path):
    """Every file has its share: refused in one line, or the same values as before."""
    save(tmp_path, 7, maps=[0.5])
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    chance, refused = random.Random(0), []
    for number in range(100):
        path = files[number % len(files)]
        content = path.read_bytes()
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        try:
            assert read(tmp_path) == (7, 7, 7)
        except InputError as error:
            refused.append(str(error))
        path.write_bytes(content)
    assert len(refused) > 80
    assert not any("\n" in line for line in refused)
    assert read(tmp_path) == (7, 7, 7)


def damage(folder):
    """Cut a file of the arrays in half."""
    path = max((folder / "variables").rglob("*"), key=lambda x: x.is_file() and x.stat().st_size)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_broken_checkpoint_is_passed_over_and_set_aside_by_who_writes(tmp_path, capfd):
    save(tmp_path, 3, 6)
    damage(tmp_path / "6")
    assert read(tmp_path) == (3, 3, 3)
    line = "6 is broken or of another model: "
    printed = capfd.readouterr()
    assert line in printed.out
    assert printed.out.endswith("is not what was written there; step 3 is taken instead\n")
    assert not printed.err
    assert sorted(x.name for x in tmp_path.iterdir()) == ["3", "6"]
    with pytest.raises(InputError, match=line):
        read(tmp_path, exact=True)
    writer = Checkpoints(tmp_path, create=True)
    assert writer.read(lambda step: writer.restore(step, trees(0)))[1] == 3
    writer.save(6, trees(6), {"of": 6})
    writer.wait()
    assert read(tmp_path) == (6, 6, 6)
    assert (tmp_path / "6.broken").is_dir()


def test_where_no_checkpoint_is_whole_the_newest_is_named(tmp_path):
    save(tmp_path, 3, 6)
    damage(tmp_path / "3")
    damage(tmp_path / "6")
    with pytest.raises(InputError, match=r"/6 is broken.*no other is whole: train again without"):
        read(tmp_path)


def test_what_else_lies_beside_checkpoints_is_left_alone(tmp_path):
    save(tmp_path, 3)
    (tmp_path / "9").touch()
    for name in (".DS_Store", "notes.txt", "7.zip"):
        (tmp_path / name).touch()
    for name in ("4 copy", "backup", "²", "007", "-1", "__MACOSX"):
        (tmp_path / name).mkdir()
    kept = {path.name for path in tmp_path.iterdir()}
    assert read(tmp_path) == (3, 3, 3)
    save(tmp_path, 5, keep=1)
    assert {path.name for path in tmp_path.iterdir()} == kept - {"3"} | {"5"}
    (tmp_path / "8").mkdir()
    assert read(tmp_path) == (5, 5, 5)


def test_values_that_are_no_numbers_are_refused(tmp_path):
    checkpoints = save(tmp_path, 3)
    tree = {"variables": {"a": np.array([1, np.inf, 2], np.float32)}}
    checkpoints.save(4, tree, {})
    checkpoints.wait()
    with pytest.raises(InputError, match=r"/4 is broken.*'a'.* holds values that are no numbers"):
        checkpoints.restore(4, tree)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Checkpoints of which the second is the best."""
    return save(tmp_path_factory.mktemp("scored"), 3, 6, 9, maps=[0.6, 0.9, 0.3]).folder


@pytest.mark.parametrize(
    "content", [b"", b'{"map": NaN}', b'{"map": "x"}', b'{"foo": 1}', b"[]", b"\xff", None]
)
@pytest.mark.parametrize("old", [False, True])
def test_a_best_checkpoint_whose_map_is_damaged_is_told_of(scored, tmp_path, capfd, content, old):
    shutil.copytree(scored, tmp_path, dirs_exist_ok=True)
    assert Checkpoints(tmp_path).step("best") == 6
    if old:
        (tmp_path / "6" / "digests.json").unlink()
    capfd.readouterr()
    path = tmp_path / "6" / "metrics" / "metrics"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert Checkpoints(tmp_path).step("best") == 3
    told = "it does not count as the best" in capfd.readouterr().out
    assert told == (content is not None or not old)


def test_a_checkpoint_of_an_earlier_version_is_read_with_a_note(tmp_path, capfd):
    save(tmp_path, 3)
    (tmp_path / "3" / "digests.json").unlink()
    assert read(tmp_path) == (3, 3, 3)
    assert "3 was written without digests: it could not be checked" in capfd.readouterr().out


def test_what_a_training_removes_while_it_is_read_is_read_anew(tmp_path, capfd):
    writer, reader, tried = save(tmp_path, 1, keep=1), Checkpoints(tmp_path), []

    def one(step):
        tried.append(step)
        if step < 4:
            writer.save(step + 1, trees(step + 1), {})
            writer.wait()
        return reader.restore(step, trees(0))

    found, step = reader.read(one)
    assert (step, tried) == (4, [1, 2, 3, 4])
    np.testing.assert_equal(found, trees(4))
    assert not capfd.readouterr().out


def test_what_a_killed_run_left_half_written_or_half_removed_goes(tmp_path):
    save(tmp_path, 3)
    for name in ("6.writing", "6.writing.orbax-checkpoint-tmp", "2.removed"):
        shutil.copytree(tmp_path / "3", tmp_path / name)
    assert read(tmp_path) == (3, 3, 3)
    save(tmp_path, 6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "6"]
