"""ResNet-18 to -152 (He et al., 2016) without pooling and classifier, in their published forms.

As torchvision builds them: the stride sits on the 3x3 convolution and every padding is symmetric.
As He et al. published them for Caffe: the stride on the first 1x1 convolution, a pooling that
rounds up, blue before red. IBN-a (Pan et al., "Two at Once", 2018): half of the channels of a
block's first normalisation are normalised by image. fast-reid's: torchvision's or IBN-a with
Caffe's pooling. And reid-strong-baseline's, which lacks the first ReLU. Each agrees with its
origin to rounding, so weights trained elsewhere give the same numbers here. Module names follow
torchvision's: conv1, bn1, layer1_0.conv1, layer1_0.downsample_conv.
"""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fgsam_jax.models.norm import BatchNorm
from fgsam_jax.models.pooling import max_pool
from fgsam_jax.models.resnet_blocks import Basic, Bottleneck, conv

# depth: (blocks of the four stages, bottleneck or basic). 10 is for small models.
STAGES = {
    10: ((1, 1, 1, 1), False),
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
# Of RGB in 0..1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_CAFFE_MEAN = np.array([103.939, 116.779, 123.68], np.float32)  # blue, green, red


class Form(NamedTuple):
    """What a published ResNet does unlike torchvision's."""

    caffe: bool = False  # the stride on the first 1x1; blue, green, red in 0..255 minus the mean
    ceil: bool = False  # the pooling rounds the size up and pads at the end alone
    ibn: bool = False  # IBN-a
    stem_relu: bool = True


# Names of the published forms: (depth, form).
VARIANTS = {f"resnet{depth}": (depth, Form()) for depth in STAGES}
VARIANTS |= {f"resnet{d}_caffe": (d, Form(caffe=True, ceil=True)) for d in (50, 101, 152)}
VARIANTS |= {f"resnet{d}_ibn_a": (d, Form(ibn=True)) for d in (50, 101)}
VARIANTS |= {f"resnet{d}_fastreid": (d, Form(ceil=True)) for d in (18, 34, 50, 101)}
VARIANTS |= {f"resnet{d}_fastreid_ibn_a": (d, Form(ceil=True, ibn=True)) for d in (50, 101)}
VARIANTS |= {
    f"resnet{d}_strong_baseline": (d, Form(stem_relu=False)) for d in (18, 34, 50, 101, 152)
}


class ResNet(nn.Module):
    """Images to a feature map.

    Attributes:
      variant: one of `VARIANTS`; resnet10 is for small models.
      width: channels of the first stage; 64 is the published one.
      stem: "imagenet" (7x7 stride 2, then max pooling, stride 4 in all) or "small" (3x3 stride 2).
      last_stride: 2, or 1 for a map of twice the height and width.
      dtype: of the computation; parameters and statistics stay in float32.
      axis_name: take batch statistics over all devices of this axis.
    """

    variant: str = "resnet50"
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
        depth, form = VARIANTS[self.variant]
        blocks, bottleneck = STAGES[depth]
        norm = partial(BatchNorm, train, dtype=self.dtype, axis_name=self.axis_name)
        x = (_caffe_input if form.caffe else torchvision_input)(images).astype(self.dtype)
        if self.stem == "imagenet":
            x = conv(self.width, 7, 2, self.dtype, "conv1")(x)
        else:
            x = conv(self.width, 3, 2, self.dtype, "conv1")(x)
        x = norm(activate=form.stem_relu, name="bn1")(x)
        if self.stem == "imagenet":
            x = _pool(x, form.ceil)
        for stage, count in enumerate(blocks):
            for index in range(count):
                stride = (1, 2, 2, self.last_stride)[stage] if index == 0 else 1
                shared: dict[str, Any] = {
                    "features": self.width * 2**stage,
                    "stride": stride,
                    "norm": norm,
                    "dtype": self.dtype,
                    "name": f"layer{stage + 1}_{index}",
                }
                if bottleneck:
                    # IBN-a leaves the last stage as it is.
                    ibn = form.ibn and stage < 3
                    x = Bottleneck(caffe=form.caffe, ibn=ibn, **shared)(x)
                else:
                    x = Basic(**shared)(x)
        return x


def torchvision_input(images: jax.Array) -> jax.Array:
    """RGB images in 0..255 as torchvision's models want them."""
    mean, std = (np.array(x, np.float32) for x in (IMAGENET_MEAN, IMAGENET_STD))
    return (images / 255.0 - mean) / std


def _caffe_input(images: jax.Array) -> jax.Array:
    return images[..., ::-1] * 1.0 - _CAFFE_MEAN


def _pool(x: jax.Array, ceil: bool) -> jax.Array:
    """3x3 with stride 2; Caffe rounds the size up and pads at the end alone."""
    padding = [(0, (size - 3) % 2) if ceil else (1, 1) for size in x.shape[1:3]]
    return max_pool(x, 3, 2, padding)
