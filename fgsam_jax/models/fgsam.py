"""The models of the training phases: pose estimator, baseline, intermediate model and FGSAM.

Modules that carry over from one phase to the next have the same name and shape in both: `pose`,
`backbone`, the two normalisations, the sketches, `plenary` and `identity`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.labels.skeleton import PARTS
from fgsam_jax.models.dense import Dense, dense
from fgsam_jax.models.norm import unit_length
from fgsam_jax.models.parts import PartEmbedding, embed_parts
from fgsam_jax.models.pose_net import Pose

PLENARY = PARTS[-1]  # the whole body
_SMALL = nn.initializers.normal(0.001)  # of the classifiers' kernels


class Outputs(NamedTuple):
    """What a model gives; a field that a model lacks is empty.

    Attributes:
      embeddings: by branch, [batch, dim] float32, not normalised.
      identity: [batch, identities] logits.
      attributes: by name, [batch, classes] logits.
      pose: of the pose resolve net.
    """

    embeddings: dict[str, jax.Array]
    identity: jax.Array | None
    attributes: dict[str, jax.Array]
    pose: Pose | None


def descriptor(embeddings: dict[str, jax.Array]) -> jax.Array:
    """The vector that searches compare by Euclidean distance: all branches, each of length 1.

    Args:
      embeddings: by branch, [batch, dim].

    Returns:
      [batch, sum of dims] of length 1, so that distances lie in [0, 2].
    """
    branches = [unit_length(embeddings[name].astype(jnp.float32)) for name in sorted(embeddings)]
    return jnp.concatenate(branches, axis=-1) / len(branches) ** 0.5


class PoseEstimator(nn.Module):
    """Phase 0: the pose resolve net alone."""

    pose: nn.Module

    def __call__(self, images: jax.Array, *, train: bool = False) -> Outputs:
        """Images [batch, height, width, 3] RGB in 0..255 to `Outputs` with the pose."""
        del train
        return Outputs({}, None, {}, self.pose(images))


class Baseline(nn.Module):
    """Phase 1: the backbone, global average pooling and the identity classifier."""

    backbone: nn.Module
    identities: int

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> Outputs:
        """Images [batch, height, width, 3] RGB in 0..255 to one embedding and identity logits."""
        features = self.backbone(images, train=train)
        pooled = jnp.mean(features.astype(jnp.float32), axis=(1, 2))
        logits = _classifier(self.identities, "pooled_identity")(pooled)
        return Outputs({PLENARY: pooled}, logits, {}, None)


class Intermediate(nn.Module):
    """Phase 2: one fusion of the whole body, a 512-d embedding, all heads on it."""

    backbone: nn.Module
    pose: nn.Module
    fusion: nn.Module
    identities: int
    attributes: tuple[Attribute, ...]
    plenary_size: int = 512
    bnneck: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> Outputs:
        """Images [batch, height, width, 3] RGB in 0..255 to `Outputs` with one embedding."""
        pose = self.pose(images)
        fused = self.fusion(self.backbone(images, train=train), pose.parsed, train=train)
        whole = [PartEmbedding(self.plenary_size, self.bnneck, name=PLENARY)]
        how: Any = {"train": train, "axis_name": self.axis_name}
        (embedding,) = embed_parts(fused[:, -1:], whole, **how)
        logits = _answers(self.attributes, dict.fromkeys(PARTS, embedding))
        identity = _classifier(self.identities, "identity")(embedding)
        return Outputs({PLENARY: embedding}, identity, logits, pose)


class FGSAM(nn.Module):
    """Phase 3: locally reinforced alignment, six part branches and the plenary one (III-C)."""

    backbone: nn.Module
    pose: nn.Module
    fusion: nn.Module
    identities: int
    attributes: tuple[Attribute, ...]
    part_size: int = 256
    plenary_size: int = 512
    bnneck: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> Outputs:
        """Images [batch, height, width, 3] RGB in 0..255 to `Outputs` with seven embeddings."""
        pose = self.pose(images)
        fused = self.fusion(self.backbone(images, train=train), pose.parsed, train=train)
        parts = [PartEmbedding(self.part_size, self.bnneck, name=part) for part in PARTS[:-1]]
        whole = [PartEmbedding(self.plenary_size, self.bnneck, name=PLENARY)]
        how: Any = {"train": train, "axis_name": self.axis_name}
        found = embed_parts(fused[:, :-1], parts, **how) + embed_parts(fused[:, -1:], whole, **how)
        embeddings = dict(zip(PARTS, found, strict=True))
        logits = _answers(self.attributes, embeddings)
        identity = _classifier(self.identities, "identity")(embeddings[PLENARY])
        return Outputs(embeddings, identity, logits, pose)


def _answers(
    attributes: Sequence[Attribute], embeddings: dict[str, jax.Array]
) -> dict[str, jax.Array]:
    """Logits of each attribute, [batch, classes], from the embedding of its part."""
    if not attributes:
        return {}
    seen = [embeddings[a.part] for a in attributes]
    weights = [
        Dense(len(a.classes), kernel_init=_SMALL, name=f"attribute_{a.name}")(x.shape[-1])
        for a, x in zip(attributes, seen, strict=True)
    ]
    logits = dense(jnp.stack(seen), weights)
    return {a.name: x for a, x in zip(attributes, logits, strict=True)}


def _classifier(classes: int, name: str) -> nn.Dense:
    return nn.Dense(classes, kernel_init=_SMALL, name=name)
