"""Inverted residuals (Sandler et al., "MobileNetV2", 2018): narrow outside, wide inside.

MobileNetV2 and EfficientNet-Lite are a stem, such blocks and a head. Module names follow the
PyTorch form of EfficientNet: conv_stem, bn0, blocks_3.expand_conv, conv_head, bn1.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fgsam_jax.models.conv import Conv, fan_out, he
from fgsam_jax.models.depthwise import depthwise

STEM, HEAD = 32, 1280  # channels


class Stage(NamedTuple):
    """Blocks of equal width; the first of them has the stride."""

    expansion: int
    channels: int
    blocks: int
    stride: int
    kernel: int = 3


def inverted_residuals(
    x: jax.Array,
    stages: Sequence[Stage],
    *,
    last_stride: int,
    same: bool,
    norm: Any,
    dtype: Any,
) -> jax.Array:
    """Stem, stages and head, as modules of the calling one.

    Args:
      x: [batch, height, width, 3].
      stages: between stem and head.
      last_stride: of the last stage that has one.
      same: TensorFlow's padding, by the size of the map, and not half the kernel on every side.
      norm: batch normalisation, of which `activate` asks for the ReLU after it.
      dtype: of the computation.

    Returns:
      [batch, height / 32, width / 32, 1280] with a last stride of 2, rounded up.
    """
    last = max(number for number, stage in enumerate(stages) if stage.stride > 1)
    layer: dict[str, Any] = {"same": same, "norm": norm, "dtype": dtype}
    stem = _conv(STEM, 3, 2, padding=_padding(3, same), dtype=dtype, name="conv_stem")
    x = norm(activate=True, name="bn0")(stem(x))
    block = 0
    for number, stage in enumerate(stages):
        for index in range(stage.blocks):
            stride = (last_stride if number == last else stage.stride) if index == 0 else 1
            x = _Block(stage, stride, **layer, name=f"blocks_{block}")(x)
            block += 1
    x = _conv(HEAD, dtype=dtype, name="conv_head")(x)
    return norm(activate=True, name="bn1")(x)


class _Block(nn.Module):
    """Widened by 1x1, filtered channel by channel, narrowed by a linear 1x1; a shortcut."""

    stage: Stage
    stride: int
    same: bool
    norm: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size, y = self.stage.kernel, x
        if self.stage.expansion > 1:
            wide = x.shape[-1] * self.stage.expansion
            y = _conv(wide, dtype=self.dtype, name="expand_conv")(y)
            y = self.norm(activate=True, name="bn0")(y)
        padding = _padding(size, self.same)
        y = _Depthwise(size, self.stride, padding, name="depthwise_conv")(y)
        y = self.norm(activate=True, name="bn1")(y)
        y = _conv(self.stage.channels, dtype=self.dtype, name="project_conv")(y)
        y = self.norm(name="bn2")(y)
        return x + y if x.shape == y.shape else y


class _Depthwise(nn.Module):
    """A convolution of each channel by itself."""

    size: int
    stride: int
    padding: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", he, (self.size, self.size, 1, x.shape[-1]), jnp.float32)
        strides = (self.stride, self.stride)
        return depthwise(x, kernel.astype(x.dtype), strides, self.padding)


def _padding(size: int, same: bool) -> Any:
    return "SAME" if same else ((size // 2, size // 2),) * 2


def _conv(features: int, size: int = 1, stride: int = 1, **others: Any) -> nn.Conv:
    return Conv(
        features,
        (size, size),
        (stride, stride),
        use_bias=False,
        kernel_init=fan_out,
        **others,
    )
