"""Whether two images show one person: the receiver operating characteristic (ROC).

The pairs are those that an evaluation ranks: of every query with each of its gallery images that
are no junk and not dropped by the camera rule, distractors as strangers. A pair is accepted where
its distance is not above a threshold. In the words of ISO/IEC 19795-1, the true-match rate is the
share of accepted pairs of one person, the false-match rate that of two people.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsam_jax.metrics.neighbours import pair_distances
from fgsam_jax.metrics.scores import checked
from fgsam_jax.metrics.tiles import Tile, tiles

RATES = (1e-4, 1e-3, 1e-2, 1e-1)
_CURVE = [10 ** (place / 10) for place in range(-60, 1)]


@dataclass(frozen=True, eq=False)
class Verification:
    """The ROC of all pairs.

    Attributes:
      distances: [positives], Euclidean, rising: of each pair of one person.
      false_matches: [positives], how many pairs of two people are not farther.
      negatives: how many pairs of two people there are.
      area: under the curve, the chance that a pair of one person is nearer than one of two.
    """

    distances: NDArray[np.float64]
    false_matches: NDArray[np.int64]
    negatives: int
    area: float

    def at(self, false_match_rate: float) -> tuple[float, float]:
        """The true-match rate at the greatest threshold that keeps to a false-match rate.

        Args:
          false_match_rate: at most which share of the pairs of two people is accepted.

        Returns:
          The rate, and the threshold: the greatest distance of a pair of one person that is
          accepted, 0 if none is.
        """
        allowed = np.floor(false_match_rate * self.negatives * (1 + 1e-12))
        accepted = int(np.searchsorted(self.false_matches, allowed, side="right"))
        threshold = float(self.distances[accepted - 1]) if accepted else 0.0
        return accepted / len(self.distances), threshold

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the rates of `RATES` and the curve from 1e-6 to 1."""
        return {
            "true_match_rate": {f"{rate:.0e}": self.at(rate)[0] for rate in RATES},
            "threshold": {f"{rate:.0e}": self.at(rate)[1] for rate in RATES},
            "roc": [[rate, self.at(rate)[0]] for rate in _CURVE],
            "area": self.area,
            "positives": len(self.distances),
            "negatives": self.negatives,
        }


def verify(
    query_embeddings: ArrayLike,
    query_identities: ArrayLike,
    query_cameras: ArrayLike,
    gallery_embeddings: ArrayLike,
    gallery_identities: ArrayLike,
    gallery_cameras: ArrayLike,
    *,
    same_camera: str = "drop_same_identity",
) -> Verification:
    """The ROC of the pairs of queries and gallery, counted exactly, in bounded memory.

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
      >>> found = verify([[0.0]], [1], [1], [[1.0], [2.0], [3.0]], [1, 2, 1], [2, 2, 2])
      >>> found.at(0.5), found.at(1.0), found.area  # the stranger stands between the two
      ((0.5, 1.0), (1.0, 3.0), 0.5)
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
    pairs = ((*protocol.positives(block), block.start) for block in protocol.blocks())
    distances = np.concatenate(
        [pair_distances(queries, gallery, r + start, protocol.kept[c]) for r, c, start in pairs]
    )
    if not len(distances):
        raise protocol.nothing_to_find()
    distances.sort()
    below, not_above, negatives = 0, np.zeros(len(distances), np.int64), 0
    for tile in tiles(queries, gallery, protocol):
        protocol.hide(tile.distances, tile.queries)
        strangers = _settled(tile, distances)
        below += int(np.searchsorted(strangers, distances, side="left").sum())
        not_above += np.searchsorted(strangers, distances, side="right")
        negatives += len(strangers)
    area = 1 - (below + int(not_above.sum())) / 2 / len(distances) / max(1, negatives)
    return Verification(np.sqrt(distances), not_above, negatives, area)


def _settled(tile: Tile, aims: NDArray[np.float64]) -> NDArray[np.float64]:
    """[strangers], rising: on the right side of each of the rising `aims`, or equal to it."""
    widest = tile.slack.max()
    shown = _rising(tile)
    unsure = np.searchsorted(shown, aims + widest, "right") > np.searchsorted(
        shown, aims - widest, "left"
    )
    if not unsure.any():
        return shown
    del shown  # as large as the tile
    tile.measure(tile.near(aims[unsure]))
    return _rising(tile)


def _rising(tile: Tile) -> NDArray[np.float64]:
    shown = tile.distances[~np.isnan(tile.distances)]
    shown.sort()
    return shown
