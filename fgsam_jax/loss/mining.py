"""Distances of embeddings, and the mining of triplets inside a batch."""

from collections.abc import Callable
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
      The distances; both are 0 where an anchor has no positive or no negative. All others are NaN
      if one row of the batch has a NaN.

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


def _candidates(
    embeddings: jax.Array, identities: jax.Array, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
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


def mined(
    loss: Callable, embeddings: jax.Array, identities: jax.Array, mining: str, axis_name: str | None
) -> jax.Array:
    """The loss of each anchor's hardest triplet, or its mean over all triplets of the anchor.

    Args:
      loss: of d_ap and d_an, two arrays of one shape.
      embeddings: [batch, dim].
      identities: [batch] int.
      mining: "hard" or "all".
      axis_name: mine over all devices of this axis.

    Returns:
      [batch]; 0 for an anchor without a triplet.

    Raises:
      InputError: another mining.

    Example:
      >>> x = jnp.array([[0.0], [1.0], [3.0]])
      >>> print(mined(lambda d_ap, d_an: d_an - d_ap, x, jnp.array([0, 0, 1]), "hard", None))
      [2. 1. 0.]
    """
    if mining == "hard":
        hardest = hardest_triplets(embeddings, identities, axis_name=axis_name)
        return jnp.where(hardest.valid, loss(hardest.d_ap, hardest.d_an), 0)
    if mining == "all":
        distances, positive, negative = _candidates(embeddings, identities, axis_name)
        triplets = positive[:, :, None] & negative[:, None, :]
        losses = loss(distances[:, :, None], distances[:, None, :])
        return jnp.sum(losses, axis=(1, 2), where=triplets) / jnp.maximum(
            jnp.sum(triplets, axis=(1, 2)), 1
        )
    raise InputError(f'mining is "hard" or "all", not {mining!r}')
