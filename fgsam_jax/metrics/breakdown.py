"""An evaluation in parts: by pair of cameras, and query by query."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsam_jax.metrics import ranking
from fgsam_jax.metrics.neighbours import pair_distances
from fgsam_jax.metrics.precision import query_scores
from fgsam_jax.metrics.protocol import Protocol
from fgsam_jax.metrics.scores import Scores, checked, evaluate
from fgsam_jax.metrics.tiles import tiles

NONE = -1  # instead of a gallery image, where there is none


class QueryResults(NamedTuple):
    """What was found for each query that has a positive, in their order.

    Attributes:
      query: [n], its row.
      positives: [n], how many images there are to find.
      average_precision: [n], at hits.
      rank: [n], of the first hit.
      hit: [n], the gallery row of the first hit.
      hit_distance: [n], Euclidean.
      miss: [n], the gallery row of the nearest negative, `NONE` where all are positives.
      miss_distance: [n], infinite there.
    """

    query: NDArray[np.int64]
    positives: NDArray[np.int64]
    average_precision: NDArray[np.float64]
    rank: NDArray[np.int64]
    hit: NDArray[np.int64]
    hit_distance: NDArray[np.float64]
    miss: NDArray[np.int64]
    miss_distance: NDArray[np.float64]


def per_query(
    query_embeddings: ArrayLike,
    query_identities: ArrayLike,
    query_cameras: ArrayLike,
    gallery_embeddings: ArrayLike,
    gallery_identities: ArrayLike,
    gallery_cameras: ArrayLike,
    *,
    same_camera: str = "drop_same_identity",
) -> QueryResults:
    """Average precision, first hit and nearest miss of each query.

    Args:
      query_embeddings: [queries, dim].
      query_identities: [queries] int.
      query_cameras: [queries] int.
      gallery_embeddings: [gallery, dim].
      gallery_identities: [gallery] int.
      gallery_cameras: [gallery] int.
      same_camera: see `metrics.evaluate`.

    Raises:
      InputError: as `metrics.evaluate`.

    Example:
      >>> found = per_query([[0.0]], [1], [1], [[1.0], [2.0]], [2, 1], [2, 2])
      >>> found.rank, found.hit, found.miss, found.average_precision
      (array([2]), array([1]), array([0]), array([0.5]))
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
    blocks = list(ranking.of_embeddings(queries, gallery, protocol))
    ranks = ranking.Ranks(*(np.concatenate(x) for x in zip(*blocks, strict=True)))
    asked = np.flatnonzero(ranks.counts)
    if not len(asked):
        raise protocol.nothing_to_find()
    scores = query_scores(ranks)
    first = (np.cumsum(ranks.counts) - ranks.counts)[asked]
    hit = protocol.kept[ranks.columns[first]]
    miss = _nearest_misses(queries, gallery, protocol)[asked]
    miss_distance = np.full(len(asked), np.inf)
    some = miss != NONE
    miss_distance[some] = np.sqrt(pair_distances(queries, gallery, asked[some], miss[some]))
    return QueryResults(
        asked,
        ranks.counts[asked],
        scores[:, 1],
        ranks.ranks[first],
        hit,
        np.sqrt(pair_distances(queries, gallery, asked, hit)),
        miss,
        miss_distance,
    )


def _nearest_misses(queries: NDArray, gallery: NDArray, protocol: Protocol) -> NDArray[np.int64]:
    """[queries], the gallery rows of the nearest negatives, or `NONE`."""
    found = np.full(len(queries), NONE)
    for tile in tiles(queries, gallery, protocol):
        protocol.hide(tile.distances, tile.queries, slice(0, tile.distances.shape[1]))
        shown = np.where(np.isnan(tile.distances), np.inf, tile.distances)
        near = shown <= shown.min(axis=1, keepdims=True) + 2 * tile.slack
        near &= (np.isfinite(shown)) & (near.sum(axis=1, keepdims=True) > 1)
        tile.measure(near)
        shown[near] = tile.distances[near]
        place = shown.argmin(axis=1)
        any_left = np.isfinite(shown.min(axis=1))
        found[tile.queries] = np.where(any_left, protocol.kept[place], NONE)
    return found


def by_camera_pair(
    query_embeddings: NDArray,
    query_identities: NDArray,
    query_cameras: NDArray,
    gallery_embeddings: NDArray,
    gallery_identities: NDArray,
    gallery_cameras: NDArray,
    *,
    same_camera: str = "drop_same_identity",
    max_rank: int = 50,
) -> dict[tuple[int, int], Scores]:
    """The scores of one camera's queries in one camera's gallery, distractors of it included.

    As Fig. 7 of Zheng et al. ("Scalable Person Re-identification: A Benchmark", 2015).

    Args:
      query_embeddings: [queries, dim].
      query_identities: [queries] int.
      query_cameras: [queries] int.
      gallery_embeddings: [gallery, dim].
      gallery_identities: [gallery] int.
      gallery_cameras: [gallery] int.
      same_camera: see `metrics.evaluate`.
      max_rank: see `metrics.evaluate`.

    Returns:
      {(query camera, gallery camera): scores}; pairs without anything to find are left out.

    Raises:
      InputError: as `metrics.evaluate`.

    Example:
      >>> rows, cameras = np.array([[0.0], [1.0]]), np.array([1, 2])
      >>> found = by_camera_pair(rows, cameras * 0 + 7, cameras, rows, cameras * 0 + 7, cameras)
      >>> {pair: scores.map for pair, scores in found.items()}
      {(1, 2): 1.0, (2, 1): 1.0}
    """
    found = {}
    for one in np.unique(query_cameras):
        asked = query_cameras == one
        query = query_identities[asked], query_cameras[asked]
        for other in np.unique(gallery_cameras):
            seen = gallery_cameras == other
            gallery = gallery_identities[seen], gallery_cameras[seen]
            if Protocol(*query, *gallery, same_camera).has_positive().any():
                found[int(one), int(other)] = evaluate(
                    query_embeddings[asked],
                    *query,
                    gallery_embeddings[seen],
                    *gallery,
                    same_camera=same_camera,
                    max_rank=max_rank,
                )
    return found
