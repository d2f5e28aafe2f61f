"""Whether two crops show one person, and what speaks for it: parts, visibility and attributes."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.models.outputs import PLENARY
from fgsam_jax.retrieval.description import Description
from fgsam_jax.retrieval.threshold import Threshold


class Part(NamedTuple):
    """What a part branch says of two crops.

    Attributes:
      squared_distance: between its two vectors of length 1: 0 equal, 2 unrelated, at most 4.
      share: of the squared distance of the whole; all shares sum to 1.
      visibility: of the part in each crop, 0 to 1; None where the model has no pose net.
    """

    squared_distance: float
    share: float
    visibility: tuple[float, float] | None


class Answers(NamedTuple):
    """What a model answers for an attribute of two crops.

    Attributes:
      classes: the most likely one of each crop.
      probabilities: of these two.
      agreement: the probability that both crops are of one class, as if they were independent.
    """

    classes: tuple[str, str]
    probabilities: tuple[float, float]
    agreement: float

    @property
    def agree(self) -> bool:
        """Whether the most likely classes are the same."""
        return self.classes[0] == self.classes[1]


@dataclasses.dataclass(frozen=True)
class Comparison:
    r"""Of two crops.

    The squared distance is the mean of the parts' squared distances, as a descriptor joins B unit
    vectors over :math:`\sqrt B`.

    Attributes:
      distance: Euclidean, between the descriptors.
      same: whether it is within the threshold; None without one.
      probability: that both show one person, see `Threshold.probability`; None without a threshold.
      threshold: that decided.
      parts: by name, the whole body last; "plenary" alone for a model without part branches.
      attributes: by name.
    """

    distance: float
    same: bool | None
    probability: float | None
    threshold: Threshold | None
    parts: dict[str, Part]
    attributes: dict[str, Answers]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "same": self.same,
            "distance": self.distance,
            "probability": self.probability,
            "threshold": self.threshold and self.threshold.to_dict(),
            "parts": {name: part._asdict() for name, part in self.parts.items()},
            "attributes": {
                name: {"agree": x.agree, **x._asdict()} for name, x in self.attributes.items()
            },
        }


def compare(
    two: Description, attributes: Sequence[Attribute] = (), threshold: Threshold | None = None
) -> Comparison:
    """Compare two crops.

    Args:
      two: of the two crops, by `Embedder.describe`.
      attributes: that the model answers, `embedder.info.attributes`.
      threshold: of the model, by `find_threshold`.

    Raises:
      InputError: the description is not of two crops.

    Example:
      >>> branches = {"head": slice(0, 2), "plenary": slice(2, 4)}
      >>> rows = np.array([[1, 0, 1, 0], [0, 1, 1, 0]]) / 2**0.5  # equal but for the head
      >>> found = compare(Description(rows, branches, {}, {}))
      >>> print(round(found.distance**2, 3), {k: round(x.share, 3) for k, x in found.parts.items()})
      1.0 {'head': 1.0, 'plenary': 0.0}
    """
    rows = np.asarray(two.descriptor, np.float64)
    if len(rows) != 2:
        raise InputError(f"two crops are compared, got {len(rows)}")
    squares = np.square(rows[0] - rows[1])
    whole = squares.sum()
    distance = float(np.sqrt(whole))
    parts = {}
    for name in sorted(two.branches, key=lambda name: name == PLENARY):
        part = squares[two.branches[name]].sum()
        seen = two.visibility.get(name)
        parts[name] = Part(
            float(part * len(two.branches)),
            float(part / whole) if whole else 1 / len(two.branches),
            None if seen is None else (float(seen[0]), float(seen[1])),
        )
    return Comparison(
        distance,
        None if threshold is None else distance <= threshold.distance,
        None if threshold is None else float(threshold.probability(distance)),
        threshold,
        parts,
        {
            x.name: _answers(x, two.attributes[x.name])
            for x in attributes
            if x.name in two.attributes
        },
    )


def _answers(attribute: Attribute, probabilities: np.ndarray) -> Answers:
    (a, b), (p, q) = probabilities.argmax(1), np.asarray(probabilities, np.float64)
    classes = attribute.classes[a], attribute.classes[b]
    return Answers(classes, (float(p[a]), float(q[b])), float(p @ q))
