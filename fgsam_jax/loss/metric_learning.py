"""Triplet losses on embeddings, with mining inside the batch."""

import jax
import jax.numpy as jnp

from fgsam_jax.errors import check_arrays
from fgsam_jax.loss.mining import mined
from fgsam_jax.settings import in_any_program


@in_any_program
def focal_triplet(
    embeddings: jax.Array,
    identities: jax.Array,
    *,
    margin: float = 0.5,
    bound: float = 0.01,
    gamma: float = 2.0,
    mining: str = "hard",
    axis_name: str | None = None,
) -> jax.Array:
    r"""Focal triplet loss of each anchor, Eq. (10).

    .. math::
      \lambda^\gamma \max(d_{ap} - d_{an} + \alpha, 0) + \max(d_{ap} - \beta, 0),
      \quad \lambda = \max(d_{ap} - d_{an} + 1, 1)

    The weight :math:`\lambda^\gamma` is differentiated too, as the focal loss does it.

    Args:
      embeddings: [batch, dim]; the model gives rows of length 1, so that distances lie in [0, 2]
        and the weight in [1, 3^gamma].
      identities: [batch] int.
      margin: alpha, by how much the positive must be nearer than the negative.
      bound: beta, the distance allowed inside one identity.
      gamma: exponent that weighs hard triplets; 0 weighs all alike.
      mining: "hard" takes the furthest positive and the nearest negative of each anchor, "all"
        averages over all valid triplets of the anchor.
      axis_name: mine over all devices of this axis.

    Returns:
      [batch]; 0 for an anchor with no positive or no negative in the batch, NaN for all others if
      one row of the batch has a NaN.

    Raises:
      InputError: another mining than these two, embeddings or identities of other shapes,
        identities that are no whole numbers, or an option that is no single number.

    Example:
      >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
      >>> print(focal_triplet(x, jnp.array([0, 1, 0, 1])))  # each twin coincides, others are far
      [0. 0. 0. 0.]
      >>> x = jnp.array([[0.0], [1.0], [1.5]])  # the second anchor has lambda = 1.5
      >>> print(focal_triplet(x, jnp.array([0, 0, 1]), bound=0.0))
      [1.   3.25 0.  ]
    """

    check_arrays("margin [], bound [], gamma []", margin, bound, gamma)

    def loss(d_ap: jax.Array, d_an: jax.Array) -> jax.Array:
        weight = jnp.maximum(d_ap - d_an + 1, 1) ** gamma
        return weight * jax.nn.relu(d_ap - d_an + margin) + jax.nn.relu(d_ap - bound)

    return mined(loss, embeddings, identities, mining, axis_name)


@in_any_program
def triplet(
    embeddings: jax.Array,
    identities: jax.Array,
    *,
    margin: float = 0.5,
    mining: str = "hard",
    axis_name: str | None = None,
) -> jax.Array:
    r"""Plain triplet loss of each anchor, Eq. (9): :math:`\max(d_{ap} - d_{an} + \alpha, 0)`.

    Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015.
    It ends where every positive is nearer than every negative by the margin, however far apart an
    identity's own images still are: the second term of `focal_triplet` mends that.

    Args:
      embeddings: [batch, dim].
      identities: [batch] int.
      margin: alpha, by how much the positive must be nearer than the negative.
      mining: "hard" or "all", as for `focal_triplet`.
      axis_name: mine over all devices of this axis.

    Returns:
      [batch]; 0 for an anchor with no positive or no negative in the batch, NaN for all others if
      one row of the batch has a NaN.

    Raises:
      InputError: another mining than these two, embeddings or identities of other shapes,
        identities that are no whole numbers, or an option that is no single number.

    Example:
      >>> x = jnp.array([[0.0], [1.0], [1.25], [9.0]])
      >>> print(triplet(x, jnp.array([0, 0, 1, 2])))
      [0.25 1.25 0.   0.  ]
    """

    check_arrays("margin []", margin)

    def loss(d_ap: jax.Array, d_an: jax.Array) -> jax.Array:
        return jax.nn.relu(d_ap - d_an + margin)

    return mined(loss, embeddings, identities, mining, axis_name)
