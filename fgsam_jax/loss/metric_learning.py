"""Triplet losses on embeddings, with mining inside the batch."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fgsam_jax.errors import InputError, check_arrays
from fgsam_jax.settings import in_any_program


@in_any_program
def pairwise_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    r"""Euclidean distance of every row of x to every row of y, :math:`\lVert x_i - y_j \rVert_2`.

    The differences are taken before they are squared: the cheaper :math:`|x|^2 + |y|^2 - 2xy`
    cancels in float32 and gave -0.5 where 0.002 was true. The gradient at distance 0 is 0.

    Args:
      x: [n, dim].
      y: [m, dim].

    Returns:
      [n, m], in float32 or wider; NaN wherever one of the two rows has a NaN.

    Raises:
      InputError: rows of different length, or other shapes.

    Example:
      >>> print(pairwise_distance(jnp.array([[0.0, 0.0], [3.0, 0.0]]), jnp.array([[0.0, 4.0]])))
      [[4.]
       [5.]]
    """
    check_arrays("x [n, dim], y [m, dim]", x, y)
    x, y = (array.astype(jnp.promote_types(array.dtype, jnp.float32)) for array in (x, y))
    squared = jnp.sum(jnp.square(x[:, None] - y[None]), axis=-1)
    apart = squared != 0  # and not > 0, which would hide NaN
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1)), 0)


class Triplets(NamedTuple):
    """The hardest triplet of each anchor, each field [batch].

    Attributes:
      d_ap: distance to the furthest image of the same identity, the anchor itself excluded.
      d_an: distance to the nearest image of another identity.
      valid: bool, whether the anchor has both; where it has not, both distances are 0.
    """

    d_ap: jax.Array
    d_an: jax.Array
    valid: jax.Array


@in_any_program
def hardest_triplets(
    embeddings: jax.Array, identities: jax.Array, *, axis_name: str | None = None
) -> Triplets:
    """Batch-hard mining (Hermans et al., "In Defense of the Triplet Loss", 2017).

    Args:
      embeddings: [batch, dim].
      identities: [batch] int.
      axis_name: mine over all devices of this axis.

    Returns:
      The distances; both are 0 where an anchor has no positive or no rival. Of the others all are
      NaN as soon as one row of the batch has a NaN.

    Raises:
      InputError: other shapes, or identities that are no whole numbers.

    Example:
      >>> x = jnp.array([[0.0], [1.0], [4.0], [9.0]])
      >>> mined = hardest_triplets(x, jnp.array([0, 0, 1, 2]))
      >>> print(mined.d_ap, mined.d_an, mined.valid)
      [1. 1. 0. 0.] [4. 3. 0. 0.] [ True  True False False]
    """
    distances, positive, negative = _candidates(embeddings, identities, axis_name)
    valid = positive.any(axis=1) & negative.any(axis=1)
    d_ap = jnp.max(distances, axis=1, where=positive, initial=0)
    d_an = jnp.min(distances, axis=1, where=negative, initial=jnp.inf)
    return Triplets(jnp.where(valid, d_ap, 0), jnp.where(valid, d_an, 0), valid)


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
      [batch]; 0 for an anchor with no positive or no rival in the batch, NaN for all others if one
      row of the batch has a NaN.

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

    return _mined(loss, embeddings, identities, mining, axis_name)


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
      [batch]; 0 for an anchor with no positive or no rival in the batch, NaN for all others if one
      row of the batch has a NaN.

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

    return _mined(loss, embeddings, identities, mining, axis_name)


def _candidates(embeddings, identities, axis_name):
    """Distances of this device's anchors to every row, and which rows are positives, negatives."""
    check_arrays("embeddings [batch, dim], identities int [batch]", embeddings, identities)
    anchors = jnp.arange(len(identities))
    others, other_identities = embeddings, identities
    if axis_name is not None:
        anchors += jax.lax.axis_index(axis_name) * len(identities)
        others = jax.lax.all_gather(embeddings, axis_name, tiled=True)
        other_identities = jax.lax.all_gather(identities, axis_name, tiled=True)
    same = identities[:, None] == other_identities[None]
    itself = anchors[:, None] == jnp.arange(len(other_identities))[None]
    return pairwise_distance(embeddings, others), same & ~itself, ~same


def _mined(loss, embeddings, identities, mining, axis_name):
    """The loss of each anchor's hardest triplet, or its mean over all triplets of the anchor."""
    if mining == "hard":
        mined = hardest_triplets(embeddings, identities, axis_name=axis_name)
        return jnp.where(mined.valid, loss(mined.d_ap, mined.d_an), 0)
    if mining == "all":
        distances, positive, negative = _candidates(embeddings, identities, axis_name)
        triplets = positive[:, :, None] & negative[:, None, :]
        losses = loss(distances[:, :, None], distances[:, None, :])
        return jnp.sum(losses, axis=(1, 2), where=triplets) / jnp.maximum(
            jnp.sum(triplets, axis=(1, 2)), 1
        )
    raise InputError(f'mining is "hard" or "all", not {mining!r}')
