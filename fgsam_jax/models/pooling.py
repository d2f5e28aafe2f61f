"""Pooling: the largest of windows, and the generalised mean of a map."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def max_pool(
    x: jax.Array, size: int, stride: int, padding: Sequence[tuple[int, int]] = ((0, 0), (0, 0))
) -> jax.Array:
    """`flax.linen.max_pool` with square windows, whose gradient needs no scatter.

    XLA's own gradient compares the windows once more and, on a GPU, adds in no fixed order. This
    one keeps a byte for each window: which of its cells is the first that holds the largest value.

    Args:
      x: [batch, height, width, channels].
      size: of a window, in cells.
      stride: from window to window, in cells.
      padding: cells before and after each axis, which are never the largest.

    Returns:
      [batch, (height + padding - size) // stride + 1, and so the width, channels].
    """

    def pooled(x: jax.Array) -> jax.Array:
        return nn.max_pool(x, (size, size), (stride, stride), padding)

    def forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        edges = ((0, 0, 0), *((*pad, 0) for pad in padding), (0, 0, 0))
        padded = jax.lax.pad(x, jnp.array(-jnp.inf, x.dtype), edges)
        height, width = jax.eval_shape(pooled, x).shape[1:3]
        # One after the other, not by equality with the result: compilers round x anew where they
        # compute it a second time.
        for cell in range(size * size):
            i, j = divmod(cell, size)
            value = padded[:, i : i + span(height) : stride, j : j + span(width) : stride]
            if cell == 0:
                y, largest = value, jnp.zeros(value.shape, jnp.int8)
            larger = (value > y) | jnp.isnan(value)
            y, largest = jnp.where(larger, value, y), jnp.where(larger, jnp.int8(cell), largest)
        return y, largest

    def backward(largest: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
        gradient = jnp.zeros(x.shape, cotangent.dtype)
        for cell in range(size * size):
            edges = [
                (
                    offset - before,
                    length + before - offset - span(cotangent.shape[axis]),
                    stride - 1,
                )
                for axis, offset, (before, _), length in zip(
                    (1, 2), divmod(cell, size), padding, x.shape[1:3], strict=True
                )
            ]
            here = jnp.where(largest == cell, cotangent, 0)
            gradient += jax.lax.pad(here, jnp.zeros((), here.dtype), ((0, 0, 0), *edges, (0, 0, 0)))
        return (gradient,)

    def span(windows: int) -> int:
        return stride * (windows - 1) + 1

    pool = jax.custom_vjp(pooled)
    pool.defvjp(forward, backward)
    return pool(x)


class GeneralisedMean(nn.Module):
    r"""Generalised mean over positions, :math:`(\frac1n \sum_i x_i^p)^{1/p}`, p learned from 3.

    Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018. At p = 1 it
    is the mean of what is positive, for large p the maximum.
    """

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """[batch, height, width, channels] to [batch, channels]."""
        p = self.param("exponent", nn.initializers.constant(3.0), (1,))
        # By logarithms: a power of what is small would vanish, and its root have no slope.
        logs = jnp.log(jnp.maximum(features, 1e-6))
        positions = features.shape[1] * features.shape[2]
        sums = jax.nn.logsumexp(p * logs, axis=(1, 2))
        return jnp.exp((sums - np.log(positions)) / p)
