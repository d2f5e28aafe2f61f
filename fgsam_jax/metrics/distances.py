"""Squared Euclidean distances: exact ones of a few pairs, and fast ones with a bound of error.

"Exact" is the float64 sum of squared differences. The fast ones come from a matrix product, much
quicker for a whole gallery, but :math:`|q|^2 + |g|^2 - 2 q g` cancels where q and g
are near each other, and the order in which a BLAS library adds depends on shapes and threads. So
every fast distance comes with a bound of its error, and who compares two of them asks for the
exact ones where the bounds overlap. The ranking is then the same on every machine.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fgsam_jax.errors import InputError

_CHUNK_BYTES = 2**20
_UNIT = np.finfo(np.float64).eps / 2


def squared_distances(x: NDArray, y: NDArray) -> NDArray[np.float64]:
    """Of row i of x to row i of y, by differences: what all others are held against.

    Equal rows give equal numbers, wherever they stand and whatever is computed beside them.

    Args:
      x: [n, dim] or [dim], one row for all.
      y: [n, dim].

    Returns:
      [n].

    Example:
      >>> squared_distances(np.zeros(2), np.array([[3.0, 4.0], [0.0, 1.0]]))
      array([25.,  1.])
    """
    x = np.broadcast_to(x, y.shape)
    result = np.empty(len(y))
    for chunk in _chunks(y):
        difference = np.subtract(y[chunk], x[chunk], dtype=np.float64)
        np.square(difference, out=difference)
        np.sum(difference, axis=1, out=result[chunk])
    return result


class Frame:
    """Where embeddings are moved to so that rounding hurts least: around 0, no longer than 1.

    Distances are those of the embeddings times `scale`, a power of 2, which costs no rounding.
    Without the move a common offset of all embeddings, as features after a ReLU have it, would
    take most digits of the product.

    Attributes:
      origin: [dim], what is subtracted before scaling.
      scale: what is multiplied by then.
    """

    def __init__(self, origin: NDArray[np.float64], longest: float):
        # At most 2**100: a difference whose square is 0 in float64 must be nothing here as well.
        exponent = np.frexp(longest + np.linalg.norm(origin))[1]
        self.origin, self.scale = origin, float(np.ldexp(1.0, min(-int(exponent), 100)))

    @classmethod
    def around(cls, queries: NDArray, gallery: NDArray) -> "Frame":
        """The frame around the mean of the gallery in which nothing is longer than 1.

        Args:
          queries: [queries, dim].
          gallery: [gallery, dim].

        Raises:
          InputError: NaN or infinity among them.
        """
        longest_query, _ = _length_and_sum("query", queries)
        longest, total = _length_and_sum("gallery", gallery)
        return cls(total / len(gallery), max(longest, longest_query))

    def move(self, rows: NDArray, dtype: type[np.floating]) -> tuple[NDArray, NDArray[np.float64]]:
        """Rows as they stand in this frame.

        Args:
          rows: [n, dim] embeddings.
          dtype: to round them to, after moving in float64.

        Returns:
          [n, dim] in the dtype, and [n] the squared lengths before rounding.
        """
        moved, norms = np.empty(rows.shape, dtype), np.empty(len(rows))
        for chunk in _chunks(rows):
            exact = np.subtract(rows[chunk], self.origin, dtype=np.float64)
            exact *= self.scale
            moved[chunk] = exact
            np.sum(np.square(exact, out=exact), axis=1, out=norms[chunk])
        return moved, norms


class Targets:
    """Some gallery embeddings, [n, dim], made ready to be measured from many queries.

    They are moved into the frame once in one dtype. A product in the other moves them again.
    """

    def __init__(self, rows: NDArray, frame: Frame, dtype: type[np.floating] = np.float32):
        """Rows [n, dim] of the gallery, the frame of the whole evaluation, the usual dtype."""
        self._rows, self._frame, self._dtype = rows, frame, dtype
        self._moved = frame.move(rows, dtype)

    def shifted_distances(
        self, queries: NDArray, dtype: type[np.floating]
    ) -> tuple[NDArray, NDArray[np.float64], NDArray[np.float64]]:
        r"""Distances by a matrix product, less what is the same in a whole row.

        With q and g in the frame, d^2 - |q|^2 = |g|^2 - 2 q g. For u = eps / 2 of the dtype and
        r = |q| + |g| the product is wrong by at most dim u |q||g| <= dim u r^2 / 4 in any order
        of summation; rounding q and g, the norms, the sum and what it is compared with costs
        less than 8 u r^2, the exact distances themselves 2 (dim + 4) u r^2 of float64. The
        hundredth on top is for terms in u^2, up to a dim of 100,000.

        Args:
          queries: [queries, dim].
          dtype: that of the product.

        Returns:
          [queries, n] in the dtype; [queries] the shift; [queries] the bound of the error.
        """
        dim = queries.shape[1]
        q, q_norms = self._frame.move(queries, dtype)
        g, g_norms = self._moved if dtype == self._dtype else self._frame.move(self._rows, dtype)
        q *= -2
        distances = q @ g.T
        distances += g_norms.astype(dtype)
        reach = (np.sqrt(q_norms) + np.sqrt(g_norms.max())) ** 2
        unit = float(np.finfo(dtype).eps) / 2
        slack = 1.01 * ((dim / 2 + 8) * unit + 2 * (dim + 4) * _UNIT) * reach
        return distances, q_norms, slack + dim * float(np.finfo(np.float32).tiny)

    def scaled(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Exact squared distances in the measure of `shifted_distances`."""
        return distances * self._frame.scale**2

    def exact(self, query: NDArray, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Squared distances of one query to some rows, without computing equal ones again.

        A collapsed model gives thousands of equal rows, all of which are in doubt.

        Args:
          query: [dim].
          columns: [m], places among these targets.

        Returns:
          [m].
        """
        if len(columns) <= 256:
            return squared_distances(query, self._rows[columns])
        distinct, place = np.unique(self._twins[columns], return_inverse=True)
        return squared_distances(query, self._rows[distinct])[place]

    @cached_property
    def _twins(self) -> NDArray[np.int64]:
        """[n], for every row the first one that is equal to it."""
        rows = np.ascontiguousarray(self._rows)
        whole = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0]
        _, first, place = np.unique(whole, return_index=True, return_inverse=True)
        return first[place]


def _length_and_sum(images: str, embeddings: NDArray) -> tuple[float, NDArray[np.float64]]:
    """The longest row's length and the sum of all rows [dim].

    Args:
      images: "query" or "gallery", for the error.
      embeddings: [n, dim].

    Raises:
      InputError: NaN or infinity among them, or rows too long to be squared.
    """
    longest, total, unusable = 0.0, np.zeros(embeddings.shape[1]), 0
    with np.errstate(over="ignore", invalid="ignore"):
        for chunk in _chunks(embeddings):
            rows = embeddings[chunk].astype(np.float64)
            total += np.sum(rows, axis=0)
            norms = np.sum(np.square(rows, out=rows), axis=1)
            unusable += int(np.sum(~np.isfinite(norms)))
            longest = max(longest, float(norms.max()))
    if unusable:
        raise InputError(
            f"{unusable} of {len(embeddings)} {images} embeddings contain NaN or infinity: "
            f"check the images and the checkpoint they came from."
        )
    return float(np.sqrt(longest)), total


def _chunks(rows: NDArray) -> list[slice]:
    """Slices of rows whose float64 copies stay small enough for a processor's cache."""
    length = max(1, _CHUNK_BYTES // (8 * rows.shape[1]))
    return [slice(start, start + length) for start in range(0, len(rows), length)]
