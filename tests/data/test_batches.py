"""Which images stay on the devices, asked of a real program compiled for the CPU."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_sampler import table

from fgsam_jax.config import Compute, Phase
from fgsam_jax.data import resident
from fgsam_jax.data.batches import Batches, device_batches
from fgsam_jax.runtime.distributed import replicate

DEVICES, LAST = 4, 5
AUTO = Compute(steps_per_call=2, resident="auto")


@pytest.fixture
def batches():
    """Of 40 images of 192 bytes, with labels and one attribute 8 kB."""
    return Batches(Phase("x", batch=8), table(np.arange(40) % 5), seed=1, devices=DEVICES)


def sort_a_million(columns, feed, count):
    """A program that needs 4 MB beside what it is given."""
    assert columns["image"].shape == (40, 8, 8, 3)
    assert feed.shape == (DEVICES, 2, 2)
    return jax.jit(lambda rows: jnp.sort(jnp.arange(10**6) * count)[rows]).lower(feed)


@pytest.mark.parametrize(
    ("free", "stays"),
    [
        pytest.param(4_600_000, True, id="room_for_both"),
        pytest.param(4_400_000, False, id="room_in_pieces_only"),
        pytest.param(1_000_000, False, id="no_room_for_the_step"),
    ],
)
def test_images_stay_where_they_and_the_step_have_room(batches, monkeypatch, free, stays):
    monkeypatch.setattr(resident, "_free", lambda: free)
    columns, given = device_batches(batches, 0, LAST, AUTO, sort_a_million)
    assert bool(columns) == stays
    for begin, (count, feed) in zip((0, 2, 4), given, strict=True):
        assert count == min(2, LAST - begin)
        if columns:
            assert len(columns["image"].addressable_shards) == DEVICES
            feed = jax.tree.map(lambda column, rows=feed: np.asarray(column)[rows], columns)
        for index in range(count):
            found = jax.tree.map(lambda x, index=index: x[:, index], feed)
            jax.tree.map(np.testing.assert_array_equal, found, batches(begin + index))


@pytest.mark.parametrize("free", [0, 8000])
def test_nothing_is_compiled_where_the_images_alone_have_no_room(batches, monkeypatch, free):
    """A CPU does not say what is free: that is 0."""
    if free:
        monkeypatch.setattr(resident, "_free", lambda: free)
    columns, given = device_batches(batches, 0, LAST, AUTO, lower=None)
    assert not columns
    assert next(given)[1]["image"].shape == (DEVICES, 2, 2, 8, 8, 3)


def test_the_fullest_device_counts(monkeypatch):
    stats = [{"bytes_limit": 10, "bytes_in_use": use} for use in (2, 7, 0)]
    devices = [SimpleNamespace(memory_stats=lambda x=x: x) for x in stats]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    assert resident._free() == 3


def test_the_program_that_was_asked_is_the_one_that_runs():
    seen = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: seen.append(name))
    step = jax.pmap(lambda x, rows, count: x[rows] * count, in_axes=(None, 0, None))
    given = replicate(np.arange(10.0)), np.zeros((DEVICES, 2), int), 3
    resident._needed(step.lower(*given))
    asked = [name for name in seen if "backend_compile" in name]
    jax.block_until_ready(step(*given))
    assert asked == [name for name in seen if "backend_compile" in name] != []
