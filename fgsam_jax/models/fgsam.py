"""The models of the training phases: pose estimator, baseline, intermediate model and FGSAM.

Modules that carry over from one phase to the next have the same name and shape in both: `pose`,
`backbone`, the two normalisations, the sketches, `plenary` and `identity`.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.labels.skeleton import PARTS
from fgsam_jax.models.dense import Dense, dense
from fgsam_jax.models.norm import BatchNorm
from fgsam_jax.models.outputs import PLENARY, Outputs, Vectors
from fgsam_jax.models.parts import PartEmbedding, embed_parts
from fgsam_jax.models.pooling import GeneralisedMean

_SMALL = nn.initializers.normal(0.001)  # of the classifiers' kernels


class PoseEstimator(nn.Module):
    """Phase 0: the pose resolve net alone."""

    pose: nn.Module

    def __call__(self, images: jax.Array, *, train: bool = False) -> Outputs:
        """Images [batch, height, width, 3] RGB in 0..255 to `Outputs` with the pose."""
        del train
        return Outputs({}, None, {}, self.pose(images))


class Baseline(nn.Module):
    """Phase 1: the backbone, global pooling and the identity classifier.

    Attributes:
      pooling: "mean" or "gem", see `GeneralisedMean`.
      neck: normalise the pooled vector over the batch, without scale or bias, before a classifier
        without a bias (Luo et al., "Bag of Tricks", 2019; theirs has a scale).
    """

    backbone: nn.Module
    identities: int
    pooling: str = "mean"
    neck: bool = False
    vectors: Vectors = Vectors()
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, freeze_backbone: bool = False
    ) -> Outputs:
        """Images [batch, height, width, 3] RGB in 0..255 to one embedding and identity logits."""
        features = _features(self.backbone, images, train, freeze_backbone)
        features = features.astype(jnp.float32)
        if self.pooling == "gem":
            pooled = GeneralisedMean(name="pooling")(features)
        else:
            pooled = jnp.mean(features, axis=(1, 2))
        after = pooled
        if self.neck:
            how: Any = {"affine": False, "two_pass": True, "axis_name": self.axis_name}
            after = BatchNorm(train, **how, name="neck")(pooled)
        logits = _classifier(self.identities, "pooled_identity", use_bias=not self.neck)(after)
        return self.vectors.outputs({PLENARY: pooled}, {PLENARY: after}, logits, {}, None)


class Intermediate(nn.Module):
    """Phase 2: one fusion of the whole body, a 512-d embedding, all heads on it."""

    backbone: nn.Module
    pose: nn.Module
    fusion: nn.Module
    identities: int
    attributes: tuple[Attribute, ...]
    plenary_size: int = 512
    bnneck: bool = True
    vectors: Vectors = Vectors()
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, freeze_backbone: bool = False
    ) -> Outputs:
        """Images [batch, height, width, 3] RGB in 0..255 to `Outputs` with one embedding."""
        pose = self.pose(images)
        features = _features(self.backbone, images, train, freeze_backbone)
        fused = self.fusion(features, pose.parsed, train=train)
        whole = [PartEmbedding(self.plenary_size, self.bnneck, name=PLENARY)]
        how: Any = {"train": train, "axis_name": self.axis_name}
        (before,), (after,) = embed_parts(fused[:, -1:], whole, **how)
        logits = _answers(self.attributes, dict.fromkeys(PARTS, after))
        identity = _classifier(self.identities, "identity")(after)
        return self.vectors.outputs({PLENARY: before}, {PLENARY: after}, identity, logits, pose)


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
    vectors: Vectors = Vectors()
    part_identities: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, freeze_backbone: bool = False
    ) -> Outputs:
        """Images [batch, height, width, 3] RGB in 0..255 to `Outputs` with seven embeddings."""
        pose = self.pose(images)
        features = _features(self.backbone, images, train, freeze_backbone)
        fused = self.fusion(features, pose.parsed, train=train)
        parts = [PartEmbedding(self.part_size, self.bnneck, name=part) for part in PARTS[:-1]]
        whole = [PartEmbedding(self.plenary_size, self.bnneck, name=PLENARY)]
        how: Any = {"train": train, "axis_name": self.axis_name}
        found = embed_parts(fused[:, :-1], parts, **how), embed_parts(fused[:, -1:], whole, **how)
        before, after = (
            dict(zip(PARTS, some + last, strict=True)) for some, last in zip(*found, strict=True)
        )
        logits = _answers(self.attributes, after)
        identity = _classifier(self.identities, "identity")(after[PLENARY])
        outputs = self.vectors.outputs(before, after, identity, logits, pose)
        if not self.part_identities:
            return outputs
        people = {
            part: _classifier(self.identities, f"identity_{part}")(after[part])
            for part in PARTS[:-1]
        }
        return outputs._replace(part_identity=people)


def _features(backbone: nn.Module, images: jax.Array, train: bool, freeze: bool) -> jax.Array:
    """The backbone's map; frozen, as in use, and nothing before it is differentiated."""
    features = backbone(images, train=train and not freeze)
    return jax.lax.stop_gradient(features) if freeze else features


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


def _classifier(classes: int, name: str, *, use_bias: bool = True) -> nn.Dense:
    return nn.Dense(classes, use_bias, kernel_init=_SMALL, name=name)
