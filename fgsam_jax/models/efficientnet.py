"""EfficientNet-Lite0 to 2 (Tan and Le, 2019; the lite forms of its authors' TPU repository).

EfficientNet without squeeze-and-excitation and with ReLU6. Stem, head and the number of blocks of
the first and last stage are those of Lite0 in every size. TensorFlow's: padding by the size of the
map, uneven at a stride of 2; normalisations of its own constants; images as (x - 127) / 128.
"""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fgsam_jax.errors import InputError
from fgsam_jax.models.inverted_residual import Stage, inverted_residuals
from fgsam_jax.models.norm import BatchNorm

_LITE0 = (
    Stage(1, 16, 1, 1, 3),
    Stage(6, 24, 2, 2, 3),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2, 3),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1, 3),
)


def _scaled(width: float, depth: float) -> tuple[Stage, ...]:
    """Lite0's stages with more channels, a multiple of 8, and more blocks."""

    def scaled(number: int, stage: Stage) -> Stage:
        wanted = width * stage.channels
        channels = int(wanted + 4) // 8 * 8
        channels += 8 if channels < 0.9 * wanted else 0
        inner = 0 < number < len(_LITE0) - 1
        blocks = math.ceil(depth * stage.blocks) if inner else stage.blocks
        return stage._replace(channels=channels, blocks=blocks)

    return tuple(scaled(number, stage) for number, stage in enumerate(_LITE0))


VARIANTS = {
    "efficientnet_lite0": _LITE0,
    "efficientnet_lite1": _scaled(1.0, 1.1),
    "efficientnet_lite2": _scaled(1.1, 1.2),
}


class EfficientNetLite(nn.Module):
    """Images to a feature map.

    Attributes:
      variant: one of `VARIANTS`.
      last_stride: 2, or 1 for a map of twice the height and width.
      dtype: of the computation; parameters and statistics stay in float32.
      axis_name: take batch statistics over all devices of this axis.
    """

    variant: str = "efficientnet_lite0"
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
          [batch, height / 32, width / 32, 1280], rounded up, with the published last stride.
        """
        if self.variant not in VARIANTS:
            known = ", ".join(VARIANTS)
            raise InputError(f"the EfficientNet is one of {known}; got {self.variant!r}")
        norm = partial(
            BatchNorm,
            train,
            ceiling=6.0,
            epsilon=1e-3,
            momentum=0.99,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        return inverted_residuals(
            ((images - 127.0) / 128.0).astype(self.dtype),
            VARIANTS[self.variant],
            last_stride=self.last_stride,
            same=True,
            norm=norm,
            dtype=self.dtype,
        )
