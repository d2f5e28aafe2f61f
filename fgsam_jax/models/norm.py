"""Normalisation as all networks use it: Flax's numbers, with the gradient by its formula."""

import math
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

Running = tuple[jax.Array, jax.Array]  # mean and variance, each [channels]

_MOMENTUM = 0.9  # of the running statistics
EPSILON = 1e-5


class _How(NamedTuple):
    """Of `batch_norm`, what is no array."""

    activate: bool
    ceiling: float
    epsilon: float
    two_pass: bool = False
    axis_name: str | None = None


class BatchNorm(nn.Module):
    """Normalises the last axis by the statistics over all others (Ioffe and Szegedy, 2015).

    Attributes:
      train: use the batch's statistics and update the running ones.
      affine: with a trained scale and bias for each channel.
      activate: followed by a ReLU, whose gradient then needs no pass of its own.
      two_pass, ceiling, epsilon, momentum: see `batch_norm`.
      dtype: of the result; statistics and arithmetic are float32.
      axis_name: take batch statistics over all devices of this axis.
      scale_init: of the scale.
    """

    train: bool
    affine: bool = True
    activate: bool = False
    two_pass: bool = False
    dtype: Any = jnp.float32
    axis_name: str | None = None
    scale_init: Any = nn.initializers.ones
    ceiling: float = math.inf
    epsilon: float = EPSILON
    momentum: float = _MOMENTUM

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., channels] to the same shape."""
        channels = x.shape[-1]
        scale, bias = None, None
        mean, var = _running(self, channels)
        if self.affine:
            scale = self.param("scale", self.scale_init, (channels,))
            bias = self.param("bias", nn.initializers.zeros, (channels,))
        y, running = batch_norm(
            x,
            (mean.value, var.value),
            scale,
            bias,
            train=self.train,
            activate=self.activate,
            two_pass=self.two_pass,
            axis_name=self.axis_name,
            ceiling=self.ceiling,
            epsilon=self.epsilon,
            momentum=self.momentum,
        )
        if self.train:
            mean.value, var.value = running
        return y.astype(self.dtype)


class Statistics(nn.Module):
    """The running statistics of a `BatchNorm` without scale and bias, for `batch_norm`."""

    @nn.compact
    def __call__(self, channels: int) -> tuple[nn.Variable, nn.Variable]:
        """Mean and variance, each [channels]."""
        return _running(self, channels)


def _running(module: nn.Module, channels: int) -> tuple[nn.Variable, nn.Variable]:
    mean = module.variable("batch_stats", "mean", jnp.zeros, (channels,))
    return mean, module.variable("batch_stats", "var", jnp.ones, (channels,))


def batch_norm(
    x: jax.Array,
    running: Running,
    scale: jax.Array | None = None,
    bias: jax.Array | None = None,
    *,
    train: bool,
    activate: bool = False,
    two_pass: bool = False,
    axis_name: str | None = None,
    ceiling: float = math.inf,
    epsilon: float = EPSILON,
    momentum: float = _MOMENTUM,
) -> tuple[jax.Array, Running]:
    """Batch normalisation as a function.

    Args:
      x: [..., channels].
      running: statistics before.
      scale: [channels]; None for 1.
      bias: [channels]; None for 0.
      train: use the batch's statistics and update the running ones.
      activate: give max(y, 0) instead of y.
      two_pass: take the variance of the differences to the mean, in a second pass over x;
        E[x^2] - E[x]^2 cancels where the mean is large.
      axis_name: take batch statistics over all devices of this axis.
      ceiling: of the activation; 6 makes it ReLU6.
      epsilon: added to the variance.
      momentum: the share of the running statistics that stays.

    Returns:
      The normalised x in float32, and the running statistics after.
    """
    scale = jnp.ones(x.shape[-1]) if scale is None else scale
    bias = jnp.zeros(x.shape[-1]) if bias is None else bias
    how = _How(activate, ceiling, epsilon, two_pass, axis_name)
    if not train:
        return _scaled(x, *running, scale, bias, how), running
    y, *found = _normalised(x, scale, bias, how)
    mean, var = (momentum * a + (1 - momentum) * b for a, b in zip(running, found, strict=True))
    return y, (mean, var)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalised(
    x: jax.Array, scale: jax.Array, bias: jax.Array, how: _How
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The normalised x, and the statistics it was normalised by."""
    x = x.astype(jnp.float32)
    if how.two_pass:
        axes = tuple(range(x.ndim - 1))
        mean = _mean_over(jnp.mean(x, axes), how.axis_name)
        var = _mean_over(jnp.mean(jnp.square(x - mean), axes), how.axis_name)
    else:
        means = _sums(x, jnp.square(x), 1 / _rows(x))
        mean, mean_of_squares = _mean_over(means, how.axis_name)
        var = jnp.maximum(mean_of_squares - jnp.square(mean), 0)
    return _scaled(x, mean, var, scale, bias, how), mean, var


def _normalised_forward(x: jax.Array, scale: jax.Array, bias: jax.Array, how: _How) -> tuple:
    y, mean, var = _normalised(x, scale, bias, how)
    return (y, mean, var), (x, mean, var, scale, bias)


def _normalised_backward(
    how: _How, saved: tuple, pulls: tuple
) -> tuple[jax.Array, jax.Array, jax.Array]:
    # Differentiated step by step, the sums over the batch would be taken one after the other:
    # by the formula both are made in one pass over x and the gradient.
    x, mean, var, scale, bias = saved
    pull = pulls[0]  # nothing is learned through the running statistics
    if how.activate:  # computed again from x, so that the result need not be read
        y = _scaled(x, mean, var, scale, bias, how._replace(activate=False))
        pull = jnp.where((y > 0) & (y < how.ceiling) if _bounded(how) else y > 0, pull, 0)
    inverse = jax.lax.rsqrt(var + how.epsilon)
    unit = (x - mean) * inverse
    d_bias, d_scale = sums = _sums(pull, pull * unit)
    mean_bias, mean_scale = _mean_over(sums / _rows(x), how.axis_name)
    d_x = scale * inverse * (pull - mean_bias - unit * mean_scale)
    return d_x.astype(x.dtype), d_scale, d_bias


_normalised.defvjp(_normalised_forward, _normalised_backward)


def _scaled(
    x: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    how: _How,
) -> jax.Array:
    y = (x - mean) * (jax.lax.rsqrt(var + how.epsilon) * scale) + bias
    y = jnp.maximum(y, 0) if how.activate else y
    return jnp.minimum(y, how.ceiling) if how.activate and _bounded(how) else y


def _bounded(how: _How) -> bool:
    return how.ceiling < math.inf


def _rows(x: jax.Array) -> int:
    return x.size // x.shape[-1]


def _sums(x: jax.Array, y: jax.Array, factor: float = 1.0) -> jax.Array:
    """Sums over all axes but the last of x and of y, times a factor, [2, channels].

    First those of each image, then of both together: a GPU makes them in two kernels, in one pass.
    """
    axes = tuple(range(1, x.ndim - 1))
    of_image = jnp.concatenate([jnp.sum(x, axes), jnp.sum(y, axes)], axis=-1)
    return jnp.sum(of_image * factor, axis=0).reshape(2, -1)


def _mean_over(x: jax.Array, axis_name: str | None) -> jax.Array:
    return x if axis_name is None else jax.lax.pmean(x, axis_name)


def unit_length(x: jax.Array) -> jax.Array:
    """Rows of length 1; a zero row stays zero and has a finite gradient. [..., dim] to the same."""
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-12)
