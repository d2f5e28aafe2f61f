"""Pairs of labelled crops: their distances, and the quantiles of those of two people."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

_BLOCK = 500  # crops at a time
_RESAMPLES = 200
_LEVEL = 0.95
_TIMES, _MORE = 3, 10_000  # as many near pairs as are false matches: resamples have more of them


class Pairs(NamedTuple):
    """Pairs of crops, [pairs] each.

    Attributes:
      distance: float32, Euclidean.
      first: int, a person's number.
      second: the other's.
      same: whether these are one.
    """

    distance: NDArray[np.float32]
    first: NDArray[np.integer]
    second: NDArray[np.integer]
    same: NDArray[np.bool_]

    def select(self, kept: NDArray[np.bool_]) -> "Pairs":
        """Some of the pairs."""
        return Pairs(self.distance[kept], self.first[kept], self.second[kept], self.same[kept])

    def among(self, chosen: NDArray[np.bool_]) -> "Pairs":
        """Those of chosen people, [people]."""
        return self.select(chosen[self.first] & chosen[self.second])


def all_pairs(descriptors: NDArray, people: NDArray, cameras: NDArray | None) -> Pairs:
    """The pairs of crops, each once; where cameras are known those across cameras.

    Args:
      descriptors: [n, dim].
      people: [n] int.
      cameras: [n] int, or None.

    Example:
      >>> all_pairs(np.array([[0.0], [1.0], [3.0]]), np.array([5, 5, 6]), None).distance
      array([1., 3., 2.], dtype=float32)
    """
    rows = np.asarray(descriptors, np.float64)
    norms, found = np.square(rows).sum(1), []
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        squares = norms[block, None] + norms - 2 * rows[block] @ rows.T
        paired = np.triu(np.ones(squares.shape, bool), start + 1)
        if cameras is not None:
            paired &= cameras[block, None] != cameras
        first, second = np.nonzero(paired)
        distance = np.sqrt(np.maximum(squares[first, second], 0))
        ends = (people[first + start].astype(np.int32), people[second].astype(np.int32))
        found.append((distance.astype(np.float32), *ends))
    distance, first, second = (np.concatenate(x) for x in zip(*found, strict=True))
    return Pairs(distance, first, second, first == second)


def distance_at(pairs: Pairs, rate: float) -> float:
    """The greatest distance that accepts no more than a share of the pairs of two people.

    Args:
      pairs: with at least 1 / rate of two people.
      rate: of them, below 1.

    Example:
      >>> pairs = all_pairs(np.array([[0.0], [1.0], [3.0], [7.0]]), np.arange(4), None)
      >>> distance_at(pairs, 0.5)  # of 1, 2, 3, 4, 6, 7
      3.0
    """
    strangers = np.sort(pairs.distance[~pairs.same])
    refused = strangers[int(rate * len(strangers) * (1 + 1e-12))]
    accepted = strangers[strangers < refused]  # not those that are as near as the first refused
    return float(accepted[-1] if len(accepted) else np.nextafter(refused, np.float32(-1)))


def interval_at(pairs: Pairs, rate: float, random: np.random.Generator) -> tuple[float, float]:
    """The 95 % interval of `distance_at` over draws of as many people from these, with repetition.

    People are drawn, not pairs, as those of one person are much alike. A pair counts as often as
    its two people were drawn, multiplied: the bootstrap of graphs (Snijders and Borgatti, 1999).

    Args:
      pairs: of at least two people.
      rate: see `distance_at`.
      random: draws.

    Example:
      >>> pairs = all_pairs(np.arange(100.0)[:, None], np.arange(100), None)
      >>> low, high = interval_at(pairs, 0.5, np.random.default_rng(0))
      >>> low < distance_at(pairs, 0.5) < high
      True
    """
    everybody = np.union1d(pairs.first, pairs.second)
    count = int(everybody[-1]) + 1
    strangers = pairs.select(~pairs.same)
    ones = np.ones(len(strangers.same))
    where = strangers.first, strangers.second
    of_people = coo_array((ones, where), shape=(count, count)).tocsr()
    kept = min(len(ones), int(_TIMES * rate * len(ones)) + _MORE)
    near = np.argpartition(strangers.distance, kept - 1)[:kept]
    near = near[np.argsort(strangers.distance[near])]
    distance, first, second = (x[near] for x in strangers[:3])
    found = []
    for _ in range(_RESAMPLES):
        drawn = np.bincount(random.choice(everybody, len(everybody)), minlength=count)
        weights = drawn[first] * drawn[second]
        accepted = np.cumsum(weights[weights > 0])
        place = np.searchsorted(accepted, rate * (drawn @ of_people @ drawn), side="right")
        found.append(distance[weights > 0][max(place - 1, 0)])
    low, high = np.quantile(found, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)
