"""The pose resolve net: OpenPose's first three stages with channel parse blocks (section III-A).

Layer names and shapes are those of OpenPose's COCO body net, so that its published weights can be
loaded. Its first stream (L1) gives the part affinity fields, its second (L2) the part confidence
maps; the paper calls them S2 and S1.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import AFFINITY_CHANNELS, HEAT_CHANNELS, STRIDE
from fgsam_jax.models.conv import Conv, he, relu, small
from fgsam_jax.models.pooling import max_pool

_STAGES = 3

# (name, channels), with pooling between the groups.
_TRUNK = (
    (("conv1_1", 64), ("conv1_2", 64)),
    (("conv2_1", 128), ("conv2_2", 128)),
    (("conv3_1", 256), ("conv3_2", 256), ("conv3_3", 256), ("conv3_4", 256)),
    (("conv4_1", 512), ("conv4_2", 512), ("conv4_3_CPM", 256), ("conv4_4_CPM", 128)),
)


class Pose(NamedTuple):
    """What the pose resolve net gives.

    Attributes:
      affinity: for each stage, [batch, height / 8, width / 8, 38], two channels for each limb.
      heat: for each stage, [batch, height / 8, width / 8, 19], the last is the background.
      parsed: [batch, height / 8, width / 8, 57], the last stage's affinity and heat maps as the
        last channel parse block weighs them; this is what the re-identification model sees.
    """

    affinity: tuple[jax.Array, ...]
    heat: tuple[jax.Array, ...]
    parsed: jax.Array


class ChannelParseBlock(nn.Module):
    """Weighs the channels of a map by what the whole map shows: squeeze and excite by 1x1 convs.

    .. math:: x \\cdot g(W_2 \\, \\mathrm{relu}(W_1 \\, \\bar x + b_1) + b_2)

    Attributes:
      reduction: the hidden layer has channels / reduction units, but at least 16: so many for the
        185 and 57 channels of the published net, more only where `PoseResolveNet.width` is 1.68 or
        above.
      dtype: of the computation.
    """

    reduction: int = 16
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, height, width, channels] to the same shape."""
        channels = x.shape[-1]
        y = jnp.mean(x, axis=(1, 2), keepdims=True)
        y = Conv(max(channels // self.reduction, 16), (1, 1), dtype=self.dtype, name="squeeze")(y)
        y = Conv(
            channels,
            (1, 1),
            kernel_init=nn.initializers.zeros,
            dtype=self.dtype,
            name="excite",
        )(relu(y))
        return x * (2 * nn.sigmoid(y))


class PoseResolveNet(nn.Module):
    """Images to part confidence maps and part affinity fields, at an eighth of their size.

    Attributes:
      width: factor on the channels of the hidden layers; 1 is the published net.
      kernel: size of the large kernels of stages 2 and 3; 7 is the published net.
      parse: with channel parse blocks (Table V is without).
      dtype: of the computation.
    """

    width: float = 1.0
    kernel: int = 7
    parse: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> Pose:
        """Pose of RGB images [batch, height, width, 3] in 0..255; both sizes divisible by 8."""
        height, width = images.shape[1:3]
        if height % STRIDE or width % STRIDE:
            raise InputError(
                f"the pose net needs sizes divisible by {STRIDE}, got {height}x{width}"
            )
        features = self._trunk((images[..., ::-1] / 256.0 - 0.5).astype(self.dtype))
        affinity = [self._first_stage(features, 1, AFFINITY_CHANNELS)]
        heat = [self._first_stage(features, 2, HEAT_CHANNELS)]
        for stage in range(2, _STAGES + 1):
            x = jnp.concatenate([affinity[-1], heat[-1], features], axis=-1)
            x = self._parse(x, f"CPB{stage - 1}")
            affinity.append(self._later_stage(x, stage, 1, AFFINITY_CHANNELS))
            heat.append(self._later_stage(x, stage, 2, HEAT_CHANNELS))
        parsed = self._parse(jnp.concatenate([affinity[-1], heat[-1]], axis=-1), "CPB3")
        return Pose(tuple(affinity), tuple(heat), parsed)

    def _conv(self, features: int, size: int, name: str, *, hidden: bool = True) -> nn.Conv:
        if hidden:
            features = max(int(features * self.width), 8)
        return Conv(
            features,
            (size, size),
            kernel_init=he if hidden else small,
            dtype=self.dtype,
            name=name,
        )

    def _parse(self, x: jax.Array, name: str) -> jax.Array:
        return ChannelParseBlock(dtype=self.dtype, name=name)(x) if self.parse else x

    def _trunk(self, x: jax.Array) -> jax.Array:
        """The first ten layers of VGG-19 and two more: F_p, stride 8."""
        for group, layers in enumerate(_TRUNK):
            if group:
                x = max_pool(x, 2, 2)
            for name, features in layers:
                x = relu(self._conv(features, 3, name)(x))
        return x

    def _first_stage(self, x: jax.Array, stream: int, channels: int) -> jax.Array:
        for layer in (1, 2, 3):
            x = relu(self._conv(128, 3, f"conv5_{layer}_CPM_L{stream}")(x))
        x = relu(self._conv(512, 1, f"conv5_4_CPM_L{stream}")(x))
        return self._conv(channels, 1, f"conv5_5_CPM_L{stream}", hidden=False)(x)

    def _later_stage(self, x: jax.Array, stage: int, stream: int, channels: int) -> jax.Array:
        suffix = f"stage{stage}_L{stream}"
        for layer in range(1, 6):
            x = relu(self._conv(128, self.kernel, f"Mconv{layer}_{suffix}")(x))
        x = relu(self._conv(128, 1, f"Mconv6_{suffix}")(x))
        return self._conv(channels, 1, f"Mconv7_{suffix}", hidden=False)(x)


def is_parse_block(path: tuple[str, ...]) -> bool:
    """Whether a parameter of this path belongs to a channel parse block."""
    return any(name.startswith("CPB") for name in path)
