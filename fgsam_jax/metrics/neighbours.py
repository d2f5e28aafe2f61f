"""The nearest gallery rows of each query, exact ones, in bounded memory.

As in `ranking`, a float32 matrix product settles all but what is nearer to the last place than
its rounding error; that is measured by differences. So the neighbours are those of exact float64
distances, ties by gallery order, whatever the threads and the BLAS library.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fgsam_jax.metrics.counting import even_parts
from fgsam_jax.metrics.distances import Frame, Targets, squared_distances
from fgsam_jax.metrics.ranking import THREADS, TILE_BYTES

_PAIRS = 256  # rows that are measured at a time


class Neighbours(NamedTuple):
    """The k nearest gallery rows of some queries.

    Attributes:
      columns: [queries, k] int, the nearest first.
      distances: [queries, k] float64, squared.
      farthest: [queries] float64, the squared distance of the row that is farthest away.
    """

    columns: NDArray[np.int64]
    distances: NDArray[np.float64]
    farthest: NDArray[np.float64]


def nearest(queries: NDArray, gallery: NDArray, k: int) -> Neighbours:
    """The k nearest rows of a gallery by Euclidean distance.

    Args:
      queries: [queries, dim].
      gallery: [gallery, dim].
      k: from 1 to the number of gallery rows.

    Raises:
      InputError: NaN or infinity among them.

    Example:
      >>> found = nearest(np.zeros((1, 1)), np.array([[3.0], [-1.0], [1.0]]), 2)
      >>> found.columns, found.distances, found.farthest
      (array([[1, 2]]), array([[1., 1.]]), array([9.]))
    """
    targets = Targets(gallery, Frame.around(queries, gallery))
    parts = even_parts(slice(0, len(queries)), TILE_BYTES // THREADS // (4 * len(gallery)), THREADS)
    with ThreadPoolExecutor(THREADS) as pool, threadpool_limits(1, "blas"):
        found = pool.map(partial(_nearest, queries, gallery, targets, k), parts)
        return Neighbours(*(np.concatenate(x) for x in zip(*found, strict=True)))


def _nearest(
    queries: NDArray, gallery: NDArray, targets: Targets, k: int, some: slice
) -> Neighbours:
    for dtype in (np.float32, np.float64):
        tile, _, slack = targets.shifted_distances(queries[some], dtype)
        last = np.partition(tile, k - 1, axis=1)[:, k - 1]
        possible = tile <= (last + 2 * slack).astype(dtype)[:, None]
        # Many doubts are cheaper to settle by a second, finer product.
        if np.count_nonzero(possible) < 16 * k * len(tile):
            break
    columns, distances = np.empty((len(tile), k), np.int64), np.empty((len(tile), k))
    for row, query in enumerate(queries[some]):
        places = np.flatnonzero(possible[row])
        exact = targets.exact(query, places)
        first = np.argsort(exact, kind="stable")[:k]
        columns[row], distances[row] = places[first], exact[first]
    farthest = squared_distances(queries[some], gallery[tile.argmax(axis=1)])
    return Neighbours(columns, distances, farthest)


def pair_distances(
    x: NDArray, y: NDArray, rows: NDArray[np.integer], columns: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Exact squared distances of listed pairs.

    Args:
      x: [n, dim].
      y: [m, dim].
      rows: [pairs] int, of x.
      columns: [pairs] int, of y.

    Returns:
      [pairs].

    Example:
      >>> pair_distances(np.zeros((1, 2)), np.eye(2), np.array([0, 0]), np.array([1, 0]))
      array([1., 1.])
    """
    result = np.empty(len(rows))

    def work(some: slice) -> None:
        result[some] = squared_distances(x[rows[some]], y[columns[some]])

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, even_parts(slice(0, len(rows)), _PAIRS)))
    return result
