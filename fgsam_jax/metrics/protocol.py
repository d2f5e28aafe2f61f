"""Who may match whom, and which gallery images are dropped, from identities and cameras alone.

These are the rules of Market-1501 (Zheng et al., "Scalable Person Re-identification: A Benchmark",
2015). Of a query's gallery images

- junk (identity -1: bad detections) is nowhere in the ranking,
- those that the camera rule drops are not either: by default the query's own person as taken by
  the query's own camera, which would be too easy to find,
- the query's person in what is left is a positive,
- everything else is a negative, distractors (identity 0: nobody in particular) among it.

Evaluation, ranked lists and the checks of a data set all ask here.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsam_jax.errors import InputError
from fgsam_jax.metrics.inputs import integers

# Identities that are no person's; people are numbered from 1, and so are cameras.
JUNK = -1
DISTRACTOR = 0
UNKNOWN_CAMERA = 0
SAME_CAMERA = ("drop_same_identity", "drop_all", "keep")

# Bounds the memory that positives take; a usual set stays below it and is done in one go.
_PAIRS = 2**19

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def is_person(identities: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which images show a numbered person, who may be a match: no junk, no distractor.

    Args:
      identities: [n] int, or of any other shape.

    Returns:
      bool of the same shape.

    Example:
      >>> is_person(np.array([-1, 0, 1, 7]))
      array([False, False,  True,  True])
    """
    return identities > DISTRACTOR


def is_junk(identities: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which gallery images are dropped for every query.

    Args:
      identities: [n] int, or of any other shape.

    Returns:
      bool of the same shape.

    Example:
      >>> is_junk(np.array([-1, 0, 1, 7]))
      array([ True, False, False, False])
    """
    return identities == JUNK


def camera_rule(query_cameras: ArrayLike, gallery_cameras: ArrayLike) -> str:
    """The rule of Market-1501 where cameras are known; without them the whole gallery counts.

    Args:
      query_cameras: [queries] int, 0 where the camera is not known.
      gallery_cameras: [gallery] int, of the images that are no junk.

    Returns:
      "drop_same_identity" or "keep", as `same_camera` of `metrics.evaluate`.

    Raises:
      InputError: only some images have a camera, or a row is none of integers.

    Example:
      >>> camera_rule(np.array([1]), np.array([2, 3]))
      'drop_same_identity'
      >>> camera_rule(np.array([0]), np.array([0, 0]))
      'keep'
    """
    cameras = integers("query_cameras", query_cameras), integers("gallery_cameras", gallery_cameras)
    known = np.concatenate(cameras) > UNKNOWN_CAMERA
    if not known.any():
        return "keep"
    if not known.all():
        raise InputError(
            f"{(~known).sum()} of {len(known)} images of query and gallery have no camera: give "
            f"every image one, or none"
        )
    return "drop_same_identity"


class Protocol:
    """The identities and cameras of an evaluation, with junk taken out of the gallery.

    Positives are few and are listed as pairs (query, column); negatives are all the rest and are
    never listed, so that nothing here grows with queries x gallery. Queries are never taken out:
    those that have no positive are simply not scored.

    Attributes:
      kept: indices of the gallery images that are no junk; "columns" are places in this list.
      queries: how many queries there are.
      query_cameras: [queries].
      cameras: [columns].

    Example:
      >>> protocol = Protocol([7], [1], [7, 7, 0, -1], [1, 2, 1, 1], "drop_same_identity")
      >>> protocol.kept  # without the junk
      array([0, 1, 2])
      >>> protocol.candidates(0)  # the first is by the query's own camera, the third a distractor
      (array([1, 2]), array([ True, False]))
    """

    def __init__(
        self,
        query_identities: ArrayLike,
        query_cameras: ArrayLike,
        gallery_identities: ArrayLike,
        gallery_cameras: ArrayLike,
        same_camera: str,
        shape: tuple[int, ...] | None = None,
    ):
        """Check the rows and put the gallery in the order of its people.

        Args:
          query_identities: [queries] int.
          query_cameras: [queries] int.
          gallery_identities: [gallery] int.
          gallery_cameras: [gallery] int.
          same_camera: one of `SAME_CAMERA`, see `metrics.evaluate`.
          shape: (queries, gallery); by default as many as there are identities.

        Raises:
          InputError: no such camera rule, an empty set, rows that do not fit `shape` or are none
            of integers, or an identity below -1.
        """
        if shape is None:
            shape = (np.size(query_identities), np.size(gallery_identities))
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
            if name.endswith("identities") and arrays[name].min(initial=JUNK) < JUNK:
                raise InputError(
                    f"{name} has {arrays[name].min()} among them: expected {JUNK} (junk), "
                    f"{DISTRACTOR} (distractor) or a person, numbered from 1."
                )
        for images, length in zip(("query", "gallery"), shape, strict=True):
            if not length:
                raise InputError(f"The {images} set is empty: expected at least one image.")
        self.kept = np.flatnonzero(~is_junk(arrays["gallery_identities"]))
        self.queries = shape[0]
        self._junk = shape[1] - len(self.kept)
        self._same_camera = same_camera
        self._query_identities = arrays["query_identities"]
        self.query_cameras = arrays["query_cameras"]
        self._identities = arrays["gallery_identities"][self.kept]
        self.cameras = arrays["gallery_cameras"][self.kept]

        # The columns of one person lie side by side in this order, rising.
        self._by_identity = np.argsort(self._identities, kind="stable")
        people = self._identities[self._by_identity]
        self._first = np.searchsorted(people, self._query_identities, side="left")
        self._images = np.searchsorted(people, self._query_identities, side="right") - self._first
        self._images[self._query_identities == DISTRACTOR] = 0

    def refuse_nobody(self) -> None:
        """Refuse queries of identity 0, which would be left out without a word.

        They come from people numbered from 0, one of whom would then be lost as a distractor.

        Raises:
          InputError: there are some.
        """
        nobody = np.count_nonzero(self._query_identities == DISTRACTOR)
        if nobody:
            raise InputError(
                f"{nobody} of {self.queries} queries have the identity {DISTRACTOR}, which means a "
                f"distractor, nobody's match: number the people from 1."
            )

    def blocks(self) -> Iterator[slice]:
        """The queries in blocks whose positives fit in memory, whatever the set.

        A person with thousands of queries and of gallery images has millions of pairs.

        Yields:
          Slices of the queries, one after the other and together all of them.
        """
        pairs = np.concatenate([[0], np.cumsum(self._images)])
        start = 0
        while start < self.queries:
            stop = int(np.searchsorted(pairs, pairs[start] + _PAIRS, side="right")) - 1
            stop = min(max(stop, start + 1), self.queries)
            yield slice(start, stop)
            start = stop

    def positives(self, queries: slice) -> Pairs:
        """What some queries should find.

        Args:
          queries: a slice of them.

        Returns:
          Rows and columns of the pairs, each [positives], rising; rows count from the slice's
          start.
        """
        rows, columns = self._same_identity(queries)
        if self._same_camera == "keep":
            return rows, columns
        other = self.cameras[columns] != self.query_cameras[queries][rows]
        return rows[other], columns[other]

    def hide(
        self,
        distances: NDArray[np.floating],
        queries: slice,
        columns: NDArray[np.int64] | None = None,
    ) -> None:
        """Makes NaN, in place, of the distances that are none to a negative.

        Positives are hidden as well as what the camera rule drops: what is left is what may stand
        before a positive and count against it.

        Args:
          distances: [queries, columns] of these two.
          queries: a slice of the queries.
          columns: which, rising; None: all.
        """
        rows, people = self._same_identity(queries)
        if columns is not None:
            place = np.searchsorted(columns, people)
            here = columns[np.minimum(place, len(columns) - 1)] == people
            rows, people = rows[here], place[here]
        distances[rows, people] = np.nan
        if self._same_camera == "drop_all":
            taken_by = self.cameras if columns is None else self.cameras[columns]
            seen_by = self.query_cameras[queries]
            for camera in np.unique(seen_by):
                distances[np.ix_(seen_by == camera, taken_by == camera)] = np.nan

    def has_positive(self) -> NDArray[np.bool_]:
        """[queries], which of them have something to find; the others do not count."""
        found = np.zeros(self.queries, bool)
        for block in self.blocks():
            found[block.start + self.positives(block)[0]] = True
        return found

    def candidates(self, query: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The gallery images that are ranked for one query, in gallery order.

        For lists that a person looks at; an evaluation never lists them.

        Args:
          query: its row.

        Returns:
          [n] indices of the gallery, and [n] whether each is a positive.
        """
        this = slice(query, query + 1)
        positive = np.zeros(len(self.kept), bool)
        positive[self.positives(this)[1]] = True
        negative = np.zeros((1, len(self.kept)))
        self.hide(negative, this)
        ranked = positive | ~np.isnan(negative[0])
        return self.kept[ranked], positive[ranked]

    def _same_identity(self, queries: slice) -> Pairs:
        """As `positives`, before the camera rule.

        Args:
          queries: a slice of them.

        Returns:
          Rows, from the slice's start, and columns of the pairs, each [pairs].
        """
        images = self._images[queries]
        starts = np.cumsum(images) - images
        places = np.repeat(self._first[queries] - starts, images) + np.arange(images.sum())
        return np.repeat(np.arange(len(images)), images), self._by_identity[places]

    def nothing_to_find(self) -> InputError:
        """The error for a set without positives; it names the rule that took the last one."""
        return InputError(f"No query has a positive to find: {self._why_nothing_is_left()}")

    def _why_nothing_is_left(self) -> str:
        people = self._query_identities[is_person(self._query_identities)]
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
