"""An evaluation in parts: by pair of cameras, and query by query."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsam_jax.metrics import ranking
from fgsam_jax.metrics.counting import Ranks
from fgsam_jax.metrics.inputs import whole
from fgsam_jax.metrics.neighbours import pair_distances
from fgsam_jax.metrics.precision import query_scores
from fgsam_jax.metrics.protocol import Protocol
from fgsam_jax.metrics.scores import Scores, checked, means
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


@dataclass(frozen=True, eq=False)
class Ranking:
    """One ranking of a gallery, from which all that is told of it follows.

    Attributes:
      queries: [queries, dim].
      gallery: [gallery, dim] with the junk still in.
      protocol: of both.
      ranks: of the positives, within each camera too if `of` was asked for them.
      asked: [n], the queries that have a positive.
      scores_of: [n, 5], what `query_scores` says of them.
    """

    queries: NDArray
    gallery: NDArray
    protocol: Protocol
    ranks: Ranks

    @classmethod
    def of(cls, *problem: Any, same_camera: str, by_camera: bool = False) -> "Ranking":
        """Rank a gallery.

        Args:
          problem: the first six arguments of `metrics.evaluate`.
          same_camera: see there.
          by_camera: rank within the images of each camera too.

        Raises:
          InputError: as `metrics.evaluate`, but for nothing to find.
        """
        queries, gallery, protocol = checked(*problem, same_camera)  # type: ignore[call-arg]
        groups = np.unique(protocol.cameras, return_inverse=True)[1] if by_camera else None
        blocks = ranking.of_embeddings(queries, gallery, protocol, groups)
        ranks = Ranks(*(np.concatenate(x) for x in zip(*blocks, strict=True)))
        return cls(queries, gallery, protocol, ranks)

    @cached_property
    def asked(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.ranks.counts)

    @cached_property
    def scores_of(self) -> NDArray[np.float64]:
        if not len(self.asked):
            raise self.protocol.nothing_to_find()
        return query_scores(self.ranks)

    def scores(self) -> Scores:
        """As `metrics.evaluate`. Raises InputError where there is nothing to find."""
        return means(self.scores_of, 50)

    def per_query(self) -> QueryResults:
        """As `metrics.per_query`. Raises InputError where there is nothing to find."""
        scores, asked, counts = self.scores_of, self.asked, self.ranks.counts
        first = (np.cumsum(counts) - counts)[asked]
        hit = self.protocol.kept[self.ranks.columns[first]]
        miss = _nearest_misses(self.queries, self.gallery, self.protocol)[asked]
        miss_distance = np.full(len(asked), np.inf)
        some = miss != NONE
        pairs = self.queries, self.gallery
        miss_distance[some] = np.sqrt(pair_distances(*pairs, asked[some], miss[some]))
        return QueryResults(
            asked,
            counts[asked],
            scores[:, 1],
            self.ranks.ranks[first],
            hit,
            np.sqrt(pair_distances(*pairs, asked, hit)),
            miss,
            miss_distance,
        )

    def by_camera_pair(self, max_rank: int = 50) -> dict[tuple[int, int], Scores]:
        """As `metrics.by_camera_pair`, of a ranking by camera."""
        whole("max_rank", max_rank, 1)
        counts, _, columns, within = self.ranks
        rows = np.repeat(np.arange(len(counts)), counts)
        asked, seen = self.protocol.query_cameras[rows], self.protocol.cameras[columns]
        found = {}
        for one, other in np.unique(np.stack([asked, seen]), axis=1).T.tolist():
            some = (asked == one) & (seen == other)
            number = np.bincount(rows[some], minlength=len(counts))
            pair = Ranks(number, within[some], columns[some], within[some])
            found[one, other] = means(query_scores(pair), max_rank)
        return found


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
    return Ranking.of(
        query_embeddings,
        query_identities,
        query_cameras,
        gallery_embeddings,
        gallery_identities,
        gallery_cameras,
        same_camera=same_camera,
    ).per_query()


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
    ranked = Ranking.of(
        query_embeddings,
        query_identities,
        query_cameras,
        gallery_embeddings,
        gallery_identities,
        gallery_cameras,
        same_camera=same_camera,
        by_camera=True,
    )
    return ranked.by_camera_pair(max_rank)


def _nearest_misses(queries: NDArray, gallery: NDArray, protocol: Protocol) -> NDArray[np.int64]:
    """[queries], the gallery rows of the nearest negatives, or `NONE`."""
    found = np.full(len(queries), NONE)
    for tile in tiles(queries, gallery, protocol):
        protocol.hide(tile.distances, tile.queries)
        tile.distances[np.isnan(tile.distances)] = np.inf
        least = tile.distances.min(axis=1)
        near = tile.distances <= least[:, None] + 2 * tile.slack[:, None]
        near[~np.isfinite(least) | (np.count_nonzero(near, axis=1) == 1)] = False
        tile.measure(near)
        place, any_left = tile.distances.argmin(axis=1), np.isfinite(least)
        found[tile.queries] = np.where(any_left, protocol.kept[place], NONE)
    return found
