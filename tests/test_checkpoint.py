"""How checkpoints are written; what goes on from them is in test_train.py."""

import resource
import threading

import numpy as np
import orbax.checkpoint as ocp
import pytest

from fgsam_jax.checkpoint import Checkpoints
from fgsam_jax.errors import InputError


def trees(value, size=3):
    return {"variables": {"a": np.full(size, value, np.float32), "b": {"c": np.int32(value)}}}


def test_a_checkpoint_is_written_beside_other_work_and_the_next_waits_for_it(tmp_path, monkeypatch):
    going, original = threading.Event(), ocp.CheckpointManager.save

    def save(self, step, **given):
        assert going.wait(60)
        return original(self, step, **given)

    monkeypatch.setattr(ocp.CheckpointManager, "save", save)
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
