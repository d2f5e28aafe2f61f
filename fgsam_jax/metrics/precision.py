r"""Average precision of each query by three formulas, from the ranks of its positives.

A query has :math:`n` positives at the ranks :math:`r_1 < \dots < r_n`. The precision at the hit i
is :math:`p_i = i / r_i`. Just before it the precision is :math:`q_i = (i - 1) / (r_i - 1)`, taken
as 1 where :math:`r_i = 1`.

.. math::
  \text{at hits: } \frac1n \sum_i p_i \qquad
  \text{trapezoid: } \frac1n \sum_i \frac{q_i + p_i}2 \qquad
  \text{interpolated: } \frac1n \sum_i \max_{j \ge i} p_j

The first is what most papers report; the second the official MATLAB evaluation of Market-1501; the
third the FGSAM paper's wording and that of PASCAL VOC. For every query trapezoid <= at hits <=
interpolated, and all are 1 where no miss is before a hit.

The inverse negative penalty :math:`n / r_n` (Ye et al., "Deep Learning for Person
Re-identification: A Survey and Outlook", 2021) says how far one must look to find the last image
of a person.
"""

import numpy as np
from numpy.typing import NDArray

from fgsam_jax.metrics.counting import Ranks


def query_scores(found: Ranks) -> NDArray[np.float64]:
    """The scores of each query that has a positive; the others are left out.

    Args:
      found: the ranks of all queries' positives.

    Returns:
      [valid queries, 5]: the rank of the first hit, average precision at hits, by the trapezoid
      rule and interpolated, and the inverse negative penalty.

    Example:
      >>> found = Ranks(np.array([2, 0]), np.array([1, 4]), np.array([5, 0]), np.array([1, 4]))
      >>> print(query_scores(found).round(4))  # at hits: (1/1 + 2/4) / 2
      [[1.     0.75   0.7083 0.75   0.5   ]]
    """
    scores = np.empty((len(found.counts), 5))
    starts = np.cumsum(found.counts) - found.counts
    # Queries with equally many positives make a rectangle.
    for count in np.unique(found.counts[found.counts > 0]):
        some = np.flatnonzero(found.counts == count)
        ranks = found.ranks[starts[some, None] + np.arange(count)]
        scores[some, 0] = ranks[:, 0]
        scores[some, 1:] = _average_precisions(ranks)
    return scores[found.counts > 0]


def _average_precisions(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average precision by three formulas, and the inverse negative penalty.

    Args:
      ranks: [queries, positives], rising in each row.

    Returns:
      [queries, 4].
    """
    hits = np.arange(1, ranks.shape[1] + 1)
    precision = hits / ranks
    # Market-1501's MATLAB code starts the curve at precision 1.
    before = np.where(ranks > 1, (hits - 1) / np.maximum(ranks - 1, 1), 1.0)
    best_from_here = np.maximum.accumulate(precision[:, ::-1], axis=1)
    results = (precision, (before + precision) / 2, best_from_here, precision[:, -1:])
    return np.stack([np.mean(result, axis=1) for result in results], axis=1)
