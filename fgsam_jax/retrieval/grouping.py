"""Crops of unknown people to groups, each most likely one person."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fgsam_jax.errors import InputError, check_arrays
from fgsam_jax.retrieval.rerank import jaccard_distances

ALONE = -1  # the group of crops that are like no other: junk, to an evaluation


class Groups(NamedTuple):
    """Groups of n crops.

    Attributes:
      group: [n] int, numbered from 1, the largest first; `ALONE` for crops that are in none.
      sureness: [n] float, silhouettes of the assignments (Rousseeuw, 1987), at most 1: below 0 a
        crop is nearer to another group than to its own; 0 for a crop that is alone.
    """

    group: NDArray[np.int64]
    sureness: NDArray[np.float64]


def group(descriptors: NDArray, *, crops_each: int = 10, radius: float = 0.5) -> Groups:
    """Groups of crops by density: DBSCAN on k-reciprocal Jaccard distances.

    Two crops that are at most a radius apart are of one group, and so are all that are linked by
    such pairs. The distances are those of the neighbourhoods, see `rerank.jaccard_distances`, which
    suit every model alike. Memory grows with the pairs that share a neighbour, time with n squared.

    Args:
      descriptors: [n, dim].
      crops_each: about how many crops a person has. It sets the size of the neighbourhoods: far too
        many join different people, far too few part one person's crops.
      radius: between 0 and 1; the larger, the fewer and the less pure groups.

    Raises:
      InputError: NaN or infinity among the rows, fewer than two crops each, or no such radius.

    Example:
      >>> random = np.random.default_rng(0)
      >>> people = np.repeat([0, 1, 2], [6, 4, 1])
      >>> rows = random.normal(size=(3, 8))[people] + 0.01 * random.normal(size=(11, 8))
      >>> group(rows, crops_each=4).group
      array([ 1,  1,  1,  1,  1,  1,  2,  2,  2,  2, -1])
    """
    # Late, as only this needs a second of imports.
    from sklearn.cluster import DBSCAN

    check_arrays("descriptors [n, dim]", descriptors)
    if not 0 < radius < 1:
        raise InputError(f"a radius is above 0 and below 1, got {radius}")
    if crops_each < 2:
        raise InputError(f"a person has at least 2 crops to be grouped, got {crops_each}")
    k1 = crops_each * 5 // 4
    distances = jaccard_distances(descriptors, k1=k1, k2=max(1, round(0.3 * k1)))
    found = DBSCAN(eps=radius, min_samples=2, metric="precomputed").fit_predict(distances)
    sizes = np.bincount(found[found >= 0])
    numbers = np.empty(len(sizes) + 1, np.int64)
    numbers[np.argsort(-sizes, kind="stable")] = np.arange(1, len(sizes) + 1)
    numbers[-1] = ALONE
    return Groups(numbers[found], _silhouettes(distances, found))


def _silhouettes(distances: csr_array, found: NDArray) -> NDArray[np.float64]:
    """Of each crop, with 1 for pairs that are not stored; scikit-learn's would take 0 for them.

    Args:
      distances: [n, n].
      found: [n], groups from 0, -1 for none.
    """
    grouped = np.flatnonzero(found >= 0)
    result = np.zeros(len(found))
    if not len(grouped):
        return result
    count, places = found.max() + 1, np.arange(len(grouped))
    member = csr_array((np.ones(len(grouped)), (grouped, found[grouped])), (len(found), count))
    likeness = distances.copy()
    likeness.data = 1 - likeness.data
    sums = (likeness[grouped] @ member).toarray()
    sizes = np.bincount(found[grouped])
    own = found[grouped]
    inside = 1 - (sums[places, own] - 1) / (sizes[own] - 1)
    means = 1 - sums / sizes
    means[places, own] = 1 if count == 1 else np.inf
    nearest = means.min(1)
    result[grouped] = (nearest - inside) / np.maximum(np.maximum(inside, nearest), 1e-12)
    return result
