"""Ranks of the positives of many queries, found by counting.

1. The rank of a positive is its place among the positives plus the number of negatives before it.
2. The distances of some queries to some negatives are sorted, and a binary search of each positive
   in them gives the number of negatives that are certainly closer.
3. Those nearer to it than their bound of error are measured exactly and compared one by one; at
   equal distance the earlier column is before.
4. Counts of several parts of the gallery add up, so that nothing grows with gallery x queries.
5. Threads share the queries. Every count is a whole number that no order of work can change.

No more is needed, since all scores of a query follow from the ranks of its few positives.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fgsam_jax.errors import InputError
from fgsam_jax.metrics.counting import Hits, Ranks, earlier, even_parts, in_order, inside, look_up
from fgsam_jax.metrics.distances import Frame, Targets, squared_distances
from fgsam_jax.metrics.protocol import Protocol

# These bound the memory; the ranks do not depend on them.
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
TILE_BYTES = 32 * 2**20
_GALLERY_BYTES = 16 * 2**20


def of_distances(matrix: NDArray, protocol: Protocol) -> Iterator[Ranks]:
    """Ranks by given distances, compared as they are.

    Args:
      matrix: [queries, gallery] with the junk still in; read block by block, it may be on disk
        or worked out when indexed.
      protocol: of the same queries and gallery.

    Yields:
      The ranks of one block of queries after the other.

    Raises:
      InputError: NaN among them, once all have been seen.

    Example:
      >>> protocol = Protocol([1], [1], [2, 1, 1], [2, 2, 2], "keep")
      >>> (found,) = of_distances(np.array([[0.1, 0.2, 0.3]]), protocol)
      >>> found.ranks  # of the second and the third column, behind the first
      array([2, 3])
    """
    dtype = np.result_type(matrix.dtype, np.float32)
    unusable = np.zeros(len(matrix), bool)

    def work(queries: slice) -> Ranks:
        given = matrix[queries]
        # The greatest of a row is NaN if any is.
        unusable[queries] = np.isnan(given.max(axis=1))
        everything = len(protocol.kept) == given.shape[1]
        # A copy in any case, as some are hidden in it.
        tile = (given if everything else given.take(protocol.kept, axis=1)).astype(dtype)
        rows, columns = protocol.positives(queries)
        hits = in_order(rows, columns, tile[rows, columns], len(tile))
        protocol.hide(tile, queries)
        before, not_after = look_up(tile, hits.starts, hits.distances, hits.distances)
        for hit in np.flatnonzero(not_after > before):
            tied = tile[hits.rows[hit], : hits.columns[hit]] == hits.distances[hit]
            before[hit] += np.count_nonzero(tied)
        return hits.ranks(before, before, np.zeros(len(before), np.int64))

    size = TILE_BYTES // 8 // THREADS // (dtype.itemsize * matrix.shape[1])
    with ThreadPoolExecutor(THREADS) as pool, threadpool_limits(1, "blas"):
        for block in protocol.blocks():
            found = list(pool.map(work, even_parts(block, size)))
            yield Ranks(*(np.concatenate(x) for x in zip(*found, strict=True)))
    if unusable.any():
        raise InputError(
            f"Distances of {unusable.sum()} of {len(matrix)} queries contain NaN: "
            f"look for the cause in the embeddings they were computed from."
        )


def of_embeddings(
    queries: NDArray,
    gallery: NDArray,
    protocol: Protocol,
    groups: NDArray[np.int64] | None = None,
) -> Iterator[Ranks]:
    """Ranks by the exact Euclidean distance, most of them found without computing it.

    Args:
      queries: [queries, dim].
      gallery: [gallery, dim] with the junk still in.
      protocol: of the same queries and gallery.
      groups: [columns], the group of each, from 0, within which positives are ranked too; None:
        all are one.

    Yields:
      The ranks of one block of queries after the other.

    Raises:
      InputError: NaN or infinity among them.

    Example:
      >>> protocol = Protocol([1], [1], [2, 1, 1], [2, 2, 2], "keep")
      >>> (found,) = of_embeddings(np.zeros((1, 2)), np.eye(3, 2), protocol)
      >>> found.ranks  # the third is at distance 0; the first two tie, and the first is no positive
      array([1, 3])
    """
    frame = Frame.around(queries, gallery)
    columns = max(1, _GALLERY_BYTES // (4 * gallery.shape[1]))
    rows = TILE_BYTES // THREADS // (4 * min(columns, len(gallery)))
    groups = np.zeros(len(protocol.kept), np.int64) if groups is None else groups
    members = [np.flatnonzero(groups == group) for group in range(groups.max(initial=0) + 1)]
    parts = [
        (group, some)
        for group, each in enumerate(members)
        for some in even_parts(slice(0, len(each)), columns)
    ]
    # Every thread multiplies for itself: a library's own threads would wait for one another.
    with ThreadPoolExecutor(THREADS) as pool, threadpool_limits(1, "blas"):
        for block in protocol.blocks():
            hits = _measured(queries, gallery, protocol, block)
            own = groups[hits.columns]
            before, within = np.zeros((2, len(own)), np.int64)
            for group, some in parts:
                part = members[group][some]
                targets = Targets(gallery[protocol.kept[part]], frame)
                count = partial(_before, queries, hits, block.start, targets, part, protocol)
                found = np.concatenate(list(pool.map(count, even_parts(block, rows, THREADS))))
                before += found
                within += np.where(own == group, found, 0)
            yield hits.ranks(before, within, own)


def _measured(queries: NDArray, gallery: NDArray, protocol: Protocol, block: slice) -> Hits:
    """The positives of a block of queries, at their exact distances.

    Args:
      queries: [queries, dim], all of them.
      gallery: [gallery, dim].
      protocol: of both.
      block: a slice of the queries.
    """
    rows, columns = protocol.positives(block)
    distances = np.empty(len(rows))
    for some in even_parts(slice(0, len(rows)), 256):
        distances[some] = squared_distances(
            queries[block.start + rows[some]], gallery[protocol.kept[columns[some]]]
        )
    return in_order(rows, columns, distances, block.stop - block.start)


def _before(
    queries: NDArray,
    hits: Hits,
    first: int,
    targets: Targets,
    part: NDArray[np.int64],
    protocol: Protocol,
    some: slice,
) -> NDArray[np.int64]:
    """How many negatives among some columns are before each positive of some queries.

    Args:
      queries: [queries, dim], all of them.
      hits: the positives of queries from `first` on.
      first: see `hits`.
      targets: the embeddings of the columns.
      part: the columns, rising.
      protocol: who is a negative.
      some: the queries.

    Returns:
      [positives of these queries].
    """
    hits = hits.part(slice(some.start - first, some.stop - first))
    for dtype in (np.float32, np.float64):
        tile, shift, slack = targets.shifted_distances(queries[some], dtype)
        protocol.hide(tile, some, part)
        aim, wide = targets.scaled(hits.distances) - shift[hits.rows], slack[hits.rows]
        lower, upper = (aim - wide).astype(dtype), (aim + wide).astype(dtype)
        sure, possible = look_up(tile, hits.starts, lower, upper)
        # Many doubts are cheaper to settle by a second, finer product.
        if np.sum(possible - sure) * 64 < tile.size:
            break
    unsure = possible > sure
    for row in np.unique(hits.rows[unsure]):
        own = slice(hits.starts[row], hits.starts[row + 1])
        near = unsure[own]
        doubtful = inside(tile[row], lower[own][near], upper[own][near])
        exact = targets.exact(queries[some.start + row], doubtful)
        # Those of them that were counted as surely before another positive are counted anew.
        sure[own] -= np.searchsorted(np.sort(tile[row, doubtful]), lower[own])
        sure[own] += earlier(exact, part[doubtful], hits.distances[own], hits.columns[own])
    return sure
