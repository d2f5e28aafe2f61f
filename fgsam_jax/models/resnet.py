"""ResNet-18 to -152 (He et al., 2016) without pooling and classifier, as torchvision builds them.

The stride sits on the 3x3 convolution and every padding is symmetric, so that weights trained
elsewhere give the same numbers here. Module names follow torchvision's: conv1, bn1,
layer1_0.conv1, layer1_0.downsample_conv.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fgsam_jax.errors import InputError

# depth: (blocks of the four stages, bottleneck or basic). 10 is for small models.
_STAGES = {
    10: ((1, 1, 1, 1), False),
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)

# Fan-out initialisation, as in the ResNet paper's training code.
_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ResNet(nn.Module):
    """Images to a feature map.

    Attributes:
      depth: 10, 18, 34, 50, 101 or 152.
      width: channels of the first stage; 64 is the published one.
      stem: "imagenet" (7x7 stride 2, then max pooling, stride 4 in all) or "small" (3x3 stride 2).
      last_stride: 2, or 1 for a map of twice the height and width.
      dtype: of the computation; parameters and statistics stay in float32.
      axis_name: take batch statistics over all devices of this axis.
    """

    depth: int = 50
    width: int = 64
    stem: str = "imagenet"
    last_stride: int = 2
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Features of RGB images.

        Args:
          images: [batch, height, width, 3] in 0..255, RGB.
          train: use and update batch statistics.

        Returns:
          [batch, height / s, width / s, channels], s = 32 with the published stem and last
          stride, 2048 channels for the bottleneck depths at width 64.
        """
        if self.depth not in _STAGES:
            raise InputError(f"ResNet depth is one of {sorted(_STAGES)}, not {self.depth}")
        if self.stem not in ("imagenet", "small"):
            raise InputError(f'ResNet stem is "imagenet" or "small", not {self.stem!r}')
        blocks, bottleneck = _STAGES[self.depth]
        block = _Bottleneck if bottleneck else _Basic
        norm = partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        x = ((images / 255.0 - _IMAGENET_MEAN) / _IMAGENET_STD).astype(self.dtype)
        if self.stem == "imagenet":
            x = _conv(self.width, 7, 2, self.dtype, "conv1")(x)
        else:
            x = _conv(self.width, 3, 2, self.dtype, "conv1")(x)
        x = nn.relu(norm(name="bn1")(x))
        if self.stem == "imagenet":
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage, count in enumerate(blocks):
            for index in range(count):
                stride = (1, 2, 2, self.last_stride)[stage] if index == 0 else 1
                x = block(
                    features=self.width * 2**stage,
                    stride=stride,
                    norm=norm,
                    dtype=self.dtype,
                    name=f"layer{stage + 1}_{index}",
                )(x)
        return x


def _conv(features: int, size: int, stride: int, dtype: Any, name: str) -> nn.Conv:
    return nn.Conv(
        features,
        (size, size),
        (stride, stride),
        padding=size // 2,
        use_bias=False,
        kernel_init=_kernel_init,
        dtype=dtype,
        name=name,
    )


class _Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    features: int
    stride: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = _conv(self.features, 3, self.stride, self.dtype, "conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = _conv(self.features, 3, 1, self.dtype, "conv2")(y)
        y = self.norm(name="bn2", scale_init=nn.initializers.zeros)(y)
        return nn.relu(y + _shortcut(self, x, self.features))


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last with four times the channels, and a shortcut."""

    features: int
    stride: int
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = _conv(self.features, 1, 1, self.dtype, "conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = _conv(self.features, 3, self.stride, self.dtype, "conv2")(y)
        y = nn.relu(self.norm(name="bn2")(y))
        y = _conv(self.features * 4, 1, 1, self.dtype, "conv3")(y)
        y = self.norm(name="bn3", scale_init=nn.initializers.zeros)(y)
        return nn.relu(y + _shortcut(self, x, self.features * 4))


def _shortcut(block: Any, x: jax.Array, channels: int) -> jax.Array:
    """The identity, or a strided 1x1 convolution where the shape changes."""
    if x.shape[-1] == channels and block.stride == 1:
        return x
    x = _conv(channels, 1, block.stride, block.dtype, "downsample_conv")(x)
    return block.norm(name="downsample_bn")(x)
