"""Gradients of a batch, whole or in pieces."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def whole_gradients(
    apply: Callable, total: Callable, params: Any, stats: Any, images: jax.Array
) -> tuple[jax.Array, Any, Any, Any]:
    """Loss, terms, new batch statistics and gradients of a batch.

    Args:
      apply: parameters, batch statistics and images to `Outputs` and new batch statistics.
      total: outputs of the whole batch to the loss and its terms.
      params: to differentiate by.
      stats: before.
      images: [batch, height, width, 3].
    """

    def run(params: Any) -> tuple[jax.Array, tuple[Any, Any]]:
        outputs, after = apply(params, stats, images)
        loss, terms = total(outputs)
        return loss, (terms, after)

    (loss, (terms, after)), gradients = jax.value_and_grad(run, has_aux=True)(params)
    return loss, terms, after, gradients


def pieced_gradients(
    apply: Callable, total: Callable, params: Any, stats: Any, images: jax.Array, *, pieces: int
) -> tuple[jax.Array, Any, Any, Any]:
    """`whole_gradients` in the memory of a piece, for a second forward pass.

    The outputs of all pieces are made first and the loss is differentiated with respect to them,
    so that triplets are mined in the whole batch; then each piece is run again and its part of
    that gradient is pulled back (Gao et al., "Scaling Deep Contrastive Learning Batch Size under
    Memory Limited Setup", 2021). The numbers are those of the whole batch, except that batch
    normalisation sees one piece at a time.
    """
    cut = images.reshape(pieces, -1, *images.shape[1:])
    outputs = jax.lax.map(lambda x: apply(params, stats, x)[0], cut)
    joined = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)
    (loss, terms), pulls = jax.value_and_grad(total, has_aux=True)(joined)
    pulls = jax.tree.map(lambda x: x.reshape(pieces, -1, *x.shape[1:]), pulls)

    def add(carry: tuple[Any, Any], piece: tuple[Any, Any]) -> tuple[Any, None]:
        stats, sums = carry
        part, pull = piece
        _, back, stats = jax.vjp(lambda p: apply(p, stats, part), params, has_aux=True)
        return (stats, jax.tree.map(jnp.add, sums, back(pull)[0])), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    (stats, gradients), _ = jax.lax.scan(add, (stats, zeros), (cut, pulls))
    return loss, terms, stats, gradients
