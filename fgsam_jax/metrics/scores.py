"""Rank-k, mean average precision and mINP of a query set in a gallery.

Everything about one query follows from the ranks of its positives, so the gallery is never put in
order: `ranking` counts what is before each, and `precision` has the formulas. A gallery image is
before another if its distance is smaller or, at equal distance, if it is earlier in the gallery.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsam_jax.errors import InputError
from fgsam_jax.metrics import ranking
from fgsam_jax.metrics.counting import Ranks
from fgsam_jax.metrics.inputs import numbers, whole
from fgsam_jax.metrics.precision import query_scores
from fgsam_jax.metrics.protocol import Protocol


@dataclass(frozen=True, eq=False)
class Scores:
    """What an evaluation found; all but the last are fractions between 0 and 1.

    Attributes:
      cmc: [max_rank] float64, share of valid queries with a hit among the first k images.
      map: mean average precision, the mean of the precision at every hit. What torchreid,
        fast-reid and most papers report.
      map_trapezoid: the area under the precision-recall curve by the trapezoid rule, the official
        MATLAB evaluation of Market-1501.
      map_interpolated: at every hit the highest precision at this or a later hit, the FGSAM
        paper's wording.
      minp: the mean over queries of (number of positives) / (rank of the last one).
      valid_queries: how many queries had a positive left to find; the others do not count.
    """

    cmc: NDArray[np.float64]
    map: float
    map_trapezoid: float
    map_interpolated: float
    minp: float
    valid_queries: int

    def rank(self, k: int) -> float:
        """Rank-k accuracy: the share of valid queries with a hit among the first k images.

        Args:
          k: from 1 to max_rank.

        Raises:
          InputError: another k.
        """
        if whole("rank", k, 1) > len(self.cmc):
            raise InputError(
                f"rank {k} was asked for, but the ranks 1 to {len(self.cmc)} were evaluated: "
                f"evaluate with a larger max_rank."
            )
        return float(self.cmc[k - 1])

    def to_dict(self) -> dict[str, Any]:
        """The scores as plain numbers and lists, ready for JSON, by the names of the fields."""
        return dataclasses.asdict(self) | {"cmc": self.cmc.tolist()}


def evaluate(
    query_embeddings: ArrayLike,
    query_identities: ArrayLike,
    query_cameras: ArrayLike,
    gallery_embeddings: ArrayLike,
    gallery_identities: ArrayLike,
    gallery_cameras: ArrayLike,
    *,
    same_camera: str = "drop_same_identity",
    max_rank: int = 50,
) -> Scores:
    """Ranks the gallery by Euclidean distance for every query and scores the rankings.

    Gallery images of identity -1 (junk) are taken out; those of identity 0 (distractors) are
    nobody's match, so people are numbered from 1. Ties go by gallery order. A query without a
    positive does not count.

    The scores are those of exact float64 distances, whatever the threads and the BLAS library: a
    float32 matrix product settles every pair but those nearer to a tie than its rounding error,
    and these are compared by the sum of squared differences. Both sets may be memory-mapped; the
    memory taken does not grow with queries x gallery.

    Args:
      query_embeddings: [queries, dim].
      query_identities: [queries] int.
      query_cameras: [queries] int.
      gallery_embeddings: [gallery, dim].
      gallery_identities: [gallery] int.
      gallery_cameras: [gallery] int.
      same_camera: which gallery images of the query's own camera are taken out:
        "drop_same_identity" those of the query's person (the protocol of Market-1501),
        "drop_all" every one, "keep" none.
      max_rank: length of the CMC. Past the end of a smaller gallery it keeps its last value.

    Returns:
      The scores, means over the valid queries.

    Raises:
      InputError: shapes or types that do not fit (masked arrays, text, identities that are no whole
        numbers), an empty set, embeddings that are not finite, a query of identity 0, or no query
        left; the message names the rule that took the last one.

    Example:
      >>> queries, gallery = [[0.0], [5.0]], [[0.1], [0.3], [4.0], [5.0]]
      >>> scores = evaluate(queries, [1, 2], [1, 1], gallery, [3, 1, 2, 2], [2, 2, 2, 1])
      >>> scores.cmc[:2], scores.map, scores.valid_queries  # the second query's twin is dropped
      (array([0.5, 1. ]), 0.75, 2)
    """
    queries, gallery, protocol = checked(
        query_embeddings,
        query_identities,
        query_cameras,
        gallery_embeddings,
        gallery_identities,
        gallery_cameras,
        same_camera,
    )
    return _scores(ranking.of_embeddings(queries, gallery, protocol), protocol, max_rank)


def evaluate_distances(
    distances: Any,
    query_identities: ArrayLike,
    query_cameras: ArrayLike,
    gallery_identities: ArrayLike,
    gallery_cameras: ArrayLike,
    *,
    same_camera: str = "drop_same_identity",
    max_rank: int = 50,
) -> Scores:
    """Scores the rankings of a matrix of distances, for example of re-ranked ones.

    Distances of equal embeddings must be equal here to tie, which those of a matrix product
    seldom are: prefer `evaluate` where there are embeddings.

    Args:
      distances: [queries, gallery], smaller is more alike; infinity is allowed, NaN is not.
        Compared as they are from float32 on, whole numbers of more than 16 bits as float64. What
        works its rows out when it is indexed, as `retrieval.rerank.Reranked`, is never held whole.
      query_identities: [queries] int.
      query_cameras: [queries] int.
      gallery_identities: [gallery] int.
      gallery_cameras: [gallery] int.
      same_camera: see `evaluate`.
      max_rank: see `evaluate`.

    Returns:
      The scores, means over the valid queries.

    Raises:
      InputError: as `evaluate`, and NaN among the distances, also where junk hides them.

    Example:
      >>> scores = evaluate_distances([[0.1, 0.2, 0.3]], [1], [1], [2, 1, 1], [2, 2, 2])
      >>> scores.rank(1), scores.rank(2), round(scores.map, 4)  # (1/2 + 2/3) / 2
      (0.0, 1.0, 0.5833)
    """
    lazy = hasattr(distances, "dtype") and not hasattr(distances, "__array__")
    matrix: Any = distances if lazy else numbers("Distances", distances, "[queries, gallery]")
    protocol = Protocol(
        query_identities,
        query_cameras,
        gallery_identities,
        gallery_cameras,
        same_camera,
        matrix.shape,
    )
    return _scores(ranking.of_distances(matrix, protocol), protocol, max_rank)


def checked(
    query_embeddings: ArrayLike,
    query_identities: ArrayLike,
    query_cameras: ArrayLike,
    gallery_embeddings: ArrayLike,
    gallery_identities: ArrayLike,
    gallery_cameras: ArrayLike,
    same_camera: str,
) -> tuple[NDArray[Any], NDArray[Any], Protocol]:
    """Both sets of embeddings as arrays, and the protocol of an evaluation.

    Arguments are those of `evaluate`.

    Raises:
      InputError: as `evaluate`, but for embeddings that are not finite or nothing to find.

    Example:
      >>> query, gallery = ([[0.0]], [7], [1]), ([[1.0], [2.0]], [7, -1], [2, 2])
      >>> _, rows, protocol = checked(*query, *gallery, "keep")
      >>> rows.shape, protocol.kept  # without the junk
      ((2, 1), array([0]))
    """
    queries = _embeddings("query", query_embeddings)
    gallery = _embeddings("gallery", gallery_embeddings)
    if queries.shape[1] != gallery.shape[1]:
        raise InputError(
            f"Query embeddings have {queries.shape[1]} dimensions and gallery embeddings "
            f"{gallery.shape[1]}: both must come from one model."
        )
    protocol = Protocol(
        query_identities,
        query_cameras,
        gallery_identities,
        gallery_cameras,
        same_camera,
        (len(queries), len(gallery)),
    )
    protocol.refuse_nobody()
    return queries, gallery, protocol


def _scores(found: Iterable[Ranks], protocol: Protocol, max_rank: int) -> Scores:
    """The means over all queries that have a positive, in the order of the queries.

    Args:
      found: the ranks of one block of queries after the other, not yet asked for.
      protocol: of the same queries.
      max_rank: length of the CMC.
    """
    whole("max_rank", max_rank, 1)
    protocol.refuse_nobody()
    queries = np.concatenate([query_scores(ranks) for ranks in found])
    if not len(queries):
        raise protocol.nothing_to_find()
    return means(queries, max_rank)


def means(queries: NDArray[np.float64], max_rank: int) -> Scores:
    """The scores of all queries together.

    Args:
      queries: [n, 5], of `query_scores`, n at least 1.
      max_rank: length of the CMC.

    Example:
      >>> means(np.array([[1, 1, 1, 1, 1], [2, 0.5, 0.25, 0.5, 0.5]]), max_rank=2).cmc
      array([0.5, 1. ])
    """
    first, at_hits, trapezoid, interpolated, inverse_penalty = queries.T
    counts = np.bincount(np.minimum(first, max_rank + 1).astype(int), minlength=max_rank + 2)
    return Scores(
        cmc=np.cumsum(counts[1:-1]) / len(queries),
        map=float(np.mean(at_hits)),
        map_trapezoid=float(np.mean(trapezoid)),
        map_interpolated=float(np.mean(interpolated)),
        minp=float(np.mean(inverse_penalty)),
        valid_queries=len(queries),
    )


def _embeddings(images: str, values: ArrayLike) -> NDArray[Any]:
    """An array [n, dim], not copied; `images` names it in an error."""
    array = numbers(f"{images} embeddings", values, f"[{images}, dim]")
    if array.size == 0:
        raise InputError(
            f"The {images} set is empty (shape {array.shape}): expected at least one embedding."
        )
    return array
