"""Losses and pooling in programs of any settings give what they give under the usual ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from programs import PROGRAMS, program

from fgsam_jax.bilinear import METHODS, CountSketch, compact_bilinear, count_sketch, make_sketch
from fgsam_jax.loss import attribute_cross_entropy, focal_triplet, pose_error, triplet

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(8, 6)).astype(np.float32)
MAPS = RANDOM.normal(size=(8, 3, 6)).astype(np.float32)
PEOPLE = np.array([0, 0, 1, 1, 1, 2, 2, 3], np.int32)  # the last has no positive
SKETCH = CountSketch(np.array([0, 3, 3, 7, 1, 0], np.int32), np.array([1, -1, 1, 1, -1, 1], np.int8), 8)

CALLS = {
    "focal triplet": lambda x, people: focal_triplet(x, people),
    "focal triplet over all": lambda x, people: focal_triplet(x, people, mining="all"),
    "triplet of one person": lambda x, people: triplet(x, 0 * people),
    "cross entropy": lambda x, people: attribute_cross_entropy(x, people - 1),
    "pose error": lambda x, people: pose_error(x[:, None, None], 0 * x[:, None, None], 1.0),
    "count sketch": lambda x, people: count_sketch(x, SKETCH),
} | {
    method: lambda x, people, method=method: compact_bilinear(
        x[:, None], jnp.flip(x[:, None], -1), SKETCH, SKETCH, method=method
    )
    for method in METHODS
}  # fmt: skip


def loss_and_gradient(call, inside_jit):
    """The values, and the gradient of their sum of squares, of functions that are compiled or not."""
    call = jax.jit(call) if inside_jit else call

    def total(x, people):
        values = call(x, people)
        return jnp.sum(values * values), values

    return jax.grad(total, has_aux=True)


@pytest.fixture(scope="module")
def usual():
    return {name: loss_and_gradient(call, True)(ROWS, PEOPLE) for name, call in CALLS.items()}


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_gradients_are_the_usual_ones(usual, name):
    for call, wanted in usual.items():
        with program(name):
            rows, people = jax.device_put((ROWS, PEOPLE))
            found = loss_and_gradient(CALLS[call], True)(rows, people)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=call)


@pytest.mark.parametrize("name", ["strict promotion", "no broadcasting", "no infinities"])
def test_functions_that_are_not_compiled_give_them_too(usual, name):
    for call in ("focal triplet", "triplet of one person", "cross entropy", "count sketch"):
        with program(name):
            found = loss_and_gradient(CALLS[call], False)(*jax.device_put((ROWS, PEOPLE)))
        np.testing.assert_allclose(found[0], usual[call][0], rtol=1e-4, atol=1e-5, err_msg=call)


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_a_batch_that_is_shared_by_devices_stays_shared(usual, kind):
    with jax.set_mesh(jax.make_mesh((4,), ("batch",), axis_types=(kind,))):
        shared = jax.device_put((ROWS, PEOPLE), PartitionSpec("batch"))
        for call, wanted in usual.items():
            gradient, values = jax.jit(loss_and_gradient(CALLS[call], True))(*shared)
            assert len(values.sharding.device_set) == 4
            np.testing.assert_allclose(values, wanted[1], rtol=1e-4, atol=1e-5, err_msg=call)
            np.testing.assert_allclose(gradient, wanted[0], rtol=1e-4, atol=1e-5, err_msg=call)


def test_half_precision_is_widened_where_promotion_is_strict(usual):
    with program("strict promotion"):
        for call in CALLS:
            values = CALLS[call](jnp.asarray(ROWS, jnp.bfloat16), jnp.asarray(PEOPLE))
            np.testing.assert_allclose(
                np.asarray(values, np.float32), usual[call][1], rtol=0.1, atol=0.1, err_msg=call
            )


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_sketch_has_the_same_tables(name):
    wanted = make_sketch(jax.random.key(3), 20, 8)
    key = jax.random.key(3)
    with program(name):
        found = make_sketch(key, 20, 8)
    np.testing.assert_array_equal(found.bins, wanted.bins)
    np.testing.assert_array_equal(found.signs, wanted.signs)
    assert found.signs.dtype == wanted.signs.dtype
