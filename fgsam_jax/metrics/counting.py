"""Positives in order, and how many negatives are before each of them.

The rank of a positive is 1, plus the positives before it, plus the negatives before it. The first
two are its place in `Hits`; the last is counted here, from tiles of distances in which everything
that is no negative is NaN. NumPy sorts NaN to the end, where no bound reaches it.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SORT_BYTES = 2**19  # a few rows that stay in a processor's cache


class Ranks(NamedTuple):
    """Ranks of the positives of some queries.

    Attributes:
      counts: [queries], how many positives each has.
      ranks: [positives], from 1, query after query and rising within each.
      columns: [positives], the column of each.
      within: [positives], the rank of each among the columns of its own group alone.
    """

    counts: NDArray[np.int64]
    ranks: NDArray[np.int64]
    columns: NDArray[np.int64]
    within: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Hits:
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

    def part(self, queries: slice) -> "Hits":
        """The positives of some queries alone.

        Args:
          queries: a slice of them, from start to stop; rows then count from its start.
        """
        starts = self.starts[queries.start : queries.stop + 1]
        own = slice(starts[0], starts[-1])
        rows = self.rows[own] - queries.start
        return Hits(starts - starts[0], rows, self.columns[own], self.distances[own])

    def ranks(
        self, before: NDArray[np.int64], within: NDArray[np.int64], groups: NDArray[np.int64]
    ) -> Ranks:
        """The ranks of the positives.

        Args:
          before: [positives], how many negatives are before each.
          within: [positives], how many of them are of its own group.
          groups: [positives], the group of each.
        """
        everyone = np.arange(len(groups))
        order = np.lexsort((everyone, groups, self.rows))  # each query's groups side by side
        own = np.stack([self.rows[order], groups[order]])
        first = np.r_[True, np.any(own[:, 1:] != own[:, :-1], axis=0)][: len(order)]
        place = np.empty(len(order), np.int64)
        place[order] = everyone - np.maximum.accumulate(np.where(first, everyone, 0))
        return Ranks(
            np.diff(self.starts),
            before + everyone - self.starts[self.rows] + 1,
            self.columns,
            within + place + 1,
        )


def look_up(
    tile: NDArray, starts: NDArray[np.int64], lower: NDArray, upper: NDArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of its row are below each positive's lower bound, and not above its upper one.

    Where both numbers agree the count is sure; where they do not, so many negatives lie within the
    bounds and must be looked at.

    Args:
      tile: [rows, columns], NaN where nothing counts.
      starts: [rows + 1], where the positives of each row begin.
      lower: [positives] bounds, rising in each row.
      upper: [positives], as `lower`.

    Returns:
      Both [positives].

    Example:
      >>> tile = np.array([[0.1, np.nan, 0.3, 0.2]])  # one query, four columns, three negatives
      >>> lower, upper = np.array([0.15, 0.19]), np.array([0.15, 0.21])  # of two positives
      >>> look_up(tile, np.array([0, 2]), lower, upper)  # 0.2 may be before the second, or not
      (array([1, 1]), array([1, 2]))
    """
    below, within = np.zeros(len(lower), np.int64), np.zeros(len(lower), np.int64)
    # A few rows at a time stay in the processor's cache.
    for rows in even_parts(slice(0, len(tile)), _SORT_BYTES // (tile.itemsize * tile.shape[1])):
        ordered = np.sort(tile[rows], axis=1)
        for row, line in enumerate(ordered, rows.start):
            own = slice(starts[row], starts[row + 1])
            below[own] = line.searchsorted(lower[own], side="left")
            within[own] = line.searchsorted(upper[own], side="right")
    return below, within


def inside(line: NDArray, lower: NDArray, upper: NDArray) -> NDArray[np.int64]:
    """Places of what is in any of some intervals, both bounds included.

    Args:
      line: [columns], a row of distances; NaN is in none.
      lower: [n], rising.
      upper: [n], rising.

    Returns:
      [places], rising.

    Example:
      >>> inside(np.array([0.1, np.nan, 0.3, 0.2]), np.array([0.19]), np.array([0.21]))
      array([3])
    """
    if len(lower) > 32:
        # Of the intervals that have begun the last one ends last.
        last = np.searchsorted(lower, line, "right") - 1
        within = (last >= 0) & (line <= upper[last])
    else:
        within = np.zeros(len(line), bool)
        for low, high in zip(lower, upper, strict=True):
            within |= (line >= low) & (line <= high)
    return np.flatnonzero(within)


def earlier(
    distances: NDArray,
    columns: NDArray[np.int64],
    hit_distances: NDArray,
    hit_columns: NDArray[np.int64],
) -> NDArray[np.int64]:
    """How many of the negatives are before each of the positives: nearer, or as near and earlier.

    Args:
      distances: [n], of the negatives.
      columns: [n].
      hit_distances: [m], of the positives of one query, in order.
      hit_columns: [m].

    Returns:
      [m].

    Example:
      >>> near, columns = np.array([1.0, 2.0]), np.array([0, 3])  # two negatives
      >>> earlier(near, columns, np.array([1.0, 2.0]), np.array([1, 2]))  # column 0 is before both
      array([1, 1])
    """
    order = np.lexsort(
        (np.concatenate([columns, hit_columns]), np.concatenate([distances, hit_distances]))
    )
    return np.flatnonzero(order >= len(columns)) - np.arange(len(hit_columns))


def in_order(
    rows: NDArray[np.int64], columns: NDArray[np.int64], distances: NDArray, queries: int
) -> Hits:
    """Positives by row, and within it by distance and, at equal distance, by column.

    Args:
      rows: [positives], rising.
      columns: [positives].
      distances: [positives].
      queries: how many rows there are; some may have no positive.

    Example:
      >>> rows, columns, distances = np.array([0, 0, 2]), np.array([4, 1, 0]), np.array([5, 2, 9])
      >>> hits = in_order(rows, columns, distances, queries=3)
      >>> hits.columns, hits.starts  # query 1 has none
      (array([1, 4, 0]), array([0, 2, 2, 3]))
    """
    order = np.lexsort((columns, distances, rows))
    starts = np.searchsorted(rows, np.arange(queries + 1))
    return Hits(starts, rows, columns[order], distances[order])


def even_parts(whole: slice, size: int, multiple: int = 1) -> list[slice]:
    """A slice in even parts.

    Args:
      whole: from start to stop, both given.
      size: of a part at most; below 1 it is 1.
      multiple: the number of parts is a multiple of this, as far as there are so many.

    Example:
      >>> even_parts(slice(0, 10), 4)
      [slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)]
    """
    length = whole.stop - whole.start
    number = -(-length // max(1, size))
    number = min(length, -(-number // multiple) * multiple)
    edges = [whole.start + length * k // max(1, number) for k in range(number + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]
