"""Losses and pooling in programs of any settings give what they give under the usual ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from programs import program

from fgsam_jax.bilinear import METHODS, CountSketch, compact_bilinear, count_sketch, make_sketch
from fgsam_jax.loss import attribute_cross_entropy, focal_triplet, pose_error, triplet

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(8, 6)).astype(np.float32)
PEOPLE = np.array([0, 0, 1, 1, 1, 2, 2, 3], np.int32)  # the last has no positive
BINS, SIGNS = np.array([0, 3, 3, 7, 1, 0], np.int32), np.array([1, -1, 1, 1, -1, 1], np.int8)
SKETCH = CountSketch(BINS, SIGNS, size=8)


def maps(rows):
    return rows[:, None, None]


CALLS = {
    "focal triplet": lambda x, people: focal_triplet(x, people),
    "focal triplet over all": lambda x, people: focal_triplet(x, people, mining="all"),
    "triplet of one person": lambda x, people: triplet(x, 0 * people),
    "cross entropy": lambda x, people: attribute_cross_entropy(x, people - 1),
    "smoothed cross entropy": lambda x, people: attribute_cross_entropy(
        x, people - 1, smoothing=0.2, shares=jnp.mean(jax.nn.one_hot(people, 6), 0)
    ),
    "pose error": lambda x, people: pose_error(maps(x), 0 * maps(x), maps(x) ** 0),
    "count sketch": lambda x, people: count_sketch(x, SKETCH),
} | {
    method: lambda x, people, method=method: compact_bilinear(
        x[:, None], jnp.flip(x[:, None], -1), SKETCH, SKETCH, method=method
    )
    for method in METHODS
}  # fmt: skip


def gradient_and_values(call):
    """The gradient of the sum of squares of what a function gives, and what it gives."""

    def total(x, people):
        values = call(x, people)
        return jnp.sum(values * values), values

    return jax.grad(total, has_aux=True)


def assert_near(found, wanted, name):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def usual():
    return {name: gradient_and_values(jax.jit(call))(ROWS, PEOPLE) for name, call in CALLS.items()}


@pytest.mark.parametrize("name", ["strict", "strict, 64 bits"])
def test_values_and_gradients_are_the_usual_ones(usual, name):
    for call, wanted in usual.items():
        with program(name):
            found = gradient_and_values(jax.jit(CALLS[call]))(*jax.device_put((ROWS, PEOPLE)))
        assert_near(found, wanted, call)


def test_so_are_those_of_functions_that_are_not_compiled(usual):
    for call in ("focal triplet over all", "triplet of one person"):
        with program("strict"):
            found = gradient_and_values(CALLS[call])(*jax.device_put((ROWS, PEOPLE)))
        assert_near(found, usual[call], call)


def test_a_batch_that_devices_share_stays_shared(usual):
    with program("explicit mesh"):
        shared = jax.device_put((ROWS, PEOPLE), PartitionSpec("batch"))
        for call, wanted in usual.items():
            gradient, values = jax.jit(gradient_and_values(CALLS[call]))(*shared)
            assert values.sharding.spec[0] == "batch"
            assert_near((gradient, values), wanted, call)


def test_half_precision_is_widened_where_promotion_is_strict(usual):
    for call in ("focal triplet", "cross entropy", "roll"):
        with program("strict"):
            half = jnp.asarray(ROWS, jnp.bfloat16), jnp.asarray(PEOPLE)
            values = jax.jit(CALLS[call])(*half)
        assert values.dtype == jnp.float32
        np.testing.assert_allclose(values, usual[call][1], rtol=0.1, atol=0.1, err_msg=call)


@pytest.mark.parametrize("name", ["strict, 64 bits", "explicit mesh"])
def test_a_sketch_has_the_same_tables(name):
    wanted = make_sketch(jax.random.key(3), 20, 8)
    with program(name):
        found = make_sketch(jax.random.key(3), 20, 8)
    np.testing.assert_array_equal(found.bins, wanted.bins)
    np.testing.assert_array_equal(found.signs, wanted.signs)
    assert (found.bins.dtype, found.signs.dtype) == (wanted.bins.dtype, wanted.signs.dtype)
