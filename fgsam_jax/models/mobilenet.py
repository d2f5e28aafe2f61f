"""MobileNetV2 x1.0 (Sandler et al., 2018) in torchvision's form."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fgsam_jax.models.inverted_residual import Stage, inverted_residuals
from fgsam_jax.models.norm import BatchNorm
from fgsam_jax.models.resnet import torchvision_input

VARIANTS = {
    "mobilenet_v2": (
        Stage(1, 16, 1, 1),
        Stage(6, 24, 2, 2),
        Stage(6, 32, 3, 2),
        Stage(6, 64, 4, 2),
        Stage(6, 96, 3, 1),
        Stage(6, 160, 3, 2),
        Stage(6, 320, 1, 1),
    )
}


class MobileNetV2(nn.Module):
    """Images to a feature map.

    Attributes:
      last_stride: 2, or 1 for a map of twice the height and width.
      dtype: of the computation; parameters and statistics stay in float32.
      axis_name: take batch statistics over all devices of this axis.
    """

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
        norm = partial(BatchNorm, train, ceiling=6.0, dtype=self.dtype, axis_name=self.axis_name)
        return inverted_residuals(
            torchvision_input(images).astype(self.dtype),
            VARIANTS["mobilenet_v2"],
            last_stride=self.last_stride,
            same=False,
            norm=norm,
            dtype=self.dtype,
        )
