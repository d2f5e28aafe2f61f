"""From which distance on two crops are taken for two people, learned from labelled ones.

Distances mean something else for each model and each set of cameras, so both the threshold and the
probabilities come from pairs of crops of known people. Where cameras are known only pairs across
cameras count, as searching across cameras is what descriptors are for. In the words of ISO/IEC
19795-1, a false match is a pair of two people that is accepted, a true match one of one person.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from fgsam_jax.errors import InputError, check_arrays
from fgsam_jax.retrieval.calibration import calibrate, calibration_error
from fgsam_jax.retrieval.pairs import Pairs, all_pairs, distance_at, interval_at

_CROPS = 5000  # that are paired, at most
_HALVINGS = 5  # of the people, as one alone is left to chance
_PEOPLE = 4  # seen twice, at least: two in each half


class Check(NamedTuple):
    """What a threshold of other people gives on some people.

    Attributes:
      false_match_rate: share of the pairs of two people that it accepts.
      true_match_rate: share of the pairs of one person that it accepts.
      calibration_error: expected calibration error of the probabilities.
    """

    false_match_rate: float
    true_match_rate: float
    calibration_error: float


class Learned(NamedTuple):
    """What a threshold gives on the pairs that it was learned from.

    Attributes:
      false_match_rate: share of the pairs of two people that it accepts.
      true_match_rate: share of the pairs of one person that it accepts.
      of_two: pairs of two people.
      of_one: pairs of one person.
      half_distance: threshold of half of the people, the mean of the ten of `held_out`.
    """

    false_match_rate: float
    true_match_rate: float
    of_two: int
    of_one: int
    half_distance: float


@dataclasses.dataclass(frozen=True)
class Threshold:
    """The greatest distance at which two crops are taken for one person.

    Attributes:
      distance: Euclidean, between descriptors.
      false_match_rate: of the pairs it was learned from, asked for.
      interval: of the distance, 95 %, by resampling people.
      slope: a of the logistic curve, see `calibration.calibrate`.
      offset: b of it.
      people: that it was learned from.
      held_out: found on half of the people and checked on the others, the mean of ten ways. Each
        half has a threshold of its own, so these are not the rates of `distance`.
      learned: the rates of `distance` itself; None in galleries that kept a threshold before.
    """

    distance: float
    false_match_rate: float
    interval: tuple[float, float]
    slope: float
    offset: float
    people: int
    held_out: Check
    learned: Learned | None = None

    def probability(self, distance: Any) -> Any:
        """That crops so far apart show one person, if that was as likely as not before."""
        return expit(-self.slope * np.asarray(distance) - self.offset)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self) | {
            "interval": list(self.interval),
            "held_out": self.held_out._asdict(),
            "learned": self.learned and self.learned._asdict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Threshold":
        """The inverse of `to_dict`. Raises InputError where something is missing."""
        try:
            names = {field.name for field in dataclasses.fields(cls)} - {"learned"}
            given = {name: values[name] for name in names}
            interval, held_out = tuple(values["interval"]), Check(**values["held_out"])
            learned = Learned(**values["learned"]) if values.get("learned") else None
        except (KeyError, TypeError) as error:
            raise InputError(f"the threshold kept is damaged ({error}): find it again") from None
        read = {"interval": interval, "held_out": held_out, "learned": learned}
        return cls(**given | read)


def find_threshold(
    descriptors: NDArray,
    identities: Sequence[Any] | NDArray,
    cameras: Sequence[Any] | NDArray | None = None,
    *,
    false_match_rate: float = 1e-3,
    seed: int = 0,
) -> Threshold:
    """The distance at a false-match rate, and the calibration of probabilities.

    Of more than 5,000 crops so many are drawn, two of each person before a third of anybody.

    Args:
      descriptors: [n, dim] of crops of known people, without junk and distractors.
      identities: [n] numbers or names.
      cameras: [n] numbers or names; None where they are not known: then all pairs count.
      false_match_rate: at most which share of the pairs of two people is accepted.
      seed: of the drawing, of the halves and of the resampling.

    Raises:
      InputError: lengths differ, fewer than four people are seen twice, or there are too few pairs
        of two people to tell such a rate.

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
    people = np.unique(np.asarray(identities), return_inverse=True)[1]
    seen_by = None
    if cameras is not None:
        seen_by = np.unique(np.asarray(cameras), return_inverse=True)[1]
    others = people if seen_by is None else seen_by
    check_arrays("descriptors [n, dim], identities [n], cameras [n]", descriptors, people, others)
    if not 0 < false_match_rate < 1:
        raise InputError(f"a false-match rate is above 0 and below 1, got {false_match_rate}")
    if not np.isfinite(descriptors).all():
        raise InputError("a descriptor is not finite: embed its image again, or leave it out")
    if len(people) < 2 * _PEOPLE:
        raise _too_few(len(people) // 2)
    random = np.random.default_rng(seed)
    kept = _drawn(people, random)
    pairs = all_pairs(descriptors[kept], people[kept], None if seen_by is None else seen_by[kept])
    halvings = [_halves(pairs, random) for _ in range(_HALVINGS)]
    strangers = min(int((~half.same).sum()) for halves in halvings for half in halves)
    if strangers < 1 / false_match_rate:
        raise InputError(
            f"a false-match rate of {false_match_rate:g} needs {1 / false_match_rate:,.0f} pairs "
            f"of two people in each half of the people, got {strangers:,}: index more crops of "
            f"known people, or ask for a rate of {1 / max(strangers, 2):.1e} or more"
        )
    ways = [way for one, other in halvings for way in ((one, other), (other, one))]
    checks = [_check(learned, seen, false_match_rate) for learned, seen in ways]
    slope, offset = calibrate(pairs.distance, pairs.same)
    distance = distance_at(pairs, false_match_rate)
    accepted = pairs.distance <= distance
    learned = Learned(
        float(accepted[~pairs.same].mean()),
        float(accepted[pairs.same].mean()),
        int((~pairs.same).sum()),
        int(pairs.same.sum()),
        float(np.mean([distance_at(half, false_match_rate) for half, _ in ways])),
    )
    return Threshold(
        distance,
        false_match_rate,
        interval_at(pairs, false_match_rate, random),
        slope,
        offset,
        len(np.union1d(pairs.first, pairs.second)),
        Check(*np.mean(checks, axis=0).tolist()),
        learned,
    )


def _halves(pairs: Pairs, random: np.random.Generator) -> tuple[Pairs, Pairs]:
    """The pairs within each half of the people, who are drawn; both have people seen twice."""
    everybody = np.union1d(pairs.first, pairs.second)
    repeated = np.unique(pairs.first[pairs.same])
    if len(repeated) < _PEOPLE:
        raise _too_few(len(repeated))
    order = np.concatenate(
        [random.permutation(repeated), random.permutation(np.setdiff1d(everybody, repeated))]
    )
    half = np.zeros(everybody[-1] + 1, bool)
    half[order[::2]] = True
    return pairs.among(half), pairs.among(~half)


def _too_few(repeated: int) -> InputError:
    return InputError(
        f"a threshold needs at least {_PEOPLE} known people who are seen twice, by different "
        f"cameras where these are known; got {repeated}: index more crops of known people"
    )


def _drawn(people: NDArray, random: np.random.Generator) -> NDArray:
    """Places of at most `_CROPS` crops, two of each person first."""
    order = random.permutation(len(people))
    order = order[np.argsort(random.permutation(people.max() + 1)[people[order]], kind="stable")]
    starts = np.flatnonzero(np.diff(people[order], prepend=-1))
    counts = np.diff([*starts, len(order)])
    nth = np.arange(len(order)) - np.repeat(starts, counts)
    return order[np.argsort(np.maximum(nth, 1), kind="stable")[:_CROPS]]


def _check(learned: Pairs, seen: Pairs, rate: float) -> Check:
    """What is learned on some pairs, on others."""
    accepted = seen.distance <= distance_at(learned, rate)
    slope, offset = calibrate(learned.distance, learned.same)
    probabilities = expit(-slope * seen.distance - offset)
    return Check(
        float(accepted[~seen.same].mean()),
        float(accepted[seen.same].mean()),
        calibration_error(probabilities, seen.same),
    )
