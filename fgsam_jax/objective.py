"""What each phase minimises: outputs and batch to named losses and metrics.

The total is the plain sum of the losses, Eq. (11), each times its weight, 1 in the paper. Every
term is a mean over the batch, so that the mean over devices is the term of the whole batch.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fgsam_jax import loss
from fgsam_jax.labels.pose_targets import pose_targets
from fgsam_jax.labels.skeleton import STRIDE
from fgsam_jax.models.norm import unit_length
from fgsam_jax.models.outputs import Outputs

Batch = Mapping[str, jax.Array]


class Terms(NamedTuple):
    """The terms of the total, and figures to watch that are not part of it."""

    losses: dict[str, jax.Array]
    metrics: dict[str, jax.Array]


class Weights(NamedTuple):
    """What each term of a kind is multiplied by."""

    identity: float = 1.0
    attribute: float = 1.0
    triplet: float = 1.0


EQUAL = Weights()


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
    # The error of predicting nothing: a stage that does not fall below it has learned nothing.
    nothing = jnp.zeros_like(heat).at[..., -1].set(1)
    heat_zero = loss.pose_error(nothing, heat, weight * known_heat[:, None, None])
    zeros = jnp.zeros_like(affinity)
    affinity_zero = loss.pose_error(zeros, affinity, weight * known_affinity[:, None, None])
    metrics = {"heat_zero": jnp.mean(heat_zero), "affinity_zero": jnp.mean(affinity_zero)}
    return Terms(losses, metrics)


def recognition(
    outputs: Outputs,
    batch: Batch,
    *,
    triplet: str = "none",
    margin: float = 0.5,
    bound: float = 0.01,
    gamma: float = 2.0,
    mining: str = "hard",
    smoothing: float = 0.0,
    attribute_smoothing: float = 0.0,
    weights: Weights = EQUAL,
    taught: tuple[str, ...] = (),
    axis_name: str | None = None,
) -> Terms:
    """Identity, attribute and triplet losses, those that the outputs have.

    The baseline has an identity term; the intermediate model adds the attributes; FGSAM has a
    triplet loss on each branch's vector, brought to length 1. Where each part has an identity
    classifier, each has a term.

    Args:
      outputs: of any of the three models.
      batch: "label" [batch], "attributes" {name: [batch]} with -1 for unlabelled.
      triplet: "none", "triplet" (plain) or "focal".
      margin: alpha.
      bound: beta, of the focal loss.
      gamma: of the focal loss.
      mining: "hard" or "all".
      smoothing: the share of an identity's target that is spread over all identities alike.
      attribute_smoothing: the share of an attribute's target that is spread over its classes as
        they are among the labelled images of the whole batch, of all devices.
      weights: of the terms.
      taught: the attributes that have a term; empty: all.
      axis_name: mine and count over all devices of this axis.

    Returns:
      The terms; as metrics, for each branch the mean distance to the hardest positive and negative,
      the share of active triplets and the mean weight lambda. A branch that collapses shows
      d_ap and d_an near each other and near 0. For the identity head, its accuracy.
    """
    assert outputs.identity is not None
    labels = batch["label"]

    def identity(logits: jax.Array) -> jax.Array:
        return jnp.mean(loss.attribute_cross_entropy(logits, labels, smoothing=smoothing))

    losses = {"identity": identity(outputs.identity)}
    for part, logits in (outputs.part_identity or {}).items():
        losses[f"identity/{part}"] = identity(logits)
    correct = jnp.argmax(outputs.identity, -1) == labels
    metrics = {"identity_accuracy": jnp.mean(correct, dtype=jnp.float32)}
    attributes = {k: x for k, x in outputs.attributes.items() if not taught or k in taught}
    if attributes:
        cross_entropies = _attribute_losses(
            attributes, batch["attributes"], attribute_smoothing, axis_name
        )
        losses |= {f"attribute/{name}": x for name, x in cross_entropies.items()}
    if triplet == "none":
        return Terms(_weighted(losses, weights), metrics)
    options: Any = {"mining": mining, "axis_name": axis_name, "margin": margin}
    each: Callable = {
        "triplet": functools.partial(loss.triplet, **options),
        "focal": functools.partial(loss.focal_triplet, bound=bound, gamma=gamma, **options),
    }[triplet]

    def of_branch(embedding: jax.Array) -> dict[str, jax.Array]:
        unit = unit_length(embedding.astype(jnp.float32))
        hardest = loss.hardest_triplets(unit, labels, axis_name=axis_name)
        gap = hardest.d_ap - hardest.d_an
        return {
            "triplet": jnp.mean(each(unit, labels)),
            "d_ap": jnp.mean(hardest.d_ap),
            "d_an": jnp.mean(hardest.d_an),
            "active": jnp.mean(hardest.valid & (gap + margin > 0), dtype=jnp.float32),
            "lambda": jnp.mean(jnp.maximum(gap + 1, 1)),
        }

    vectors = outputs.embeddings if outputs.triplet is None else outputs.triplet
    for name, figures in _each_branch(of_branch, vectors).items():
        losses[f"triplet/{name}"] = figures.pop("triplet")
        metrics |= {f"{figure}/{name}": value for figure, value in figures.items()}
    return Terms(_weighted(losses, weights), metrics)


def _weighted(losses: dict[str, jax.Array], weights: Weights) -> dict[str, jax.Array]:
    """Each term times the weight of its kind, which its name begins with."""
    factor = {name: weights._asdict()[name.partition("/")[0]] for name in losses}
    return {name: x if factor[name] == 1 else factor[name] * x for name, x in losses.items()}


def _attribute_losses(
    logits: Batch, labels: Any, smoothing: float, axis_name: str | None
) -> dict[str, jax.Array]:
    """The mean cross entropy of each head, of all heads in one computation.

    Args:
      logits: by name, [batch, classes].
      labels: by name, [batch].
      smoothing: of the labels, by the classes' shares among the labelled.
      axis_name: of the devices that hold the batch.
    """
    classes = max(x.shape[1] for x in logits.values())
    # Classes that a head lacks have the probability 0.
    padded = [
        jnp.pad(x, ((0, 0), (0, classes - x.shape[1])), constant_values=-jnp.inf)
        for x in logits.values()
    ]
    answers = jnp.stack([labels[name] for name in logits])
    shares = None
    if smoothing:
        counts = jnp.sum(answers[..., None] == jnp.arange(classes), axis=1, dtype=jnp.float32)
        counts = counts if axis_name is None else jax.lax.psum(counts, axis_name)
        shares = counts / jnp.maximum(jnp.sum(counts, axis=-1, keepdims=True), 1)
    cross_entropy = functools.partial(loss.attribute_cross_entropy, smoothing=smoothing)
    each = jax.vmap(cross_entropy)(jnp.stack(padded), answers, shares=shares)
    return dict(zip(logits, jnp.mean(each, axis=1), strict=True))


def _each_branch(
    measure: Callable[[jax.Array], dict[str, jax.Array]], embeddings: Batch
) -> dict[str, dict[str, jax.Array]]:
    """measure(embedding) of every branch, of those of one size in one computation."""
    by_size: dict[int, list[str]] = {}
    for name, embedding in embeddings.items():
        by_size.setdefault(embedding.shape[1], []).append(name)
    found = {}
    for names in by_size.values():
        figures = jax.vmap(measure)(jnp.stack([embeddings[name] for name in names]))
        for place, name in enumerate(names):
            found[name] = {figure: values[place] for figure, values in figures.items()}
    return {name: found[name] for name in embeddings}
