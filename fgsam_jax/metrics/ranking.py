"""Ranks of the positives of many queries, found by counting.

1. The rank of a positive is its place among the positives plus the number of negatives before it.
2. The distances of some queries to some negatives are sorted, without their columns, and every
   positive is looked up in them: so many are surely before it.
3. Those nearer to it than their bound of error are measured exactly and compared one by one; at
   equal distance the earlier column is before.
4. Counts of several parts of the gallery add up, so that nothing grows with gallery x queries.
5. Threads share the queries. Every count is a whole number that no order of work can change.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fgsam_jax.errors import InputError
from fgsam_jax.metrics.distances import Frame, Targets, squared_distances
from fgsam_jax.metrics.protocol import Protocol

# These bound the memory; the ranks do not depend on them.
_THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_TILE_BYTES = 32 * 2**20
_GALLERY_BYTES = 16 * 2**20
_SORT_BYTES = 2**19


class Ranks(NamedTuple):
    """Ranks of the positives of some queries.

    Attributes:
      counts: [queries], how many positives each has.
      ranks: [positives], from 1, query after query and rising within each.
    """

    counts: NDArray[np.int64]
    ranks: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Hits:
    """Positives by query, and within each in the order of their distances and columns.

    Attributes:
      starts: [queries + 1], where each query's positives begin.
      rows: [positives], the query of each.
      columns: [positives].
      distances: [positives], exact.
    """

    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    distances: NDArray

    def part(self, queries: slice) -> "_Hits":
        """The positives of some queries alone."""
        starts = self.starts[queries.start : queries.stop + 1]
        own = slice(starts[0], starts[-1])
        rows = self.rows[own] - queries.start
        return _Hits(starts - starts[0], rows, self.columns[own], self.distances[own])

    def ranks(self, before: NDArray[np.int64]) -> Ranks:
        """From [positives], the number of negatives before each."""
        place = np.arange(len(before)) - self.starts[self.rows]
        return Ranks(np.diff(self.starts), before + place + 1)


def of_distances(matrix: NDArray, protocol: Protocol) -> Iterator[Ranks]:
    """Ranks by given distances, [queries, gallery] with the junk still in.

    Raises:
      InputError: NaN among them, once all have been seen.
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
        hits = _in_order(rows, columns, tile[rows, columns], len(tile))
        protocol.hide(tile, queries, slice(0, len(protocol.kept)))
        before, not_after = _look_up(tile, hits.starts, hits.distances, hits.distances)
        for hit in np.flatnonzero(not_after > before):
            tied = tile[hits.rows[hit], : hits.columns[hit]] == hits.distances[hit]
            before[hit] += np.count_nonzero(tied)
        return hits.ranks(before)

    size = _TILE_BYTES // 8 // _THREADS // (dtype.itemsize * matrix.shape[1])
    with ThreadPoolExecutor(_THREADS) as pool:
        for block in protocol.blocks():
            found = list(pool.map(work, _parts(block, size)))
            yield Ranks(*(np.concatenate(x) for x in zip(*found, strict=True)))
    if unusable.any():
        raise InputError(
            f"Distances of {unusable.sum()} of {len(matrix)} queries contain NaN: "
            f"look for the cause in the embeddings they were computed from."
        )


def of_embeddings(queries: NDArray, gallery: NDArray, protocol: Protocol) -> Iterator[Ranks]:
    """Ranks by Euclidean distance of [queries, dim] to [gallery, dim] with the junk still in.

    Raises:
      InputError: NaN or infinity among them.
    """
    frame = Frame.around(queries, gallery)
    columns = max(1, _GALLERY_BYTES // (4 * gallery.shape[1]))
    rows = _TILE_BYTES // _THREADS // (4 * min(columns, len(gallery)))
    # Every thread multiplies for itself: a library's own threads would wait for one another.
    with ThreadPoolExecutor(_THREADS) as pool, threadpool_limits(1, "blas"):
        for block in protocol.blocks():
            hits = _measured(queries, gallery, protocol, block)
            before = np.zeros(len(hits.columns), np.int64)
            for part in _parts(slice(0, len(protocol.kept)), columns):
                targets = Targets(gallery[protocol.kept[part]], frame)
                count = partial(_before, queries, hits, block.start, targets, part, protocol)
                before += np.concatenate(list(pool.map(count, _parts(block, rows, _THREADS))))
            yield hits.ranks(before)


def _measured(queries: NDArray, gallery: NDArray, protocol: Protocol, block: slice) -> _Hits:
    rows, columns = protocol.positives(block)
    distances = np.empty(len(rows))
    for some in _parts(slice(0, len(rows)), 256):
        distances[some] = squared_distances(
            queries[block.start + rows[some]], gallery[protocol.kept[columns[some]]]
        )
    return _in_order(rows, columns, distances, block.stop - block.start)


def _before(
    queries: NDArray,
    hits: _Hits,
    first: int,
    targets: Targets,
    part: slice,
    protocol: Protocol,
    some: slice,
) -> NDArray[np.int64]:
    """How many negatives among some columns are before each positive of some queries.

    Args:
      queries: [queries, dim], all of them.
      hits: the positives of queries from `first` on.
      first: see `hits`.
      targets: the embeddings of the columns.
      part: the columns.
      protocol: who is a negative.
      some: the queries.
    """
    hits = hits.part(slice(some.start - first, some.stop - first))
    for dtype in (np.float32, np.float64):
        tile, shift, slack = targets.shifted_distances(queries[some], dtype)
        protocol.hide(tile, some, part)
        aim, wide = targets.scaled(hits.distances) - shift[hits.rows], slack[hits.rows]
        lower, upper = (aim - wide).astype(dtype), (aim + wide).astype(dtype)
        sure, possible = _look_up(tile, hits.starts, lower, upper)
        # Many doubts are cheaper to settle by a second, finer product.
        if np.sum(possible - sure) * 64 < tile.size:
            break
    unsure = possible > sure
    for row in np.unique(hits.rows[unsure]):
        own = slice(hits.starts[row], hits.starts[row + 1])
        near = unsure[own]
        doubtful = _inside(tile[row], lower[own][near], upper[own][near])
        exact = targets.exact(queries[some.start + row], doubtful)
        # Those of them that were counted as surely before another positive are counted anew.
        sure[own] -= np.searchsorted(np.sort(tile[row, doubtful]), lower[own])
        sure[own] += _earlier(exact, doubtful + part.start, hits.distances[own], hits.columns[own])
    return sure


def _look_up(
    tile: NDArray, starts: NDArray[np.int64], lower: NDArray, upper: NDArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of its row are below each positive's lower bound, and not above its upper one.

    Args:
      tile: [rows, columns], NaN where nothing counts.
      starts: [rows + 1], where the positives of each row begin.
      lower: [positives] bounds, rising in each row.
      upper: [positives], as `lower`.
    """
    below, within = np.zeros(len(lower), np.int64), np.zeros(len(lower), np.int64)
    # A few rows at a time stay in the processor's cache.
    for rows in _parts(slice(0, len(tile)), _SORT_BYTES // (tile.itemsize * tile.shape[1])):
        ordered = np.sort(tile[rows], axis=1)
        for row, line in enumerate(ordered, rows.start):
            own = slice(starts[row], starts[row + 1])
            below[own] = line.searchsorted(lower[own], side="left")
            within[own] = line.searchsorted(upper[own], side="right")
    return below, within


def _inside(line: NDArray, lower: NDArray, upper: NDArray) -> NDArray[np.int64]:
    """Places in a row [columns] of what is in any of the intervals [n], both bounds included."""
    if len(lower) > 32:
        # As many have begun as have ended where none is open; NaN is above them all.
        inside = np.searchsorted(lower, line, "right") > np.searchsorted(upper, line, "left")
    else:
        inside = np.zeros(len(line), bool)
        for low, high in zip(lower, upper, strict=True):
            inside |= (line >= low) & (line <= high)
    return np.flatnonzero(inside)


def _earlier(
    distances: NDArray,
    columns: NDArray[np.int64],
    hit_distances: NDArray,
    hit_columns: NDArray[np.int64],
) -> NDArray[np.int64]:
    """How many of the negatives [n] are before each of the positives [m], given in order."""
    order = np.lexsort(
        (np.concatenate([columns, hit_columns]), np.concatenate([distances, hit_distances]))
    )
    return np.flatnonzero(order >= len(columns)) - np.arange(len(hit_columns))


def _in_order(
    rows: NDArray[np.int64], columns: NDArray[np.int64], distances: NDArray, queries: int
) -> _Hits:
    order = np.lexsort((columns, distances, rows))
    starts = np.searchsorted(rows, np.arange(queries + 1))
    return _Hits(starts, rows, columns[order], distances[order])


def _parts(whole: slice, size: int, multiple: int = 1) -> list[slice]:
    """A slice in even parts of at most `size` (and at least 1), a multiple of them if it can be."""
    length = whole.stop - whole.start
    number = -(-length // max(1, size))
    number = min(length, -(-number // multiple) * multiple)
    edges = [whole.start + length * k // max(1, number) for k in range(number + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]
