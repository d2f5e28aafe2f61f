"""How well attributes are told, beside what the most frequent class reaches."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fgsam_jax.errors import InputError
from fgsam_jax.metrics.inputs import integers, whole

UNLABELLED = -1


@dataclass(frozen=True)
class AttributeScores:
    r"""How well one attribute is told; fractions between 0 and 1, nan without a labelled image.

    Attributes of people are lopsided (few wear a hat), so that accuracy alone says little: below
    or near `majority` nothing was learned. The other two weigh every class alike. With the
    confusion matrix :math:`M`, rows true and columns predicted,

    .. math::
      \text{balanced accuracy} = \operatorname{mean}_c \frac{M_{cc}}{\sum_p M_{cp}}, \qquad
      F_1 = \operatorname{mean}_c \frac{2 M_{cc}}{\sum_p M_{cp} + \sum_t M_{tc}}

    Attributes:
      accuracy: share of right predictions.
      majority: the accuracy of always answering the most frequent class of these labels.
      balanced_accuracy: mean recall over the classes that occur among the labels.
      f1: mean F1 over the classes that occur among the labels or the predictions (macro).
      labelled: how many images have a label.
      confusion: [classes][classes] numbers of images, rows true and columns predicted.
    """

    accuracy: float
    majority: float
    balanced_accuracy: float
    f1: float
    labelled: int
    confusion: tuple[tuple[int, ...], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The scores as plain numbers, ready for JSON."""
        return dataclasses.asdict(self)


def attribute_scores(predictions: ArrayLike, labels: ArrayLike, classes: int) -> AttributeScores:
    """Scores the predictions of one attribute beside what the most frequent class alone reaches.

    Args:
      predictions: [n] int, predicted classes.
      labels: [n] int, true classes; -1 is unlabelled and does not count.
      classes: number of classes, 1 or more; those that nobody has or is given do not weigh in.

    Returns:
      The scores; all nan and 0 labelled where no image has a label.

    Raises:
      InputError: shapes that differ, or a label or prediction that is no class; one-hot rows,
        probabilities and masked arrays are none.

    Example:
      >>> scores = attribute_scores([0, 0, 1, 1], [0, 0, 0, -1], classes=2)
      >>> print(f"{scores.accuracy:.3f} beside {scores.majority:.3f} of {scores.labelled} images")
      0.667 beside 1.000 of 3 images
    """
    whole("classes", classes, 1)
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
        return AttributeScores(np.nan, np.nan, np.nan, np.nan, 0, ((0,) * classes,) * classes)

    pairs = np.bincount(true * classes + predicted, minlength=classes**2)
    confusion = pairs.reshape(classes, classes)
    right, support, answers = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    seen, named = support > 0, support + answers > 0
    return AttributeScores(
        accuracy=float(right.sum() / len(true)),
        majority=float(support.max() / len(true)),
        balanced_accuracy=float(np.mean(right[seen] / support[seen])),
        f1=float(np.mean(2 * right[named] / (support + answers)[named])),
        labelled=len(true),
        confusion=tuple(map(tuple, confusion.tolist())),
    )
