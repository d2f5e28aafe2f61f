"""The blocks of `resnet`: basic, bottleneck, and the normalisation of IBN-a."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fgsam_jax.models.conv import Conv, fan_out, relu
from fgsam_jax.models.norm import EPSILON


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    features: int
    stride: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, height, width, any] to [batch, height / stride, width / stride, features]."""
        y = conv(self.features, 3, self.stride, self.dtype, "conv1")(x)
        y = self.norm(activate=True, name="bn1")(y)
        y = conv(self.features, 3, 1, self.dtype, "conv2")(y)
        y = self.norm(name="bn2", scale_init=nn.initializers.zeros)(y)
        return relu(y + _shortcut(self, x, self.features))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last with four times the channels, and a shortcut."""

    features: int
    stride: int
    norm: Any
    dtype: Any
    caffe: bool = False
    ibn: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, height, width, any] to [batch, height / stride, width / stride, 4 features]."""
        first, second = (self.stride, 1) if self.caffe else (1, self.stride)
        y = conv(self.features, 1, first, self.dtype, "conv1")(x)
        norm = partial(_HalfInstanceNorm, self.norm, self.dtype) if self.ibn else self.norm
        y = norm(activate=True, name="bn1")(y)
        y = conv(self.features, 3, second, self.dtype, "conv2")(y)
        y = self.norm(activate=True, name="bn2")(y)
        y = conv(self.features * 4, 1, 1, self.dtype, "conv3")(y)
        y = self.norm(name="bn3", scale_init=nn.initializers.zeros)(y)
        return relu(y + _shortcut(self, x, self.features * 4))


class _HalfInstanceNorm(nn.Module):
    """Instance normalisation of the first half of the channels, batch normalisation of the rest."""

    norm: Any
    dtype: Any
    activate: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        half = x.shape[-1] // 2
        by_image = nn.GroupNorm(
            num_groups=None, group_size=1, epsilon=EPSILON, dtype=self.dtype, name="IN"
        )
        halves = [by_image(x[..., :half]), self.norm(name="BN")(x[..., half:])]
        y = jnp.concatenate(halves, axis=-1)
        return relu(y) if self.activate else y


def _shortcut(block: Any, x: jax.Array, channels: int) -> jax.Array:
    """The identity, or a strided 1x1 convolution where the shape changes."""
    if x.shape[-1] == channels and block.stride == 1:
        return x
    x = conv(channels, 1, block.stride, block.dtype, "downsample_conv")(x)
    return block.norm(name="downsample_bn")(x)


def conv(features: int, size: int, stride: int, dtype: Any, name: str) -> nn.Conv:
    """A convolution of size x size without a bias, padded on all sides alike."""
    return Conv(
        features,
        (size, size),
        (stride, stride),
        padding=size // 2,
        use_bias=False,
        kernel_init=fan_out,
        dtype=dtype,
        name=name,
    )
