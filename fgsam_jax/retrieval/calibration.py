"""From distances to probabilities."""

import numpy as np
from numpy.typing import NDArray

_CELLS = 1000  # of distances that are taken together
_BINS = 15


def calibrate(distances: NDArray, same: NDArray[np.bool_]) -> tuple[float, float]:
    r"""Fit a logistic curve to pairs of one and of two people, both kinds weighing the same.

    .. math:: p(d) = 1 / (1 + e^{a d + b})

    Platt's calibration (1999). On held-out people of Market-1501 and of rendered ones isotonic
    regression, and curves with a term in the square, are no better (docs/results.md).

    Args:
      distances: [pairs].
      same: [pairs], whether they show one person; both kinds are there.

    Returns:
      a and b.

    Example:
      >>> a, b = calibrate(np.array([0.0, 1, 1, 2]), np.array([True, True, False, False]))
      >>> round(-b / a, 2)  # where the probability is one half
      1.0
    """
    # Late, as only this needs a second of imports.
    from sklearn.linear_model import LogisticRegression

    weights = even_weights(same) * 2 * np.count_nonzero(same)
    # A thousand cells say what ten million pairs do.
    edges = np.linspace(0, max(distances.max(), 1e-12) * (1 + 1e-6), _CELLS + 1)
    cells = np.digitize(distances, edges) - 1
    sums = [np.bincount(cells, weights * (same == kind), _CELLS) for kind in (False, True)]
    middles = np.tile((edges[1:] + edges[:-1]) / 2, 2)[:, None]
    # The faint regularisation keeps the slope finite where distances part people perfectly.
    model = LogisticRegression(C=1e4)
    model.fit(middles, np.repeat([0, 1], _CELLS), np.concatenate(sums))
    return -float(model.coef_[0, 0]), -float(model.intercept_[0])


def calibration_error(probabilities: NDArray, same: NDArray[np.bool_]) -> float:
    r"""Expected calibration error, pairs of one and of two people weighing the same.

    .. math:: \sum_b w_b \, |\bar p_b - \bar y_b|

    over 15 bins of equal width: the share of the weight in the bin, its mean probability and its
    share of pairs of one person (Naeini et al., 2015).

    Args:
      probabilities: [pairs] of showing one person.
      same: [pairs], whether they do; both kinds are there.

    Example:
      >>> round(calibration_error(np.array([0.9, 0.9, 0.2]), np.array([True, True, False])), 3)
      0.15
    """
    bins = np.minimum((np.asarray(probabilities) * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, even_weights(same) * (probabilities - same), _BINS)
    return float(np.abs(gaps).sum())


def even_weights(same: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights of pairs, with which those of one and those of two people sum to one half each.

    Example:
      >>> print(even_weights(np.array([True, False, False])))
      [0.5  0.25 0.25]
    """
    strangers = ~same
    return np.where(same, 0.5 / np.count_nonzero(same), 0.5 / np.count_nonzero(strangers))
