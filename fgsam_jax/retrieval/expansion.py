"""Query expansion: a query is replaced by a mean of itself and its nearest gallery images."""

import numpy as np
from numpy.typing import NDArray

from fgsam_jax.errors import check_arrays
from fgsam_jax.metrics.counting import even_parts
from fgsam_jax.metrics.neighbours import nearest

_ROWS = 256  # of queries at a time


def expand_queries(
    query_rows: NDArray, gallery_rows: NDArray, *, k: int = 5, alpha: float = 3.0
) -> NDArray[np.float32]:
    r"""Queries by alpha query expansion; with `alpha=0` it is average query expansion.

    .. math::
      q' \propto q + \sum_{x \in N(q, k)} \max(q \cdot x, 0)^\alpha x

    Average query expansion is of Chum et al. ("Total Recall", ICCV 2007), the weights are of
    Radenovic et al. ("Fine-tuning CNN Image Retrieval with No Human Annotation", 2018), and the
    defaults are those of fast-reid, which expands the gallery too.

    Args:
      query_rows: [queries, dim] descriptors of length 1.
      gallery_rows: [gallery, dim] of length 1, without junk.
      k: how many gallery images are added to each query, all if there are fewer.
      alpha: exponent of the similarity that weighs them.

    Returns:
      [queries, dim] of length 1, to be compared with the same gallery.

    Raises:
      InputError: shapes that do not fit, NaN or infinity.

    Example:
      >>> query, gallery = np.array([[1.0, 0.0]]), np.array([[0.6, 0.8], [-1.0, 0.0]])
      >>> print(expand_queries(query, gallery, k=1, alpha=0).round(2))  # (1.6, 0.8) at length 1
      [[0.89 0.45]]
      >>> print(expand_queries(query, gallery, k=1).round(2))  # 0.6**3 of it
      [[0.99 0.15]]
    """
    check_arrays("query_rows [queries, dim], gallery_rows [gallery, dim]", query_rows, gallery_rows)
    columns = nearest(query_rows, gallery_rows, min(k, len(gallery_rows))).columns
    result = np.empty(query_rows.shape, np.float32)
    for some in even_parts(slice(0, len(query_rows)), _ROWS):
        near, query = gallery_rows[columns[some]], query_rows[some]
        weights = np.maximum(np.einsum("qkd,qd->qk", near, query), 0) ** alpha
        total = query + np.einsum("qk,qkd->qd", weights, near)
        result[some] = total / np.linalg.norm(total, axis=1, keepdims=True)
    return result
