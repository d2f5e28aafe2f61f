"""What only a report shows of an evaluation: ranked lists to look at, mAP by pair of cameras."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fgsam_jax.metrics import ranking
from fgsam_jax.metrics.breakdown import by_camera_pair
from fgsam_jax.metrics.precision import query_scores
from fgsam_jax.metrics.protocol import Protocol

_EACH, _RANKS = 4, 10


class Queries(NamedTuple):
    """What was found for each query that has a positive.

    Attributes:
      row: [n], of the query.
      positives: [n], how many images there are to find.
      precision: [n], its average precision.
      rank: [n], of the first hit.
    """

    row: NDArray[np.int64]
    positives: NDArray[np.int64]
    precision: NDArray[np.float64]
    rank: NDArray[np.int64]


def details(rows: tuple, same_camera: str) -> dict[str, Any]:
    """Plain values for JSON.

    Args:
      rows: the first six arguments of `metrics.evaluate`, the gallery without junk.
      same_camera: see `metrics.evaluate`.

    Returns:
      "lists", of `ranked_lists`; where cameras are known "camera_pairs", each with the cameras
      "query" and "gallery", "map", "rank_1" and the number of "queries".
    """
    query_rows, identities, cameras, gallery_rows, gallery_identities, gallery_cameras = rows
    protocol = Protocol(identities, cameras, gallery_identities, gallery_cameras, same_camera)
    ranks = list(ranking.of_embeddings(query_rows, gallery_rows, protocol))
    counts = np.concatenate([block.counts for block in ranks])
    asked = np.flatnonzero(counts)
    scores = np.concatenate([query_scores(block) for block in ranks])
    found = Queries(asked, counts[asked], scores[:, 1], scores[:, 0].astype(int))
    lists = ranked_lists(found, protocol, query_rows, gallery_rows, identities)
    if same_camera == "keep":
        return {"lists": lists}
    pairs = [
        {
            "query": query,
            "gallery": gallery,
            "map": scores.map,
            "rank_1": scores.rank(1),
            "queries": scores.valid_queries,
        }
        for (query, gallery), scores in by_camera_pair(*rows, same_camera=same_camera).items()
    ]
    return {"lists": lists, "camera_pairs": pairs}


def chosen_queries(found: Queries, identities: NDArray[np.integer]) -> dict[str, list[int]]:
    """Queries of different people with the highest, the median and the lowest average precision.

    Of equally precise ones those with more images to find come first.

    Args:
      found: of the queries that have a positive.
      identities: [queries], of all queries.

    Returns:
      Rows of queries by "best", "median" and "worst", at most four each and no person twice.

    Example:
      >>> rows, precision = np.arange(3), np.array([0.5, 1.0, 0.0])
      >>> chosen_queries(Queries(rows, rows + 1, precision, rows + 1), np.array([7, 8, 9]))
      {'best': [1], 'median': [0], 'worst': [2]}
    """
    precision, positives = found.precision, found.positives
    order = np.lexsort((-positives, -precision))
    middle = np.argsort(np.abs(np.arange(len(order)) - (len(order) - 1) / 2), kind="stable")
    places = {
        "best": order,
        "worst": np.lexsort((-positives, precision)),
        "median": order[middle],
    }
    people = len(np.unique(identities[found.row]))
    each = min(_EACH, max(1, people // len(places)))
    taken: set[int] = set()
    chosen: dict[str, list[int]] = {"best": [], "median": [], "worst": []}
    for group, ordered in places.items():
        for row in found.row[ordered].tolist():
            if len(chosen[group]) < each and int(identities[row]) not in taken:
                chosen[group].append(row)
                taken.add(int(identities[row]))
    return chosen


def ranked_lists(
    found: Queries,
    protocol: Protocol,
    query_rows: NDArray[Any],
    gallery_rows: NDArray[Any],
    identities: NDArray[np.integer],
) -> list[dict[str, Any]]:
    """The nearest gallery images of each chosen query, of those that an evaluation ranks for it.

    Args:
      found: of the queries that have a positive.
      protocol: of the evaluation.
      query_rows: [queries, dim], the descriptors.
      gallery_rows: [gallery, dim].
      identities: [queries].

    Returns:
      Plain values for JSON: "group", "query" (its row), "average_precision", "rank" of the first
      hit, "positives" to find, and for the nearest ten images their rows in the gallery ("found"),
      "distances" and whether each is "correct".
    """
    lists = []
    for group, rows in chosen_queries(found, identities).items():
        for row in rows:
            candidates, positive = protocol.candidates(row)
            distances = np.linalg.norm(gallery_rows[candidates] - query_rows[row], axis=1)
            best = np.argsort(distances, kind="stable")[:_RANKS]
            place = int(np.flatnonzero(found.row == row)[0])
            lists.append(
                {
                    "group": group,
                    "query": row,
                    "average_precision": float(found.precision[place]),
                    "rank": int(found.rank[place]),
                    "positives": int(found.positives[place]),
                    "found": candidates[best].tolist(),
                    "distances": [round(float(x), 4) for x in distances[best]],
                    "correct": positive[best].tolist(),
                }
            )
    return lists
