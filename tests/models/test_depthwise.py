"""The depthwise convolution beside XLA's grouped one and beside its definition."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgsam_jax.models.conv import keep_products
from fgsam_jax.models.depthwise import depthwise


def grouped(x, kernel, strides, padding):
    axes = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=axes, feature_group_count=x.shape[-1]
    )


def numbers(*shape, dtype="float32"):
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape), dtype)


def with_gradients(function, x, kernel, strides, padding):
    """The result, and the gradients of its product with fixed numbers."""

    def run(x, kernel):
        result, back = jax.vjp(lambda *a: function(*a, strides, padding), x, kernel)
        pull = jnp.cos(jnp.arange(result.size)).reshape(result.shape).astype(result.dtype)
        return result, *back(pull)

    return jax.jit(run)(x, kernel)


CASES = [
    ((9, 7), 3, (1, 1), "SAME"),
    ((9, 7), 5, (2, 2), "SAME"),
    ((8, 6), 3, (2, 2), "SAME"),  # zeros after alone, as TensorFlow's
    ((8, 6), 5, (2, 1), "SAME"),
    ((8, 6), 3, (2, 2), "VALID"),  # the last row and column are seen by no cell
    ((8, 6), 3, (2, 2), ((1, 1), (1, 1))),
    ((5, 7), 5, (1, 2), ((4, 0), (3, 6))),  # more zeros than the kernel is wide
]


@pytest.mark.parametrize(("dtype", "near"), [("float32", 1e-6), ("bfloat16", 2**-7)])
@pytest.mark.parametrize(("size", "cells", "strides", "padding"), CASES)
def test_shifted_products_are_the_grouped_convolution(size, cells, strides, padding, dtype, near):
    """Values, and the gradients of both arguments."""
    x, kernel = numbers(2, *size, 5, dtype=dtype), numbers(cells, cells, 1, 5, dtype=dtype)
    found = with_gradients(depthwise, x, kernel, strides, padding)
    expected = with_gradients(grouped, x, kernel, strides, padding)
    for one, two in zip(found, expected, strict=True):
        assert (one.shape, one.dtype) == (two.shape, two.dtype)
        one, two = (np.asarray(value, np.float32) for value in (one, two))
        np.testing.assert_allclose(one, two, rtol=near, atol=near * np.abs(two).max())


def test_a_cell_of_the_result_is_the_sum_of_its_window():
    x = jnp.arange(12.0).reshape(1, 3, 4, 1)
    kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
    corner = 0 * 4 + 1 * 5 + 4 * 7 + 5 * 8
    centre = sum(a * b for a, b in zip((0, 1, 2, 4, 5, 6, 8, 9, 10), range(9), strict=True))
    found = depthwise(x, kernel)
    assert (found[0, 0, 0, 0], found[0, 1, 1, 0]) == (corner, centre)
    assert depthwise(x, kernel, padding="VALID")[0, 0, 0, 0] == centre


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_gradients_are_finite_differences(strides):
    """The function is linear in each argument, so large steps are exact."""
    given = numbers(2, 6, 5, 3), numbers(5, 5, 1, 3)

    def total(x, kernel):
        result = depthwise(x, kernel, strides)
        return jnp.sum(result * jnp.cos(jnp.arange(result.size)).reshape(result.shape))

    total = jax.jit(total)
    gradients = jax.grad(total, (0, 1))(*given)
    for which, gradient in enumerate(gradients):
        way = numbers(*reversed(given[which].shape)).reshape(given[which].shape)
        ends = [total(*given[:which], given[which] + s * way, *given[which + 1 :]) for s in (1, -1)]
        slope = float(ends[0] - ends[1]) / 2
        assert slope == pytest.approx(float(jnp.vdot(gradient, way)), rel=1e-4)


@pytest.mark.parametrize("mapped", [jax.vmap, jax.pmap])
def test_it_maps_over_batches_and_over_kernels(mapped):
    x, kernels = numbers(3, 1, 6, 5, 2), numbers(3, 3, 3, 1, 2)

    def slopes(x, kernel):
        return jax.grad(lambda *a: jnp.sum(jnp.sin(depthwise(*a, (2, 2)))), (0, 1))(x, kernel)

    found = mapped(slopes)(x, kernels)
    for index in range(3):
        expected = slopes(x[index], kernels[index])
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_allclose(one[index], two, rtol=1e-5, atol=1e-6)


def test_what_is_computed_again_has_the_same_gradients():
    x, kernel = numbers(2, 6, 5, 2), numbers(3, 3, 1, 2)

    def total(x, kernel):
        return jnp.sum(jnp.sin(depthwise(jnp.sin(depthwise(x, kernel)), kernel)))

    plain, again = (
        jax.jit(jax.grad(function, (0, 1)))(x, kernel)
        for function in (total, jax.checkpoint(total, policy=keep_products))
    )
    for one, two in zip(plain, again, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("platform", "convolutions"), [("cpu", 0), ("cuda", 3)])
def test_only_a_cpu_does_without_grouped_convolutions(platform, convolutions):
    """One for the result and one for each gradient."""
    run = jax.jit(partial(with_gradients, depthwise, strides=(1, 1), padding="SAME"))
    lowered = run.trace(numbers(2, 6, 5, 4), numbers(3, 3, 1, 4)).lower(
        lowering_platforms=(platform,)
    )
    assert lowered.as_text().count("stablehlo.convolution") == convolutions
