"""How well attributes are told, beside what the most frequent class reaches."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fgsam_jax.errors import InputError
from fgsam_jax.metrics.protocol import integers

UNLABELLED = -1


@dataclass(frozen=True)
class AttributeScores:
    """How well one attribute is told; fractions between 0 and 1, nan without a labelled image.

    Attributes:
      accuracy: share of right predictions.
      majority: the accuracy of always answering the most frequent class of these labels.
      balanced_accuracy: mean recall over the classes that occur among the labels.
      f1: mean F1 over the classes that occur among the labels or the predictions (macro).
      labelled: how many images have a label.
    """

    accuracy: float
    majority: float
    balanced_accuracy: float
    f1: float
    labelled: int

    def to_dict(self) -> dict[str, Any]:
        """The scores as plain numbers."""
        return dataclasses.asdict(self)


def attribute_scores(predictions: ArrayLike, labels: ArrayLike, classes: int) -> AttributeScores:
    """Scores the predictions of one attribute beside what the most frequent class alone reaches.

    Args:
      predictions: [n] int, predicted classes.
      labels: [n] int, true classes; -1 is unlabelled and does not count.
      classes: number of classes.

    Raises:
      InputError: shapes that differ, or a label or prediction that is no class.
    """
    predicted, true = integers("predictions", predictions), integers("labels", labels)
    if len(predicted) != len(true):
        raise InputError(f"{len(predicted)} predictions came with {len(true)} labels.")
    predicted, true = predicted[true != UNLABELLED], true[true != UNLABELLED]
    for name, values in (("labels", true), ("predictions", predicted)):
        wrong = values[(values < 0) | (values >= classes)]
        if len(wrong):
            raise InputError(
                f"Of the {name}, {len(wrong)} are no class: expected 0 to {classes - 1}, "
                f"but found {wrong[0]}."
            )
    if not len(true):
        return AttributeScores(np.nan, np.nan, np.nan, np.nan, 0)

    confusion = np.bincount(true * classes + predicted, minlength=classes**2)
    confusion = confusion.reshape(classes, classes)
    right, support, answers = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    seen, named = support > 0, support + answers > 0
    return AttributeScores(
        accuracy=float(right.sum() / len(true)),
        majority=float(support.max() / len(true)),
        balanced_accuracy=float(np.mean(right[seen] / support[seen])),
        f1=float(np.mean(2 * right[named] / (support + answers)[named])),
        labelled=len(true),
    )
