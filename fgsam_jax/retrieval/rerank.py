r"""k-reciprocal re-ranking on sparse rows (Zhong et al., CVPR 2017).

"Re-ranking Person Re-identification with k-reciprocal Encoding". Of all images, queries and
gallery together, with d the squared Euclidean distance over the greatest one of p:

.. math::
  R(p, k) &= \{q : q \in N(p, k) \text{ and } p \in N(q, k)\} \\
  R^*(p) &= R(p, k_1) \cup \bigcup_q R(q, k_1 / 2), \quad q \in R(p, k_1)
      \text{ with } |R(p, k_1) \cap R(q, k_1 / 2)| > \tfrac23 |R(q, k_1 / 2)| \\
  V_{pq} &\propto e^{-d(p, q)} \text{ for } q \in R^*(p), \text{ else } 0; \quad
      \sum_q V_{pq} = 1, \text{ then the mean over } N(p, k_2) \\
  d_J(p, g) &= 1 - \frac{\sum_q \min(V_{pq}, V_{gq})}{\sum_q \max(V_{pq}, V_{gq})}, \quad
      d^* = (1 - \lambda) d_J + \lambda d

N(p, k) are p itself and its k nearest others for :math:`k_1`, :math:`k_1 / 2`; p and its
:math:`k_2 - 1` nearest for :math:`k_2`. This is what the authors' program computes, where the paper
has >= for > and Mahalanobis for Euclidean distances. Their program holds several dense matrices of
all images by all images; here only the nearest neighbours and the few non-zero :math:`V_{pq}` are.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from fgsam_jax.errors import check_arrays
from fgsam_jax.metrics.counting import even_parts
from fgsam_jax.metrics.distances import Frame, Targets
from fgsam_jax.metrics.inputs import whole
from fgsam_jax.metrics.neighbours import nearest, pair_distances

_ROWS = 64  # of queries at a time


class Reranked:
    """The re-ranked distances of queries to a gallery, worked out for the queries asked for.

    It is indexed by a slice of the queries, as a matrix is: `metrics.evaluate_distances` scores it
    without ever holding all of it.

    Attributes:
      shape: (queries, gallery).
      dtype: float32.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        query_rows: NDArray,
        gallery_rows: NDArray,
        *,
        k1: int = 20,
        k2: int = 6,
        weight: float = 0.3,
    ):
        """Find the neighbours of all images; see `rerank`."""
        needed = "query_rows [queries, dim], gallery_rows [gallery, dim]"
        check_arrays(needed, query_rows, gallery_rows)
        frame = Frame.around(query_rows, gallery_rows)
        self._targets = Targets(gallery_rows, frame)
        self.shape = len(query_rows), len(gallery_rows)
        self._queries, self._weight = query_rows, weight
        encodings, farthest = _encodings(np.concatenate([query_rows, gallery_rows]), k1, k2)
        self._encodings, self._columns = encodings, csc_array(encodings)
        self._farthest = farthest[: len(query_rows)] * frame.scale**2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, queries: slice) -> NDArray[np.float32]:
        """The distances of some queries, [some, gallery]."""
        rows = range(*queries.indices(len(self)))
        plain, shift, _ = self._targets.shifted_distances(self._queries[queries], np.float32)
        plain += shift[:, None].astype(np.float32)
        farthest = self._farthest[queries]
        plain *= (1 / np.where(farthest > 0, farthest, np.inf)).astype(np.float32)[:, None]
        for place, row in enumerate(rows):
            jaccard = _jaccard(self._encodings, self._columns, row)[len(self) :]
            plain[place] = (1 - self._weight) * jaccard + self._weight * plain[place]
        return np.maximum(plain, 0, out=plain)


def rerank(
    query_rows: NDArray,
    gallery_rows: NDArray,
    *,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
) -> NDArray[np.float32]:
    """Distances of queries to a gallery by k-reciprocal re-ranking.

    Images that share neighbours come nearer. The result for a query depends on all other queries
    and on the whole gallery, so it is of use inside one call alone. Beside rows and result it
    takes some tens of MB; the result is what grows with queries x gallery, see `Reranked`.

    Args:
      query_rows: [queries, dim] descriptors.
      gallery_rows: [gallery, dim], without junk.
      k1: neighbours that must be mutual.
      k2: neighbours whose encodings are averaged, the image itself among them; 1 averages none.
      weight: of the original distance, lambda.

    Returns:
      [queries, gallery], from 0 to 1, smaller is more alike.

    Raises:
      InputError: NaN or infinity among the rows, shapes that do not fit, or a k below 1.

    Example:
      >>> query, gallery = np.array([[0.0]]), np.array([[9.0], [1.0], [2.0], [8.0]])
      >>> print(rerank(query, gallery, k1=2, k2=1).round(2))
      [[1.   0.02 0.05 0.94]]
    """
    found = Reranked(query_rows, gallery_rows, k1=k1, k2=k2, weight=weight)
    result = np.empty(found.shape, np.float32)
    for some in even_parts(slice(0, len(found)), _ROWS):
        result[some] = found[some]
    return result


def jaccard_distances(rows: NDArray, *, k1: int = 20, k2: int = 6) -> csr_array:
    """The Jaccard distances of the encodings of all pairs of images that share a neighbour.

    Args:
      rows: [n, dim] descriptors.
      k1: see `rerank`.
      k2: see `rerank`.

    Returns:
      [n, n] float64, sparse; pairs that are not stored are at distance 1, an image to itself at 0.

    Raises:
      InputError: NaN or infinity among the rows.

    Example:
      >>> found = jaccard_distances(np.array([[0.0], [1.0], [5.0], [6.0]]), k1=1, k2=1)
      >>> print(found.tocoo().coords[1], found.data.round(2))  # two pairs of neighbours
      [0 1 0 1 2 3 2 3] [0.   0.03 0.03 0.   0.   0.03 0.03 0.  ]
    """
    encodings, _ = _encodings(rows, k1, k2)
    columns, stored = csc_array(encodings), []
    for row in range(len(rows)):
        distances = _jaccard(encodings, columns, row)
        others = np.flatnonzero(distances < 1)
        stored.append((others, distances[others]))
    starts = np.cumsum([0, *(len(others) for others, _ in stored)])
    indices, data = (np.concatenate(x) for x in zip(*stored, strict=True))
    return csr_array((data, indices, starts), shape=encodings.shape)


def _encodings(rows: NDArray, k1: int, k2: int) -> tuple[csr_array, NDArray[np.float64]]:
    """V [n, n] of all images, and [n] the greatest squared distance of each."""
    k1, k2 = whole("k1", k1, 1), whole("k2", k2, 1)
    columns, _, farthest = nearest(rows, rows, min(k1 + 1, len(rows)))
    columns = _self_first(columns)
    mutual, core = _mutual(columns), _mutual(columns[:, : round(k1 / 2) + 1])
    shared = csr_array(mutual * (mutual @ core))  # core is symmetric
    sizes = core.sum(axis=1)
    shared.data = 3 * shared.data > 2 * sizes[shared.indices]
    shared.eliminate_zeros()
    places = csr_array(mutual + shared.astype(np.int32) @ core).tocoo()
    distances = pair_distances(rows, rows, places.row, places.col)
    weights = np.exp(-distances / np.where(farthest > 0, farthest, 1)[places.row])
    weights /= np.bincount(places.row, weights)[places.row]
    encodings = csr_array((weights, (places.row, places.col)), shape=places.shape)
    some = columns[:, :k2]
    return csr_array(_listed(some) @ encodings) / some.shape[1], farthest


def _self_first(columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each image as its own nearest, also where others are as near."""
    own = np.arange(len(columns))[:, None]
    # Where it is not in the list, it takes the last place.
    columns[:, -1:] = np.where((columns == own).any(axis=1, keepdims=True), columns[:, -1:], own)
    order = np.argsort(columns != own, axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def _listed(columns: NDArray[np.int64]) -> csr_array:
    """[n, n] with ones at the columns that are listed for each row [n, k]."""
    count, k = columns.shape
    starts = np.arange(0, count * k + 1, k)
    ones = np.ones(count * k, np.int32)
    return csr_array((ones, columns.ravel(), starts), shape=(count, count))


def _mutual(columns: NDArray[np.int64]) -> csr_array:
    """[n, n] with ones where two images are in each other's list, of [n, k]."""
    listed = _listed(columns)
    return csr_array(listed * listed.T)


def _jaccard(encodings: csr_array, columns: csc_array, row: int) -> NDArray[np.float64]:
    """[n], the distances of one image's encoding to all. Each sums to 1, so max = 2 - min."""
    own = slice(encodings.indptr[row], encodings.indptr[row + 1])
    places, values = encodings.indices[own], encodings.data[own]
    starts = columns.indptr[places]
    lengths = columns.indptr[places + 1] - starts
    ends = np.cumsum(lengths)
    entries = np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1])
    least = np.minimum(np.repeat(values, lengths), columns.data[entries])
    shared = np.bincount(columns.indices[entries], least, minlength=encodings.shape[1])
    return np.maximum(1 - shared / (2 - shared), 0)
