"""OSNet (Zhou et al., "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019).

A block sees its input through four streams of one to four light 3x3 convolutions, so at four
scales, and weighs them by a gate that all streams share. Module names follow torchreid's:
conv1.conv, conv2_0.conv2b_1, conv2_0.gate.fc1. Light enough to train from scratch.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fgsam_jax.models.conv import Conv, fan_out, relu
from fgsam_jax.models.depthwise import depthwise
from fgsam_jax.models.norm import BatchNorm
from fgsam_jax.models.pooling import max_pool
from fgsam_jax.models.resnet import torchvision_input

# Channels of the stem and the three stages.
VARIANTS = {
    "osnet_x1_0": (64, 256, 384, 512),
    "osnet_x0_75": (48, 192, 288, 384),
    "osnet_x0_5": (32, 128, 192, 256),
    "osnet_x0_25": (16, 64, 96, 128),
}


class OSNet(nn.Module):
    """Images to a feature map of stride 16.

    Attributes:
      variant: one of `VARIANTS`.
      dtype: of the computation; parameters and statistics stay in float32.
      axis_name: take batch statistics over all devices of this axis.
    """

    variant: str = "osnet_x1_0"
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Features of RGB images.

        Args:
          images: [batch, height, width, 3] in 0..255, RGB.
          train: use and update batch statistics.

        Returns:
          [batch, height / 16, width / 16, channels], 512 channels for x1.0.
        """
        norm = partial(BatchNorm, train, dtype=self.dtype, axis_name=self.axis_name)
        layer: dict[str, Any] = {"norm": norm, "dtype": self.dtype}
        stem, *stages = VARIANTS[self.variant]
        x = torchvision_input(images).astype(self.dtype)
        x = _ConvNorm(stem, 7, 2, **layer, name="conv1")(x)
        x = max_pool(x, 3, 2, ((1, 1), (1, 1)))
        for stage, channels in enumerate(stages, 2):
            for index in (0, 1):
                x = _OmniScaleBlock(channels, **layer, name=f"conv{stage}_{index}")(x)
            if stage < 4:
                x = _ConvNorm(channels, **layer, name=f"conv{stage}_2")(x)
                x = nn.avg_pool(x, (2, 2), (2, 2))
        return _ConvNorm(stages[-1], **layer, name="conv5")(x)


class _ConvNorm(nn.Module):
    """Convolution, batch normalisation and, unless linear, ReLU."""

    features: int
    size: int = 1
    stride: int = 1
    norm: Any = None
    dtype: Any = jnp.float32
    linear: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Conv(
            self.features,
            (self.size, self.size),
            (self.stride, self.stride),
            padding=self.size // 2,
            use_bias=False,
            kernel_init=fan_out,
            dtype=self.dtype,
            name="conv",
        )(x)
        return self.norm(activate=not self.linear, name="bn")(x)


class _LightConv(nn.Module):
    """A linear 1x1 convolution, then a 3x3 one of each channel by itself, BN and ReLU."""

    features: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Conv(
            self.features,
            (1, 1),
            use_bias=False,
            kernel_init=fan_out,
            dtype=self.dtype,
            name="conv1",
        )(x)
        kernel = self.param("conv2", fan_out, (3, 3, 1, self.features), jnp.float32)
        return self.norm(activate=True, name="bn")(depthwise(x, kernel.astype(x.dtype)))


class _Gate(nn.Module):
    """Channel weights from the global mean, the same layers for every stream."""

    reduction: int = 16
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        conv = partial(Conv, kernel_size=(1, 1), kernel_init=fan_out, dtype=self.dtype)
        y = jnp.mean(x, axis=(1, 2), keepdims=True)
        y = relu(conv(channels // self.reduction, name="fc1")(y))
        return x * nn.sigmoid(conv(channels, name="fc2")(y))


class _OmniScaleBlock(nn.Module):
    """Four streams, gated and added, with a shortcut."""

    features: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layer: dict[str, Any] = {"norm": self.norm, "dtype": self.dtype}
        middle = self.features // 4
        narrow = _ConvNorm(middle, **layer, name="conv1")(x)
        gate = _Gate(dtype=self.dtype, name="gate")
        streams = []
        for depth, letter in enumerate("abcd", 1):
            y = narrow
            for index in range(depth):
                name = "conv2a" if depth == 1 else f"conv2{letter}_{index}"
                y = _LightConv(middle, **layer, name=name)(y)
            streams.append(gate(y))
        merged = sum(streams[1:], start=streams[0])
        y = _ConvNorm(self.features, linear=True, **layer, name="conv3")(merged)
        if x.shape[-1] != self.features:
            x = _ConvNorm(self.features, linear=True, **layer, name="downsample")(x)
        return relu(y + x)
