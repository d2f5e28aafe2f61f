"""Dense layers that are many and small, computed together."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Weights = tuple[jax.Array, jax.Array]  # kernel [channels, features] and bias [features]


class Dense(nn.Module):
    """The weights of a `flax.linen.Dense` under the same names, to be used by `dense`.

    Attributes:
      features: of the output.
      use_bias: with a trained bias; else it is 0.
      kernel_init: of the kernel.
    """

    features: int
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, channels: int) -> Weights:
        """Kernel and bias for an input [batch, channels]."""
        kernel = self.param("kernel", self.kernel_init, (channels, self.features))
        if not self.use_bias:
            return kernel, jnp.zeros(self.features)
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


def dense(x: jax.Array, layers: Sequence[Weights]) -> list[jax.Array]:
    """Dense layers in one product; the narrower are filled up with zeros.

    Args:
      x: [layers, batch, channels], what each sees.
      layers: their weights.

    Returns:
      Of each layer, [batch, features].
    """
    widths = [len(bias) for _, bias in layers]
    kernels, biases = (
        jnp.stack([_widened(x, max(widths)) for x in kind]) for kind in zip(*layers, strict=True)
    )
    y = jnp.einsum("lbc,lcf->lbf", x, kernels) + biases[:, None]
    return [row[:, :width] for row, width in zip(y, widths, strict=True)]


def _widened(x: jax.Array, width: int) -> jax.Array:
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])])
