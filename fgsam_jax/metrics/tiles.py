"""Distances of some queries to all of the gallery, exact where a comparison needs it.

`ranking` needs no more than counts and takes the gallery in parts; here a query sees all of it.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fgsam_jax.metrics.counting import even_parts, inside
from fgsam_jax.metrics.distances import Frame, Targets
from fgsam_jax.metrics.protocol import Protocol
from fgsam_jax.metrics.ranking import TILE_BYTES


class Tile:
    """Squared distances of some queries to all of the gallery but junk, by a float64 product.

    Attributes:
      queries: which, a slice of all.
      distances: [some, columns], to be changed at will.
      slack: [some], how far one of a row may be from the exact one, and from what it is compared
        with.
    """

    def __init__(self, queries: slice, rows: NDArray, targets: Targets, scale: float):
        """The queries and their rows [some, dim], the gallery, and its frame's scale."""
        tile, shift, slack = targets.shifted_distances(rows, np.float64)
        tile += shift[:, None]
        tile /= scale**2
        self.queries, self.distances, self.slack = queries, tile, slack / scale**2
        self._rows, self._targets = rows, targets

    def near(self, aims: NDArray[np.float64]) -> NDArray[np.bool_]:
        """[some, columns], which distances are within their row's slack of any of rising aims."""
        found = np.zeros(self.distances.shape, bool)
        for row, line, slack in zip(found, self.distances, self.slack, strict=True):
            row[inside(line, aims - slack, aims + slack)] = True
        return found

    def measure(self, these: NDArray[np.bool_]) -> None:
        """Puts exact distances in their place.

        Args:
          these: [some, columns], which.
        """
        for row in np.flatnonzero(these.any(axis=1)):
            columns = np.flatnonzero(these[row])
            self.distances[row, columns] = self._targets.exact(self._rows[row], columns)


def tiles(queries: NDArray, gallery: NDArray, protocol: Protocol) -> Iterator[Tile]:
    """All distances in blocks of queries that fit in memory.

    Args:
      queries: [queries, dim].
      gallery: [gallery, dim] with the junk still in.
      protocol: of both.

    Raises:
      InputError: NaN or infinity among them.

    Example:
      >>> protocol = Protocol([1], [1], [1, 2], [2, 2], "keep")
      >>> (tile,) = tiles(np.zeros((1, 1)), np.array([[1.0], [3.0]]), protocol)
      >>> tile.queries, tile.distances
      (slice(0, 1, None), array([[1., 9.]]))
    """
    frame = Frame.around(queries, gallery)
    if not len(protocol.kept):
        return
    targets = Targets(gallery[protocol.kept], frame, np.float64)
    for some in even_parts(slice(0, len(queries)), TILE_BYTES // 8 // len(protocol.kept)):
        yield Tile(some, queries[some], targets, frame.scale)
