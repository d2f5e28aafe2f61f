"""Cross entropy of identities and attributes."""

import jax
import jax.numpy as jnp

from fgsam_jax.errors import check_arrays
from fgsam_jax.settings import in_any_program


@in_any_program
def attribute_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    smoothing: float = 0.0,
    shares: jax.Array | None = None,
) -> jax.Array:
    r"""Softmax cross entropy, Eq. (5): :math:`-\log p_y`, for identities and attributes.

    Args:
      logits: [batch, classes].
      labels: [batch] int; -1 means unlabelled.
      smoothing: of the labels (Szegedy et al., "Rethinking the Inception Architecture for Computer
        Vision", 2016): the target is 1 - smoothing of the label and smoothing of a distribution u,
        :math:`-(1 - s) \log p_y - s \sum_k u_k \log p_k`.
      shares: u, [classes], of sum 1; None: all classes alike.

    Returns:
      [batch], in float32 or wider; 0 where unlabelled, NaN for a label beyond the classes or where
      a logit or a share is NaN. A mean over the batch therefore weighs a labelled example the
      same, whatever share of the batch is labelled.

    Raises:
      InputError: other shapes, one-hot labels among them, or labels that are no whole numbers.

    Example:
      >>> logits = jnp.array([[0.0, 0.0], [0.0, 200.0], [5.0, 1.0]])
      >>> print(attribute_cross_entropy(logits, jnp.array([1, 0, -1])).round(4))
      [  0.6931 200.       0.    ]
      >>> print(attribute_cross_entropy(logits[1:2], jnp.array([1]), smoothing=0.1))
      [10.]
      >>> shares = jnp.array([0.9, 0.1])
      >>> print(attribute_cross_entropy(logits[1:2], jnp.array([1]), smoothing=0.1, shares=shares))
      [18.]
    """
    check_arrays("logits [batch, classes], labels int [batch]", logits, labels)
    if shares is not None:
        check_arrays("logits [batch, classes], shares [classes]", logits, shares)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    log_probabilities = jax.nn.log_softmax(logits)
    # By comparison: the gradient of an index is a scatter, which a GPU adds in no fixed order.
    classes = logits.shape[-1]
    right = labels[:, None] == jnp.arange(classes)
    chosen = jnp.sum(jnp.where(right, log_probabilities, 0), axis=-1)
    if smoothing:
        if shares is None:
            spread = jnp.mean(log_probabilities, axis=-1)
        else:  # a class of share 0 may have the probability 0
            spread = jnp.sum(jnp.where(shares == 0, 0, shares * log_probabilities), axis=-1)
        chosen = (1 - smoothing) * chosen + smoothing * spread
    return jnp.where(labels < 0, 0, jnp.where(labels < classes, -chosen, jnp.nan))
