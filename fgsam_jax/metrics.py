"""How well people are found and attributes told: CMC, mean average precision, mINP, accuracy.

Everything about one query follows from the ranks of its positives, so the gallery is never put in
order: the rank of a positive is its place among the positives plus the number of negatives before
it. A gallery image comes before another when its distance is smaller or, at equal distance, when
it stands earlier in the gallery.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsam_jax.errors import InputError

JUNK = -1
DISTRACTOR = 0
UNLABELLED = -1
SAME_CAMERA = ("drop_same_identity", "drop_all", "keep")

# Bounds the memory of one block of distances; the scores do not depend on it.
_BLOCK_BYTES = 64 * 2**20


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


@dataclass(frozen=True)
class AttributeScores:
    """How well one attribute is told; fractions between 0 and 1, nan without a labelled image.

    Attributes:
      accuracy: share of right predictions.
      majority: the accuracy of always answering the most frequent class of these labels.
      balanced_accuracy: mean recall over the classes that occur among the labels.
      f1: mean F1 over the classes that occur among the labels or the predictions (macro).
      labelled: how many images have a label.
    """

    accuracy: float
    majority: float
    balanced_accuracy: float
    f1: float
    labelled: int

    def to_dict(self) -> dict[str, Any]:
        """The scores as plain numbers."""
        return dataclasses.asdict(self)


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

    The scores are those of exact float64 distances, whatever the block size and the BLAS library:
    a float64 matrix product settles every pair but those nearer to a tie than its rounding error,
    and these are compared by the sum of squared differences.

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
    protocol = _Protocol(
        query_identities,
        query_cameras,
        gallery_identities,
        gallery_cameras,
        same_camera,
        (len(queries), len(gallery)),
    )
    query_norms = _squared_norms("query", queries)
    gallery_norms = _squared_norms("gallery", gallery)[protocol.kept]
    gallery = gallery[protocol.kept]

    # The rounding error of a dot product is at most dim * eps/2 * |x||y| in any order of
    # summation; the factor covers the norms, the sum of differences and the last operations.
    dim = queries.shape[1]
    slack = 4 * (dim + 8) * np.finfo(np.float64).eps * (query_norms + gallery_norms.max(initial=0))

    ranks: list[NDArray[np.int64]] = []
    rows = max(1, _BLOCK_BYTES // (8 * max(1, len(gallery))))
    for start in range(0, len(queries), rows):
        block = slice(start, start + rows)
        query_block = queries[block].astype(np.float64)
        distances = _products(query_block, gallery)
        distances *= -2
        distances += query_norms[block, None]
        distances += gallery_norms
        for row, query in enumerate(query_block):
            ranks.append(
                protocol.positive_ranks(
                    start + row,
                    distances[row],
                    partial(_squared_distances, query, gallery),
                    slack[start + row],
                )
            )
    return _scores(ranks, protocol, max_rank)


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
    protocol = _Protocol(
        query_identities,
        query_cameras,
        gallery_identities,
        gallery_cameras,
        same_camera,
        matrix.shape,
    )
    # Row by row: a mask of the whole matrix would take as much memory again.
    unusable = sum(bool(np.isnan(row).any()) for row in matrix)
    if unusable:
        raise InputError(
            f"Distances of {unusable} of {len(matrix)} queries contain NaN: "
            f"look for the cause in the embeddings they were computed from."
        )
    ranks = []
    for query, row in enumerate(matrix):
        kept = row[protocol.kept]
        ranks.append(protocol.positive_ranks(query, kept, kept.__getitem__, 0.0))
    return _scores(ranks, protocol, max_rank)


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
    protocol = _Protocol(
        query_identities, query_cameras, gallery_identities, gallery_cameras, same_camera, shape
    )
    if not any(protocol.split(query)[0].any() for query in range(shape[0])):
        raise InputError(f"No query has a positive to find: {protocol.why_nothing_is_left()}")


def attribute_scores(predictions: ArrayLike, labels: ArrayLike, classes: int) -> AttributeScores:
    """Scores the predictions of one attribute beside what the most frequent class alone reaches.

    Args:
      predictions: [n] int, predicted classes.
      labels: [n] int, true classes; -1 is unlabelled and does not count.
      classes: number of classes.

    Raises:
      InputError: shapes that differ, or a label or prediction that is no class.
    """
    predicted, true = _integers("predictions", predictions), _integers("labels", labels)
    if len(predicted) != len(true):
        raise InputError(f"{len(predicted)} predictions came with {len(true)} labels.")
    predicted, true = predicted[true != UNLABELLED], true[true != UNLABELLED]
    for name, values in (("labels", true), ("predictions", predicted)):
        wrong = values[(values < 0) | (values >= classes)]
        if len(wrong):
            raise InputError(
                f"Of the {name}, {len(wrong)} are no class: expected 0 to {classes - 1}, "
                f"but found {wrong[0]}."
            )
    if not len(true):
        return AttributeScores(np.nan, np.nan, np.nan, np.nan, 0)

    confusion = np.bincount(true * classes + predicted, minlength=classes**2)
    confusion = confusion.reshape(classes, classes)
    right, support, answers = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    seen, named = support > 0, support + answers > 0
    return AttributeScores(
        accuracy=float(right.sum() / len(true)),
        majority=float(support.max() / len(true)),
        balanced_accuracy=float(np.mean(right[seen] / support[seen])),
        f1=float(np.mean(2 * right[named] / (support + answers)[named])),
        labelled=len(true),
    )


class _Protocol:
    """Who may match whom: the identities and cameras of an evaluation, with junk taken out."""

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
            arrays[name] = _integers(name, values)
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
        self.query_identities = arrays["query_identities"]
        self.query_cameras = arrays["query_cameras"]
        self.gallery_identities = arrays["gallery_identities"][self.kept]
        self.gallery_cameras = arrays["gallery_cameras"][self.kept]
        self.junk = shape[1] - len(self.kept)
        self.same_camera = same_camera

    def split(self, query: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """The positives and the negatives of a query: two masks over the kept gallery."""
        same_identity = self.gallery_identities == self.query_identities[query]
        if self.query_identities[query] == DISTRACTOR:
            same_identity[:] = False
        positive, negative = same_identity, ~same_identity
        if self.same_camera != "keep":
            other_camera = self.gallery_cameras != self.query_cameras[query]
            positive = positive & other_camera
            if self.same_camera == "drop_all":
                negative &= other_camera
        return positive, negative

    def positive_ranks(
        self,
        query: int,
        distances: NDArray[Any],
        exact: Callable[[NDArray[np.int64]], NDArray[Any]],
        slack: float,
    ) -> NDArray[np.int64]:
        """Ranks of a query's positives, rising, from 1.

        Args:
          query: index of the query.
          distances: [kept gallery], each at most `slack` away from the exact one.
          exact: gives the exact distances of columns of the kept gallery.
          slack: bound of the error of `distances`.
        """
        positive, negative = self.split(query)
        positives = np.flatnonzero(positive)
        if not len(positives):
            return positives
        reached = exact(positives)
        order = np.lexsort((positives, reached))
        positives, reached = positives[order], reached[order]

        # What lies behind the last positive changes no rank.
        negatives = np.flatnonzero(negative & (distances <= reached[-1] + slack))
        near = distances[negatives]
        doubtful = np.zeros(len(near), bool)
        ordered = np.sort(near)
        lowest = np.searchsorted(ordered, reached - slack, side="left")
        highest = np.searchsorted(ordered, reached + slack, side="right")
        for distance in reached[lowest < highest]:
            doubtful |= (near >= distance - slack) & (near <= distance + slack)
        if doubtful.any():
            near[doubtful] = exact(negatives[doubtful])
            ordered = np.sort(near)

        before = np.searchsorted(ordered, reached, side="left")
        tied = np.searchsorted(ordered, reached, side="right") > before
        for index in np.flatnonzero(tied):
            earlier = negatives < positives[index]
            before[index] += np.count_nonzero(earlier & (near == reached[index]))
        return np.arange(1, len(positives) + 1) + before

    def why_nothing_is_left(self) -> str:
        """The rule that left no query with a positive."""
        people = self.query_identities[self.query_identities > DISTRACTOR]
        if not len(self.kept):
            return (
                f"all {self.junk} gallery images have the identity {JUNK} (junk) and were "
                f"removed: check the gallery's identities."
            )
        if not len(people):
            return (
                f"every query has the identity {JUNK} (junk) or {DISTRACTOR} (distractor): "
                f"number the people from 1."
            )
        if not np.isin(people, self.gallery_identities).any():
            return (
                f"none of the {len(np.unique(people))} query identities occurs in the gallery: "
                f"check that both sets name the same people."
            )
        return (
            f'same_camera="{self.same_camera}" removed every one, as each was taken by its '
            f'query\'s own camera: pass same_camera="keep", or a set without '
            f"cameras, if it has one camera only."
        )


def _scores(ranks: list[NDArray[np.int64]], protocol: _Protocol, max_rank: int) -> Scores:
    if max_rank < 1:
        raise InputError(f"max_rank is {max_rank}: expected at least 1.")
    found = [hits for hits in ranks if len(hits)]
    if not found:
        raise InputError(f"No query has a positive to find: {protocol.why_nothing_is_left()}")
    at_hits, trapezoid, interpolated, inverse_penalty = np.transpose(
        [_average_precisions(hits) for hits in found]
    )
    first = np.array([hits[0] for hits in found])
    counts = np.bincount(np.minimum(first, max_rank + 1), minlength=max_rank + 2)
    return Scores(
        cmc=np.cumsum(counts[1:-1]) / len(found),
        map=float(np.mean(at_hits)),
        map_trapezoid=float(np.mean(trapezoid)),
        map_interpolated=float(np.mean(interpolated)),
        minp=float(np.mean(inverse_penalty)),
        valid_queries=len(found),
    )


def _average_precisions(ranks: NDArray[np.int64]) -> tuple[float, float, float, float]:
    """Average precision by three formulas, and the inverse negative penalty, of one query."""
    hits = np.arange(1, len(ranks) + 1)
    precision = hits / ranks
    # Market-1501's MATLAB code starts the curve at precision 1.
    before = np.where(ranks > 1, (hits - 1) / np.maximum(ranks - 1, 1), 1.0)
    best_from_here = np.maximum.accumulate(precision[::-1])
    return (
        float(np.mean(precision)),
        float(np.mean((before + precision) / 2)),
        float(np.mean(best_from_here)),
        float(precision[-1]),
    )


def _integers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(
            f"{name} must be a row of integers, "
            f"but came as {array.dtype} with the shape {array.shape}."
        )
    return array.astype(np.int64)


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


def _squared_norms(images: str, embeddings: NDArray[Any]) -> NDArray[np.float64]:
    norms = np.empty(len(embeddings))
    with np.errstate(over="ignore", invalid="ignore"):
        for block in _blocks(embeddings):
            norms[block] = np.sum(np.square(embeddings[block].astype(np.float64)), axis=1)
    unusable = int(np.sum(~np.isfinite(norms)))
    if unusable:
        raise InputError(
            f"{unusable} of {len(embeddings)} {images} embeddings contain NaN or infinity: "
            f"check the images and the checkpoint they came from."
        )
    return norms


def _products(queries: NDArray[np.float64], gallery: NDArray[Any]) -> NDArray[np.float64]:
    """[queries, gallery] dot products, without a float64 copy of the whole gallery."""
    products = np.empty((len(queries), len(gallery)))
    for block in _blocks(gallery):
        products[:, block] = queries @ gallery[block].astype(np.float64).T
    return products


def _squared_distances(
    query: NDArray[np.float64], gallery: NDArray[Any], columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Squared distances by differences, which are exact enough for rows that are almost equal."""
    distances = np.empty(len(columns))
    for block in _blocks(columns, row_size=gallery.shape[1]):
        difference = gallery[columns[block]].astype(np.float64) - query
        distances[block] = np.sum(np.square(difference), axis=1)
    return distances


def _blocks(rows: NDArray[Any], row_size: int | None = None) -> list[slice]:
    """Slices of rows whose float64 copies stay small enough for a processor's cache."""
    row_size = row_size or rows.shape[1]
    length = max(1, 4 * 2**20 // (8 * row_size))
    return [slice(start, start + length) for start in range(0, len(rows), length)]
