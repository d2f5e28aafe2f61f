"""Batch normalisation and joined dense layers against Flax's own."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgsam_jax.models.conv import relu
from fgsam_jax.models.dense import Dense, dense
from fgsam_jax.models.norm import BatchNorm

RANDOM = np.random.default_rng(0)
SCALE, BIAS = RANDOM.uniform(0.5, 2, (2, 5)).astype(np.float32)


def flax_norm(two_pass, affine, axis_name=None, momentum=0.9, epsilon=1e-5):
    return nn.BatchNorm(
        False,
        momentum=momentum,
        epsilon=epsilon,
        use_scale=affine,
        use_bias=affine,
        use_fast_variance=not two_pass,
        axis_name=axis_name,
    )


def applied(module, x, affine, after=lambda y: y):
    """Output, running statistics, and the gradients of a weighted sum of the output."""
    params = {"scale": SCALE, "bias": BIAS} if affine else {}
    running = {"mean": np.full(5, 0.5, np.float32), "var": np.full(5, 2, np.float32)}
    weights = jnp.cos(jnp.arange(x.size, dtype=jnp.float32)).reshape(x.shape)

    def total(params, x):
        variables = {"params": params, "batch_stats": running}
        y, updates = module.apply(variables, x, mutable=["batch_stats"])
        return jnp.sum(after(y) * weights), (after(y), updates["batch_stats"])

    gradients, found = jax.grad(total, argnums=(0, 1), has_aux=True)(params, x)
    return found, gradients


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("two_pass", [True, False])
@pytest.mark.parametrize("activate", [True, False])
def test_batch_norm_is_flax_own_forward_and_backward(affine, two_pass, activate):
    x = jnp.asarray(RANDOM.normal(1, 2, (3, 4, 2, 5)), jnp.float32)
    ours = applied(BatchNorm(True, affine, activate, two_pass), x, affine)
    theirs = applied(flax_norm(two_pass, affine), x, affine, nn.relu if activate else lambda y: y)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5), ours, theirs)


def test_a_ceiling_makes_relu6_and_other_constants_are_flax_own():
    x = jnp.asarray(RANDOM.normal(1, 2, (3, 4, 2, 5)), jnp.float32)
    constants = {"momentum": 0.99, "epsilon": 1e-3}
    scale = SCALE.copy()
    SCALE[:] = 5  # many results below 0 and above 6
    ours = applied(BatchNorm(True, activate=True, ceiling=6.0, **constants), x, True)
    theirs = applied(flax_norm(False, True, **constants), x, True, nn.relu6)
    SCALE[:] = scale
    assert 0.1 < np.mean(ours[0][0] == 6) < 0.4
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5), ours, theirs)


def test_batch_norm_over_two_devices_is_that_of_the_whole_batch():
    x = jnp.asarray(RANDOM.normal(1, 2, (6, 4, 5)), jnp.float32)
    whole, (_, whole_x) = applied(BatchNorm(True), x, True)
    weights = jnp.cos(jnp.arange(x.size, dtype=jnp.float32)).reshape(x.shape)

    def share(x, weights):
        def total(x):
            params = {"scale": SCALE, "bias": BIAS}
            running = {"mean": jnp.full(5, 0.5), "var": jnp.full(5, 2.0)}
            y, updates = BatchNorm(True, axis_name="devices").apply(
                {"params": params, "batch_stats": running}, x, mutable=["batch_stats"]
            )
            return jnp.sum(y * weights), (y, updates["batch_stats"])

        return jax.grad(total, has_aux=True)(x)

    spread = (a.reshape(2, 3, *a.shape[1:]) for a in (x, weights))
    gradient, (y, running) = jax.pmap(share, "devices", devices=jax.devices()[:2])(*spread)
    near = partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)
    near(y.reshape(x.shape), whole[0])
    near(gradient.reshape(x.shape), whole_x)
    jax.tree.map(lambda a, b: near(a[0], b), running, whole[1])


def test_a_variance_far_from_zero_needs_two_passes():
    """In float32 E[x^2] - E[x]^2 keeps nothing of a variance of 1 beside a mean of 10,000."""
    x = jnp.asarray(1e4 + RANDOM.normal(size=(4096, 1)), jnp.float32)
    variables = {"batch_stats": {"mean": jnp.zeros(1), "var": jnp.ones(1)}}
    spread = {}
    for two_pass in (True, False):
        norm = BatchNorm(True, affine=False, two_pass=two_pass)
        spread[two_pass] = float(jnp.std(norm.apply(variables, x, mutable=["batch_stats"])[0]))
    assert spread[True] == pytest.approx(1, rel=1e-3)
    assert abs(spread[False] - 1) > 0.01


def test_with_running_statistics_nothing_is_updated():
    x = jnp.asarray(RANDOM.normal(size=(3, 5)), jnp.float32)
    running = {"mean": jnp.full(5, 0.5), "var": jnp.full(5, 3.0)}
    variables = {"params": {"scale": SCALE, "bias": BIAS}, "batch_stats": running}
    found = BatchNorm(False).apply(variables, x)
    np.testing.assert_allclose(found, (x - 0.5) / np.sqrt(3 + 1e-5) * SCALE + BIAS, rtol=1e-5)


@pytest.mark.parametrize("value", [-1.0, 0.0, 2.0])
def test_the_gradient_of_relu_is_that_of_jax(value):
    assert jax.grad(relu)(value) == jax.grad(jax.nn.relu)(value)


def test_what_is_not_a_number_passes_through_relu_and_its_gradient():
    assert np.isnan(relu(jnp.nan))
    assert np.isnan(jax.grad(lambda x: relu(x * jnp.nan))(1.0))


@pytest.mark.parametrize("use_bias", [True, False])
def test_joined_dense_layers_are_flax_own(use_bias):
    """The same names, the same initial weights, and the same numbers."""
    widths, x = (2, 7, 4), jnp.asarray(RANDOM.normal(size=(3, 6, 5)), jnp.float32)

    class Joined(nn.Module):
        @nn.compact
        def __call__(self, x):
            return dense(x, [Dense(w, use_bias, name=f"layer{w}")(5) for w in widths])

    class Single(nn.Module):
        @nn.compact
        def __call__(self, x):
            return [nn.Dense(w, use_bias, name=f"layer{w}")(y) for w, y in zip(widths, x)]  # noqa: B905

    ours, theirs = (module.init(jax.random.key(0), x) for module in (Joined(), Single()))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    found, expected = Joined().apply(ours, x), Single().apply(ours, x)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
