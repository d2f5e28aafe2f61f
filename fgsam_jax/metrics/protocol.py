"""Who may match whom: the rules of an evaluation, from identities and cameras alone."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsam_jax.errors import InputError

JUNK = -1
DISTRACTOR = 0
SAME_CAMERA = ("drop_same_identity", "drop_all", "keep")

# Bounds the memory that positives take; a usual set stays below it and is done in one go.
_PAIRS = 2**19

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


class Protocol:
    """The identities and cameras of an evaluation, with junk taken out of the gallery.

    Attributes:
      kept: indices of the gallery images that are no junk; "columns" are places in this list.
      queries: how many queries there are.

    Raises:
      InputError: no such camera rule, an empty set, or rows that do not fit `shape`.
    """

    def __init__(
        self,
        query_identities: ArrayLike,
        query_cameras: ArrayLike,
        gallery_identities: ArrayLike,
        gallery_cameras: ArrayLike,
        same_camera: str,
        shape: tuple[int, ...],
    ):
        if same_camera not in SAME_CAMERA:
            raise InputError(
                f"same_camera is {same_camera!r}: expected one of {', '.join(SAME_CAMERA)}."
            )
        arrays = {}
        for name, values, length in (
            ("query_identities", query_identities, shape[0]),
            ("query_cameras", query_cameras, shape[0]),
            ("gallery_identities", gallery_identities, shape[1]),
            ("gallery_cameras", gallery_cameras, shape[1]),
        ):
            arrays[name] = integers(name, values)
            if len(arrays[name]) != length:
                images = name.split("_")[0]
                raise InputError(
                    f"{name} has {len(arrays[name])} entries for {length} {images} images: "
                    f"expected one per image."
                )
        for images, length in zip(("query", "gallery"), shape, strict=True):
            if not length:
                raise InputError(f"The {images} set is empty: expected at least one image.")
        self.kept = np.flatnonzero(arrays["gallery_identities"] != JUNK)
        self.queries = shape[0]
        self._junk = shape[1] - len(self.kept)
        self._same_camera = same_camera
        self._query_identities = arrays["query_identities"]
        self._query_cameras = arrays["query_cameras"]
        self._identities = arrays["gallery_identities"][self.kept]
        self._cameras = arrays["gallery_cameras"][self.kept]

        # The columns of one person lie side by side in this order, rising.
        self._by_identity = np.argsort(self._identities, kind="stable")
        people = self._identities[self._by_identity]
        self._first = np.searchsorted(people, self._query_identities, side="left")
        self._images = np.searchsorted(people, self._query_identities, side="right") - self._first
        self._images[self._query_identities == DISTRACTOR] = 0

    def blocks(self) -> Iterator[slice]:
        """The queries in blocks whose positives fit in memory, whatever the set."""
        pairs = np.concatenate([[0], np.cumsum(self._images)])
        start = 0
        while start < self.queries:
            stop = int(np.searchsorted(pairs, pairs[start] + _PAIRS, side="right")) - 1
            stop = min(max(stop, start + 1), self.queries)
            yield slice(start, stop)
            start = stop

    def positives(self, queries: slice) -> Pairs:
        """(row, column) of every query's positives, rising; rows count from the slice's start."""
        rows, columns = self._same_identity(queries)
        if self._same_camera == "keep":
            return rows, columns
        other = self._cameras[columns] != self._query_cameras[queries][rows]
        return rows[other], columns[other]

    def hide(self, distances: NDArray[np.floating], queries: slice, columns: slice) -> None:
        """Makes NaN, in place, of the distances that are none to a negative.

        Args:
          distances: [queries, columns] of these two slices.
        """
        rows, people = self._same_identity(queries)
        here = (people >= columns.start) & (people < columns.stop)
        distances[rows[here], people[here] - columns.start] = np.nan
        if self._same_camera == "drop_all":
            taken_by, seen_by = self._cameras[columns], self._query_cameras[queries]
            for camera in np.unique(seen_by):
                distances[np.ix_(seen_by == camera, taken_by == camera)] = np.nan

    def _same_identity(self, queries: slice) -> Pairs:
        images = self._images[queries]
        starts = np.cumsum(images) - images
        places = np.repeat(self._first[queries] - starts, images) + np.arange(images.sum())
        return np.repeat(np.arange(len(images)), images), self._by_identity[places]

    def why_nothing_is_left(self) -> str:
        """The rule that left no query with a positive."""
        people = self._query_identities[self._query_identities > DISTRACTOR]
        if not len(self.kept):
            return (
                f"all {self._junk} gallery images have the identity {JUNK} (junk) and were "
                f"removed: check the gallery's identities."
            )
        if not len(people):
            return (
                f"every query has the identity {JUNK} (junk) or {DISTRACTOR} (distractor): "
                f"number the people from 1."
            )
        if not np.isin(people, self._identities).any():
            return (
                f"none of the {len(np.unique(people))} query identities occurs in the gallery: "
                f"check that both sets name the same people."
            )
        return (
            f'same_camera="{self._same_camera}" removed every one, as each was taken by its '
            f'query\'s own camera: pass same_camera="keep", or a set without '
            f"cameras, if it has one camera only."
        )


def integers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    """The values as a row of int64; raises InputError if they are something else."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(
            f"{name} must be a row of integers, "
            f"but came as {array.dtype} with the shape {array.shape}."
        )
    return array.astype(np.int64)
