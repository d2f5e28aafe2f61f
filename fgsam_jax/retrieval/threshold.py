r"""From which distance on two crops are taken for two people, learned from labelled ones.

Distances mean something else for each model and each set of cameras. From pairs of crops of known
people come the distance that keeps to a false-match rate, and the probability that a pair at a
distance d shows one person, if one and two people were as likely before:

.. math:: p(d) = 1 / (1 + e^{a d + b})

the logistic calibration of Platt (1999), with pairs of one and of two people weighing the same.
Where cameras are known only pairs across cameras count, as searches across cameras are what
re-identification is for. In the words of ISO/IEC 19795-1, a false match is a pair of two people that
is accepted, a true match one of one person.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.special import expit

from fgsam_jax.errors import InputError, check_arrays

_CROPS = 5000  # that are paired, at most; a person keeps two before another gets a third
_BLOCK = 500
_RESAMPLES = 200
_LEVEL = 0.95  # of the interval
_BINS = 15  # of the calibration error
_KEPT = 10  # times as many near pairs as are false matches, for resamples with many more


class Check(NamedTuple):
    """What a threshold of other people gives on some people.

    Attributes:
      false_match_rate: share of the pairs of two people that it accepts.
      true_match_rate: share of the pairs of one person that it accepts.
      calibration_error: expected calibration error of the probabilities, see `calibration_error`.
    """

    false_match_rate: float
    true_match_rate: float
    calibration_error: float


@dataclasses.dataclass(frozen=True)
class Threshold:
    """The greatest distance at which two crops are taken for one person.

    Attributes:
      distance: Euclidean, between descriptors.
      false_match_rate: of the pairs it was learned from, asked for.
      interval: of the distance, 95 %, by resampling people.
      slope: a of the logistic calibration.
      offset: b.
      people: that it was learned from.
      held_out: with half of the people, checked on the other half; the mean of both ways.
    """

    distance: float
    false_match_rate: float
    interval: tuple[float, float]
    slope: float
    offset: float
    people: int
    held_out: Check

    def probability(self, distance: Any) -> Any:
        """That crops so far apart show one person, if that was as likely as not before."""
        return expit(-self.slope * np.asarray(distance) - self.offset)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self) | {
            "interval": list(self.interval),
            "held_out": self.held_out._asdict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Threshold":
        """The inverse of `to_dict`."""
        given = {field.name: values[field.name] for field in dataclasses.fields(cls)}
        interval, held_out = tuple(values["interval"]), Check(**values["held_out"])
        return cls(**given | {"interval": interval, "held_out": held_out})


def find_threshold(
    descriptors: NDArray,
    identities: Sequence[Any] | NDArray,
    cameras: Sequence[Any] | NDArray | None = None,
    *,
    false_match_rate: float = 1e-3,
    seed: int = 0,
) -> Threshold:
    """The distance at a false-match rate, and the calibration of probabilities.

    Of more than 5,000 crops so many are drawn, a second crop of everybody before a third of anybody.

    Args:
      descriptors: [n, dim] of crops of known people, without junk and distractors.
      identities: [n] numbers or names.
      cameras: [n] numbers or names; None where they are not known: then all pairs count.
      false_match_rate: at most which share of the pairs of two people is accepted.
      seed: of the drawing, of the halves and of the resampling.

    Raises:
      InputError: lengths differ, fewer than four people are seen twice, or too few pairs of two
        people to tell such a rate.

    Example:
      >>> random = np.random.default_rng(0)
      >>> people = np.repeat(np.arange(50), 4)
      >>> rows = random.normal(size=(50, 2))[people] + 0.01 * random.normal(size=(200, 2))
      >>> found = find_threshold(rows, people, false_match_rate=0.01)
      >>> found.interval[0] <= found.distance <= found.interval[1]
      True
      >>> print(found.probability([0.01, 1.0]).round(2))
      [1. 0.]
    """
    names, people = np.unique(np.asarray(identities), return_inverse=True)
    seen_by = np.zeros(len(people), int)
    if cameras is not None:
        seen_by = np.unique(np.asarray(cameras), return_inverse=True)[1]
    check_arrays("descriptors [n, dim], identities [n], cameras [n]", descriptors, people, seen_by)
    if not 0 < false_match_rate < 1:
        raise InputError(f"a false-match rate is above 0 and below 1, got {false_match_rate}")
    random = np.random.default_rng(seed)
    kept = _drawn(people, random)
    data = descriptors[kept], people[kept], seen_by[kept] if cameras is not None else None
    pairs = _pairs(*data)
    repeated = np.unique(pairs.first[pairs.same])
    if len(repeated) < 4:
        across = "" if cameras is None else " by two cameras"
        raise InputError(
            f"a threshold needs at least four people seen twice{across}, got {len(repeated)} of "
            f"{len(names)}: index more labelled crops"
        )
    needed = 8 / false_match_rate  # half of the people have a quarter of the pairs
    if (strangers := np.count_nonzero(~pairs.same)) < needed:
        raise InputError(
            f"a false-match rate of {false_match_rate:g} needs {needed:,.0f} pairs of two people, "
            f"got {strangers:,}: ask for {8 / max(strangers, 9):.0e} or more, or index more crops"
        )
    distance = _distance(pairs, false_match_rate)
    interval = _interval(pairs, false_match_rate, random)
    # Halves with as many people who can be recognised.
    half = np.zeros(len(names), bool)
    half[random.permutation(repeated)[::2]] = True
    others = random.permutation(np.setdiff1d(np.arange(len(names)), repeated))
    half[others[::2]] = True
    first, second = (pairs.among(x) for x in (half, ~half))
    checks = [_check(a, b, false_match_rate) for a, b in ((first, second), (second, first))]
    slope, offset = _calibration(pairs)
    return Threshold(
        distance,
        false_match_rate,
        interval,
        slope,
        offset,
        len(names),
        Check(*np.mean(checks, axis=0).tolist()),
    )


def calibration_error(
    probabilities: NDArray, same: NDArray[np.bool_], *, bins: int = _BINS
) -> float:
    r"""Expected calibration error, with pairs of one and of two people weighing the same.

    .. math:: \sum_b w_b \, |\bar p_b - \bar y_b|

    over bins of equal width: the share of the weight in the bin, its mean probability and its share
    of pairs of one person (Naeini et al., 2015).

    Args:
      probabilities: [pairs] of showing one person.
      same: [pairs], whether they do; both kinds are there.
      bins: how many.

    Example:
      >>> calibration_error(np.array([0.9, 0.9, 0.2]), np.array([True, True, False]))
      0.15
    """
    weights = _even_weights(same)
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights * (probabilities - same), bins)
    return float(np.abs(gaps).sum())


class _Pairs(NamedTuple):
    """Pairs of crops, [pairs] each: distance, the two people, and whether these are one."""

    distance: NDArray[np.float32]
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    same: NDArray[np.bool_]

    def among(self, chosen: NDArray[np.bool_]) -> "_Pairs":
        """Those of chosen people, [people]."""
        kept = chosen[self.first] & chosen[self.second]
        return _Pairs(*(x[kept] for x in self))


def _drawn(people: NDArray, random: np.random.Generator) -> NDArray:
    """Places of at most `_CROPS` crops, two of each person first."""
    order = random.permutation(len(people))
    order = order[np.argsort(random.permutation(people.max() + 1)[people[order]], kind="stable")]
    starts = np.flatnonzero(np.diff(people[order], prepend=-1))
    counts = np.diff([*starts, len(order)])
    nth = np.arange(len(order)) - np.repeat(starts, counts)
    return order[np.argsort(np.maximum(nth, 1), kind="stable")[:_CROPS]]


def _pairs(rows: NDArray, people: NDArray, cameras: NDArray | None) -> _Pairs:
    rows = np.asarray(rows, np.float64)
    norms, found = np.square(rows).sum(1), []
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        squares = norms[block, None] + norms - 2 * rows[block] @ rows.T
        paired = np.triu(np.ones(squares.shape, bool), start + 1)
        if cameras is not None:
            paired &= cameras[block, None] != cameras
        first, second = np.nonzero(paired)
        distance = np.sqrt(np.maximum(squares[first, second], 0))
        found.append((distance.astype(np.float32), people[first + start], people[second]))
    distance, first, second = (np.concatenate(x) for x in zip(*found, strict=True))
    return _Pairs(distance, first.astype(np.int32), second.astype(np.int32), first == second)


def _distance(pairs: _Pairs, rate: float) -> float:
    """The greatest distance at which no more than this share of pairs of two people is accepted."""
    strangers = np.sort(pairs.distance[~pairs.same])
    return float(strangers[max(int(rate * len(strangers) * (1 + 1e-12)) - 1, 0)])


def _interval(pairs: _Pairs, rate: float, random: np.random.Generator) -> tuple[float, float]:
    """Of `_distance`, by resampling people, not pairs: those of one person are much alike.

    A pair counts as often as its two people are drawn, multiplied (Snijders and Borgatti, 1999).
    """
    distance, first, second = (x[~pairs.same] for x in pairs[:3])
    kept = min(len(distance), int(_KEPT * rate * len(distance)) + _KEPT)
    near = np.argpartition(distance, kept - 1)[:kept]
    near = near[np.argsort(distance[near])]
    people = int(max(first.max(), second.max())) + 1
    shape = (people, people)
    counts = coo_array((np.ones(len(first)), (first, second)), shape=shape).tocsr()
    distance, first, second = distance[near], first[near], second[near]
    # Numbers of people who have no crop left are drawn for nobody.
    there = np.union1d(pairs.first, pairs.second)
    distances = []
    for _ in range(_RESAMPLES):
        drawn = np.bincount(random.choice(there, len(there)), minlength=people)[:people]
        accepted = np.cumsum(drawn[first] * drawn[second])
        place = np.searchsorted(accepted, rate * (drawn @ counts @ drawn), side="right")
        distances.append(distance[max(place - 1, 0)])
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(distances, [tail, 1 - tail])
    return float(low), float(high)


def _check(learned: _Pairs, seen: _Pairs, rate: float) -> Check:
    accepted = seen.distance <= _distance(learned, rate)
    slope, offset = _calibration(learned)
    probabilities = expit(-slope * seen.distance - offset)
    return Check(
        float(accepted[~seen.same].mean()),
        float(accepted[seen.same].mean()),
        calibration_error(probabilities, seen.same),
    )


def _calibration(pairs: _Pairs) -> tuple[float, float]:
    """Slope and offset of the logistic calibration."""
    from sklearn.linear_model import LogisticRegression

    weights = _even_weights(pairs.same) * 2 * np.count_nonzero(pairs.same)
    # Alike distances are taken together: a thousand rows say what ten million do.
    edges = np.linspace(0, pairs.distance.max() * (1 + 1e-6), 1001)
    place = np.digitize(pairs.distance, edges) - 1
    sums = [np.bincount(place, weights * (pairs.same == kind), 1000) for kind in (False, True)]
    middles = np.tile((edges[1:] + edges[:-1]) / 2, 2)[:, None]
    # The faint regularisation keeps the slope finite where distances part people perfectly.
    model = LogisticRegression(C=1e4).fit(middles, np.repeat([0, 1], 1000), np.concatenate(sums))
    return -float(model.coef_[0, 0]), -float(model.intercept_[0])


def _even_weights(same: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of pairs, with those of one and of two people weighing one half each."""
    return np.where(same, 0.5 / np.count_nonzero(same), 0.5 / np.count_nonzero(~same))
