"""What each phase minimises: outputs and batch to named scalar losses, and the signs of trouble.

The total is the plain sum, Eq. (11) with all weights 1. Every term is a mean over the batch, so
that the mean over devices is the term of the whole batch.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fgsam_jax import loss
from fgsam_jax.data.pose_targets import pose_targets
from fgsam_jax.models.fgsam import Outputs, unit_length
from fgsam_jax.models.pose import STRIDE

Batch = Mapping[str, jax.Array]


class Terms(NamedTuple):
    """The terms of the total, and figures to watch that are not part of it."""

    losses: dict[str, jax.Array]
    signs: dict[str, jax.Array]


def pose(outputs: Outputs, batch: Batch, *, sigma: float) -> Terms:
    """Eq. (3) and (4) of every stage.

    Args:
      outputs: with a pose.
      batch: "image" [batch, height, width, 3], "joints" [batch, people, 18, 3] in pixels and
        "mask" [batch, height / 8, width / 8], the weight W in 0..1.
      sigma: of the confidence maps, in pixels.
    """
    assert outputs.pose is not None
    height, width = batch["image"].shape[1:3]
    heat, affinity, known_heat, known_affinity = pose_targets(
        batch["joints"], height, width, stride=STRIDE, sigma=sigma
    )
    weight = batch["mask"][..., None]
    losses = {}
    for stage, (h, a) in enumerate(zip(outputs.pose.heat, outputs.pose.affinity, strict=True), 1):
        heat_error = loss.pose_error(h, heat, weight * known_heat[:, None, None])
        affinity_error = loss.pose_error(a, affinity, weight * known_affinity[:, None, None])
        losses[f"heat_{stage}"] = jnp.mean(heat_error)
        losses[f"affinity_{stage}"] = jnp.mean(affinity_error)
    # What an empty picture costs: a stage that does not fall below it has learned nothing.
    nothing = jnp.zeros_like(heat).at[..., -1].set(1)
    heat_empty = loss.pose_error(nothing, heat, weight * known_heat[:, None, None])
    zeros = jnp.zeros_like(affinity)
    affinity_empty = loss.pose_error(zeros, affinity, weight * known_affinity[:, None, None])
    signs = {"heat_empty": jnp.mean(heat_empty), "affinity_empty": jnp.mean(affinity_empty)}
    return Terms(losses, signs)


def recognition(
    outputs: Outputs,
    batch: Batch,
    *,
    triplet: str = "none",
    margin: float = 0.5,
    bound: float = 0.01,
    gamma: float = 2.0,
    mining: str = "hard",
    axis_name: str | None = None,
) -> Terms:
    """Identity, attribute and triplet losses, those that the outputs have.

    The baseline has an identity term; the intermediate model adds the attributes; FGSAM adds a
    triplet loss on each branch's embedding, brought to length 1.

    Args:
      outputs: of any of the three models.
      batch: "label" [batch], "attributes" {name: [batch]} with -1 for unlabelled.
      triplet: "none", "triplet" (plain) or "focal".
      margin: alpha.
      bound: beta, of the focal loss.
      gamma: of the focal loss.
      mining: "hard" or "all".
      axis_name: mine over all devices of this axis.

    Returns:
      The terms; as signs, for each branch the mean distance to the hardest positive and negative,
      the share of active triplets and the mean weight lambda. A branch that collapses shows
      d_ap and d_an near each other and near 0. For each head, the share of right answers.
    """
    assert outputs.identity is not None
    labels = batch["label"]
    losses = {"identity": jnp.mean(loss.attribute_cross_entropy(outputs.identity, labels))}
    right = jnp.argmax(outputs.identity, -1) == labels
    signs = {"identity_right": jnp.mean(right, dtype=jnp.float32)}
    for name, logits in outputs.attributes.items():
        cross_entropy = loss.attribute_cross_entropy(logits, batch["attributes"][name])
        losses[f"attribute/{name}"] = jnp.mean(cross_entropy)
    if triplet == "none":
        return Terms(losses, signs)
    for name, embedding in outputs.embeddings.items():
        unit = unit_length(embedding.astype(jnp.float32))
        if triplet == "focal":
            each = loss.focal_triplet(
                unit,
                labels,
                margin=margin,
                bound=bound,
                gamma=gamma,
                mining=mining,
                axis_name=axis_name,
            )
        else:
            each = loss.triplet(unit, labels, margin=margin, mining=mining, axis_name=axis_name)
        losses[f"triplet/{name}"] = jnp.mean(each)
        hardest = loss.hardest_triplets(unit, labels, axis_name=axis_name)
        gap = hardest.d_ap - hardest.d_an
        signs[f"d_ap/{name}"] = jnp.mean(hardest.d_ap)
        signs[f"d_an/{name}"] = jnp.mean(hardest.d_an)
        signs[f"active/{name}"] = jnp.mean(hardest.valid & (gap + margin > 0), dtype=jnp.float32)
        signs[f"lambda/{name}"] = jnp.mean(jnp.maximum(gap + 1, 1))
    return Terms(losses, signs)
