"""Cross entropy of identities and attributes."""

import jax
import jax.numpy as jnp


def attribute_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    r"""Softmax cross entropy, Eq. (5): :math:`-\log p_y`, for identities and attributes.

    Args:
      logits: [batch, classes].
      labels: [batch] int; -1 means unlabelled.

    Returns:
      [batch], in float32 or wider; 0 where unlabelled.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    log_probabilities = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(log_probabilities, jnp.maximum(labels, 0)[:, None], axis=1)[:, 0]
    return jnp.where(labels >= 0, -chosen, 0)
