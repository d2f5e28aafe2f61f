"""Appearance x pose by compact bilinear pooling, part by part (section III-B)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fgsam_jax.bilinear import CountSketch, compact_bilinear_parts, make_sketch, usual_load
from fgsam_jax.errors import InputError
from fgsam_jax.labels.skeleton import POSE_CHANNELS, part_channels
from fgsam_jax.models.norm import BatchNorm, unit_length


class Fusion(nn.Module):
    """Appearance x pose by compact bilinear pooling, for each part and for the whole body.

    Attributes:
      size: of the count sketch, d.
      method: of `fgsam_jax.bilinear.compact_bilinear`.
      dtype: of the maps that enter the matrix product; transforms and norms are float32.
      axis_name: take batch statistics over all devices of this axis.
    """

    size: int = 4096
    method: str = "gram"
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, features: jax.Array, pose: jax.Array, *, train: bool) -> jax.Array:
        """Fused features of each part.

        Args:
          features: [batch, h, w, channels].
          pose: [batch, h k, w k, 57], k a whole number.
          train: use and update batch statistics.

        Returns:
          [batch, 7, size] float32, in the order of `skeleton.PARTS`.
        """
        batch, height, width, channels = features.shape
        pose = _average_pool_to(pose.astype(jnp.float32), height, width)
        features = self._norm(train, "features_norm")(features)  # Eq. (6)
        pose = self._norm(train, "pose_norm")(pose)  # Eq. (7) and (8)
        fused = compact_bilinear_parts(
            features.reshape(batch, -1, channels),
            pose.reshape(batch, -1, POSE_CHANNELS),
            part_channels(),
            self._sketch("features", channels),
            self._sketch("pose", POSE_CHANNELS),
            method=self.method,
        )
        # The slope at 0 is 1 / (2 sqrt(offset)). The entries are of order 1; an offset of
        # 1e-6 would magnify their rounding 500 times, and devices would drift apart.
        offset = 1e-3
        fused = jnp.sign(fused) * (jnp.sqrt(jnp.abs(fused) + offset) - offset**0.5)
        # Root mean square 1, not length 1: with entries of 1 / sqrt(size) the dense layers after it
        # hardly move (docs/results.md, "Scale of the fused vector").
        return unit_length(fused) * self.size**0.5

    def _norm(self, train: bool, name: str) -> BatchNorm:
        how: Any = {"affine": False, "two_pass": True, "dtype": self.dtype}
        return BatchNorm(train, axis_name=self.axis_name, **how, name=name)

    def _sketch(self, name: str, channels: int) -> CountSketch:
        """The tables live in the collection `constants`, so that a checkpoint holds them."""
        drawn: dict[str, CountSketch] = {}

        def draw(field: str) -> jax.Array:
            if name not in drawn:
                drawn[name] = make_sketch(self.make_rng("params"), channels, self.size)
            return getattr(drawn[name], field)

        bins = self.variable("constants", f"{name}_bins", draw, "bins")
        signs = self.variable("constants", f"{name}_signs", draw, "signs")
        load = usual_load(channels, self.size)
        return CountSketch(bins.value, signs.value, self.size, load)


def _average_pool_to(maps: jax.Array, height: int, width: int) -> jax.Array:
    """Average pooling of [batch, h k, w k, channels] to [batch, h, w, channels]."""
    if maps.shape[1] % height or maps.shape[2] % width:
        raise InputError(
            f"the pose maps of {maps.shape[1]}x{maps.shape[2]} cells cannot be averaged to the "
            f"backbone's {height}x{width}: choose an image size, stem and last stride that divide"
        )
    window = (maps.shape[1] // height, maps.shape[2] // width)
    return nn.avg_pool(maps, window, window)
