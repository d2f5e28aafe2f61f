"""Gradients of a batch, at once or accumulated over micro-batches."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fgsam_jax.models.outputs import Outputs
from fgsam_jax.objective import Terms
from fgsam_jax.training.state import Tree

# Parameters, batch statistics and images to outputs and new batch statistics.
Apply = Callable[[Tree, Tree, jax.Array], tuple[Outputs, Tree]]
# Outputs of the whole batch to the loss and its terms.
Total = Callable[[Outputs], tuple[jax.Array, Terms]]
# Loss, terms, new batch statistics and gradients.
LossAndGradients = tuple[jax.Array, Terms, Tree, Tree]


def batch_gradients(
    apply: Apply, total: Total, params: Tree, stats: Tree, images: jax.Array
) -> LossAndGradients:
    """Loss, terms, new batch statistics and gradients of a batch.

    Args:
      apply: maps parameters, batch statistics and images to `Outputs` and new batch statistics.
      total: maps outputs of the whole batch to the loss and its terms.
      params: parameters to differentiate with respect to.
      stats: batch statistics before.
      images: [batch, height, width, 3].
    """

    def run(params: Tree) -> tuple[jax.Array, tuple[Terms, Tree]]:
        outputs, after = apply(params, stats, images)
        loss, terms = total(outputs)
        return loss, (terms, after)

    (loss, (terms, after)), gradients = jax.value_and_grad(run, has_aux=True)(params)
    return loss, terms, after, gradients


def accumulated_gradients(
    apply: Apply, total: Total, params: Tree, stats: Tree, images: jax.Array, *, micro_batches: int
) -> LossAndGradients:
    """`batch_gradients` in the memory of one micro-batch, at the cost of a second forward pass.

    The loss is differentiated with respect to the outputs of all micro-batches, so that triplets
    are mined in the whole batch; then each micro-batch is run again and its cotangents are pulled
    back (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup",
    2021). The numbers are those of the whole batch, except that batch normalisation sees one
    micro-batch at a time.
    """
    parts = images.reshape(micro_batches, -1, *images.shape[1:])
    outputs = jax.lax.map(lambda x: apply(params, stats, x)[0], parts)
    joined = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)
    (loss, terms), cotangents = jax.value_and_grad(total, has_aux=True)(joined)
    cotangents = jax.tree.map(lambda x: x.reshape(micro_batches, -1, *x.shape[1:]), cotangents)

    def add(
        carry: tuple[Tree, Tree], micro_batch: tuple[jax.Array, Outputs]
    ) -> tuple[tuple[Tree, Tree], None]:
        stats, sums = carry
        part, cotangent = micro_batch
        _, pull_back, stats = jax.vjp(lambda p: apply(p, stats, part), params, has_aux=True)
        return (stats, jax.tree.map(jnp.add, sums, pull_back(cotangent)[0])), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    (stats, gradients), _ = jax.lax.scan(add, (stats, zeros), (parts, cotangents))
    return loss, terms, stats, gradients
