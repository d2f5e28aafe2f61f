"""Rank-k, mean average precision and mINP of a query set in a gallery.

Everything about one query follows from the ranks of its positives, so the gallery is never put in
order: `ranking` counts what is before each. A gallery image comes before another when its distance
is smaller or, at equal distance, when it stands earlier in the gallery.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsam_jax.errors import InputError
from fgsam_jax.metrics import ranking
from fgsam_jax.metrics.protocol import Protocol
from fgsam_jax.metrics.ranking import Ranks


@dataclass(frozen=True, eq=False)
class Scores:
    """What an evaluation found; all but the last are fractions between 0 and 1.

    Attributes:
      cmc: [max_rank] float64, the share of valid queries with a hit among the first k images.
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
        """The share of valid queries with a hit among the first k images."""
        if not 1 <= k <= len(self.cmc):
            raise InputError(
                f"rank {k} was asked for, but the ranks 1 to {len(self.cmc)} were evaluated: "
                f"evaluate with a larger max_rank."
            )
        return float(self.cmc[k - 1])

    def to_dict(self) -> dict[str, Any]:
        """The scores as plain numbers and lists, ready for JSON."""
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
    nobody's match. Ties go by gallery order. A query without a positive does not count.

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

    Raises:
      InputError: shapes that do not fit, an empty set, embeddings that are not finite, or no
        query left; the message names the rule that took the last one.
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
    return _scores(ranking.of_embeddings(queries, gallery, protocol), protocol, max_rank)


def evaluate_distances(
    distances: ArrayLike,
    query_identities: ArrayLike,
    query_cameras: ArrayLike,
    gallery_identities: ArrayLike,
    gallery_cameras: ArrayLike,
    *,
    same_camera: str = "drop_same_identity",
    max_rank: int = 50,
) -> Scores:
    """Scores the rankings of a matrix of distances, for example of re-ranked ones.

    Args:
      distances: [queries, gallery], smaller is more alike; infinity is allowed, NaN is not.
        Compared as they are from float32 on, whole numbers of more than 16 bits as float64.
      query_identities: [queries] int.
      query_cameras: [queries] int.
      gallery_identities: [gallery] int.
      gallery_cameras: [gallery] int.
      same_camera: see `evaluate`.
      max_rank: see `evaluate`.

    Raises:
      InputError: as `evaluate`.
    """
    matrix = np.asarray(distances)
    if matrix.ndim != 2:
        raise InputError(
            f"Distances must have the shape [queries, gallery], but came with {matrix.shape}."
        )
    protocol = Protocol(
        query_identities,
        query_cameras,
        gallery_identities,
        gallery_cameras,
        same_camera,
        matrix.shape,
    )
    return _scores(ranking.of_distances(matrix, protocol), protocol, max_rank)


def check_matches(
    query_identities: ArrayLike,
    query_cameras: ArrayLike,
    gallery_identities: ArrayLike,
    gallery_cameras: ArrayLike,
    *,
    same_camera: str = "drop_same_identity",
) -> None:
    """Whether some query has something to find, which `evaluate` would only say in the end.

    Args:
      query_identities: [queries] int.
      query_cameras: [queries] int.
      gallery_identities: [gallery] int.
      gallery_cameras: [gallery] int.
      same_camera: see `evaluate`.

    Raises:
      InputError: as `evaluate`, where no query is left.
    """
    shape = (len(np.asarray(query_identities)), len(np.asarray(gallery_identities)))
    protocol = Protocol(
        query_identities, query_cameras, gallery_identities, gallery_cameras, same_camera, shape
    )
    if not any(len(protocol.positives(block)[0]) for block in protocol.blocks()):
        raise InputError(f"No query has a positive to find: {protocol.why_nothing_is_left()}")


def _scores(found: Iterable[Ranks], protocol: Protocol, max_rank: int) -> Scores:
    if max_rank < 1:
        raise InputError(f"max_rank is {max_rank}: expected at least 1.")
    queries = np.concatenate([_query_scores(ranks) for ranks in found])
    if not len(queries):
        raise InputError(f"No query has a positive to find: {protocol.why_nothing_is_left()}")
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


def _query_scores(found: Ranks) -> NDArray[np.float64]:
    """[valid queries, 5]: the first rank and the results of `_average_precisions`."""
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


def _embeddings(images: str, values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values)
    if array.size == 0:
        raise InputError(
            f"The {images} set is empty (shape {array.shape}): expected at least one embedding."
        )
    if array.ndim != 2:
        raise InputError(
            f"{images} embeddings must have the shape [{images}, dim], but came with {array.shape}."
        )
    return array
