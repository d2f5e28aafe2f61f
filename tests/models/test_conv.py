"""The layers that take another form by platform against Flax's and XLA's own."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgsam_jax.models.conv import convolve
from fgsam_jax.models.pooling import max_pool

AXES = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}


@pytest.mark.parametrize(("dtype", "near"), [(jnp.float32, 1e-6), (jnp.bfloat16, 2**-7)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 2)])
def test_a_kernel_of_one_cell_as_a_product_is_the_convolution(strides, dtype, near):
    """Values, and the gradients of both arguments; 5x7 cells are no multiple of the strides."""
    random = np.random.default_rng(0)
    cells = -(-5 // strides[0]), -(-7 // strides[1])
    x, kernel, pull = (
        jnp.asarray(random.normal(size=shape), dtype)
        for shape in ((2, 5, 7, 6), (1, 1, 6, 4), (2, *cells, 4))
    )
    found = []
    for function in (convolve, jax.lax.conv_general_dilated):
        result, back = jax.vjp(
            partial(function, window_strides=strides, padding="SAME", **AXES), x, kernel
        )
        found.append((result, *back(pull)))
    for one, two in zip(*found, strict=True):
        assert one.dtype == two.dtype
        one, two = (np.asarray(value, np.float32) for value in (one, two))
        np.testing.assert_allclose(one, two, rtol=near, atol=near * np.abs(two).max())


@pytest.mark.parametrize(
    ("platform", "operation"), [("cpu", "dot_general"), ("cuda", "convolution")]
)
def test_a_kernel_of_one_cell_is_a_product_on_a_cpu_alone(platform, operation):
    """Forward and backward: XLA's compiler for GPUs fails on the product with a stride."""
    x, kernel = jnp.ones((2, 4, 4, 8)), jnp.ones((1, 1, 8, 4))

    def loss(x, kernel):
        return jnp.sum(convolve(x, kernel, (2, 2), "VALID", **AXES) ** 2)

    traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(x, kernel)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    found = [name for name in ("dot_general", "convolution") if f"stablehlo.{name}" in text]
    assert found == [operation]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    ("height", "width", "size", "padding"),
    [
        (8, 6, 2, ((0, 0), (0, 0))),
        (7, 5, 2, ((0, 0), (0, 0))),  # the last row and column are in no window
        (9, 8, 3, ((1, 1), (1, 1))),  # as ResNet
        (8, 8, 3, ((0, 1), (0, 1))),  # as Caffe
    ],
)
def test_max_pooling_is_flax_own_with_its_gradient_where_values_are_equal(
    height, width, size, padding, dtype
):
    """Whole numbers of a small range: many windows hold their largest value more than once."""
    random = np.random.default_rng(0)
    x = jnp.asarray(random.integers(-2, 2, (2, height, width, 3)), dtype)
    ours, ours_back = jax.vjp(lambda x: max_pool(x, size, 2, padding), x)
    flax, flax_back = jax.vjp(lambda x: nn.max_pool(x, (size, size), (2, 2), padding), x)
    pull = jnp.asarray(random.integers(-8, 8, flax.shape), dtype)
    np.testing.assert_array_equal(ours, flax)
    np.testing.assert_array_equal(ours_back(pull)[0], flax_back(pull)[0])
    assert ours.dtype == ours_back(pull)[0].dtype == dtype


def test_the_gradient_of_max_pooling_has_no_scatter():
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(max_pool(x, 3, 2, ((1, 1), (1, 1))) ** 2)))
    text = gradient.lower(jnp.ones((1, 8, 8, 2))).as_text()
    assert "scatter" not in text
