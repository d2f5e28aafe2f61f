"""CMC with one gallery image of each person: single gallery shot."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsam_jax.metrics.counting import inside
from fgsam_jax.metrics.protocol import Protocol, is_person
from fgsam_jax.metrics.scores import checked
from fgsam_jax.metrics.tiles import tiles


def single_gallery_shot(
    query_embeddings: ArrayLike,
    query_identities: ArrayLike,
    query_cameras: ArrayLike,
    gallery_embeddings: ArrayLike,
    gallery_identities: ArrayLike,
    gallery_cameras: ArrayLike,
    *,
    same_camera: str = "drop_same_identity",
    max_rank: int = 50,
    draws: int = 10,
    seed: int = 0,
) -> NDArray[np.float64]:
    """The CMC of galleries that hold one image of each person, drawn at random for each query.

    Of the gallery images that are ranked for a query, one of each person is drawn, its own person
    among them; every distractor stays. The rank of the query's person is found `draws` times. This
    is the protocol of CUHK03 as open-reid and torchreid have it, which draw 10 times too.

    Args:
      query_embeddings: [queries, dim].
      query_identities: [queries] int.
      query_cameras: [queries] int.
      gallery_embeddings: [gallery, dim].
      gallery_identities: [gallery] int.
      gallery_cameras: [gallery] int.
      same_camera: see `metrics.evaluate`.
      max_rank: length of the CMC.
      draws: for each query.
      seed: of the draws; those of a query depend on this and on its place alone.

    Returns:
      [max_rank], the share of draws with the query's person among the first k images.

    Raises:
      InputError: as `metrics.evaluate`.

    Example:
      >>> gallery, identities = [[1.0], [2.0], [3.0]], [1, 2, 1]
      >>> print(single_gallery_shot([[0.0]], [1], [1], gallery, identities, [2, 2, 2], max_rank=2))
      [0.6 1. ]
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
    identities = np.asarray(gallery_identities)[protocol.kept]
    ranks = [
        _ranks(row, own, identities, draws, np.random.default_rng([seed, query]))
        for query, row, own in _rows(queries, gallery, protocol)
    ]
    if not ranks:
        raise protocol.nothing_to_find()
    counts = np.bincount(np.minimum(np.concatenate(ranks), max_rank + 1), minlength=max_rank + 2)
    return np.cumsum(counts[1:-1]) / (len(ranks) * draws)


def _rows(queries: NDArray, gallery: NDArray, protocol: Protocol):
    """Of each query with something to find its number, the distances to all, and its positives.

    What is neither positive nor negative is NaN; positives are exact, and what is as
    near as one.
    """
    for tile in tiles(queries, gallery, protocol):
        rows, columns = protocol.positives(tile.queries)
        own = np.zeros(tile.distances.shape, bool)
        own[rows, columns] = True
        tile.measure(own)
        hits = tile.distances[rows, columns]
        protocol.hide(tile.distances, tile.queries)
        doubtful = np.zeros(own.shape, bool)
        for row in np.unique(rows):
            aims = np.sort(hits[rows == row])
            line, slack = tile.distances[row], tile.slack[row]
            doubtful[row, inside(line, aims - slack, aims + slack)] = True
        tile.measure(doubtful)
        tile.distances[rows, columns] = hits
        for row in np.unique(rows):
            yield tile.queries.start + row, tile.distances[row], columns[rows == row]


def _ranks(
    distances: NDArray[np.float64],
    own: NDArray[np.int64],
    identities: NDArray[np.int64],
    draws: int,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """[draws], the ranks of the query's person; ties go by gallery order."""
    shown = ~np.isnan(distances)
    shown[own] = False
    people = np.flatnonzero(shown & is_person(identities))
    people = people[np.argsort(identities[people], kind="stable")]
    _, starts, images = np.unique(identities[people], return_index=True, return_counts=True)
    hit = own[random.integers(0, len(own), draws)][:, None]
    drawn = people[starts + random.integers(0, images, (draws, len(images)))]
    nobody = np.flatnonzero(shown & ~is_person(identities))
    ranks = np.ones(draws, np.int64)
    for others in (drawn, nobody[None]):
        nearer = distances[others] < distances[hit]
        tied = (distances[others] == distances[hit]) & (others < hit)
        ranks += np.count_nonzero(nearer | tied, axis=1)
    return ranks
