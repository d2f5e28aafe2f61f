"""What only a report shows of an evaluation: ranked lists to look at, mAP by pair of cameras."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgsam_jax.metrics.breakdown import QueryResults, by_camera_pair, per_query
from fgsam_jax.metrics.protocol import Protocol

_EACH, _RANKS = 4, 10


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
    found = per_query(*rows, same_camera=same_camera)
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


def chosen_queries(found: QueryResults, identities: NDArray[np.integer]) -> dict[str, list[int]]:
    """Queries of different people with the highest, the median and the lowest average precision.

    Of equally precise ones those with more images to find come first.

    Args:
      found: of the queries that have a positive.
      identities: [queries], of all queries.

    Returns:
      Rows of queries by "best", "median" and "worst", at most four each and none twice.

    Example:
      >>> found = per_query(...)  # doctest: +SKIP
      >>> chosen_queries(found, query.identities)["worst"]  # doctest: +SKIP
      [17, 120, 3, 44]
    """
    order = np.lexsort((-found.positives, -found.average_precision))
    middle = np.argsort(np.abs(np.arange(len(order)) - (len(order) - 1) / 2), kind="stable")
    taken: set[int] = set()
    chosen = {}
    for name, places in (("best", order), ("worst", order[::-1]), ("median", order[middle])):
        rows: list[int] = []
        for row in found.query[places].tolist():
            if len(rows) < _EACH and int(identities[row]) not in taken:
                rows.append(row)
                taken.add(int(identities[row]))
        chosen[name] = rows
    return {name: chosen[name] for name in ("best", "median", "worst")}


def ranked_lists(
    found: QueryResults,
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
            place = int(np.flatnonzero(found.query == row)[0])
            lists.append(
                {
                    "group": group,
                    "query": row,
                    "average_precision": float(found.average_precision[place]),
                    "rank": int(found.rank[place]),
                    "positives": int(found.positives[place]),
                    "found": candidates[best].tolist(),
                    "distances": [round(float(x), 4) for x in distances[best]],
                    "correct": positive[best].tolist(),
                }
            )
    return lists
