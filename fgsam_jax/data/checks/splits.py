"""Crops by split, and their identities and cameras as arrays."""

from collections.abc import Mapping, Sequence

import numpy as np

from fgsam_jax.data.datasets.crops import Crop
from fgsam_jax.data.splits import WHOLE, draw_splits
from fgsam_jax.metrics.protocol import is_person

Splits = Mapping[str, Sequence[Crop]]


def drawn_splits(splits: Splits, seed: int) -> Splits:
    """The splits as training sees them: of a set published without, they are drawn."""
    if set(splits) != {WHOLE}:
        return splits
    crops = splits[WHOLE]
    drawn = draw_splits(identities(crops), seed)
    return {split: [crops[row] for row in rows] for split, rows in drawn.items()}


def identities(crops: Sequence[Crop]) -> np.ndarray:
    """int64 [n]."""
    return np.array([crop.identity for crop in crops], np.int64)


def cameras(crops: Sequence[Crop]) -> np.ndarray:
    """int64 [n]; 0 where it is not known."""
    return np.array([crop.camera for crop in crops], np.int64)


def people_of(crops: Sequence[Crop]) -> set[int]:
    """The identities of the crops, without junk and distractors."""
    known = identities(crops)
    return set(known[is_person(known)].tolist())
