"""What only a report shows of an evaluation: ranked lists to look at, mAP by pair of cameras."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgsam_jax.metrics.breakdown import Ranking
from fgsam_jax.metrics.neighbours import pair_distances

_EACH, _RANKS = 4, 10


def details(ranked: Ranking, identities: NDArray[np.integer], same_camera: str) -> dict[str, Any]:
    """Plain values for JSON.

    Args:
      ranked: by camera where they are known, a gallery without junk.
      identities: [queries].
      same_camera: see `metrics.evaluate`.

    Returns:
      "lists", of `ranked_lists`; where cameras are known "camera_pairs", each with the cameras
      "query" and "gallery", "map", "rank_1" and the number of "queries".
    """
    lists = ranked_lists(ranked, identities)
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
        for (query, gallery), scores in ranked.by_camera_pair().items()
    ]
    return {"lists": lists, "camera_pairs": pairs}


def chosen_queries(
    query: NDArray[np.int64],
    positives: NDArray[np.int64],
    precision: NDArray[np.float64],
    identities: NDArray[np.integer],
) -> dict[str, list[int]]:
    """Queries of different people with the highest, the median and the lowest average precision.

    Of equally precise ones those with more images to find come first.

    Args:
      query: [n], the rows of the queries that have a positive.
      positives: [n], how many images each has to find.
      precision: [n], the average precision of each.
      identities: [queries], of all queries.

    Returns:
      Rows of queries by "best", "median" and "worst", at most four each and no person twice.

    Example:
      >>> rows, precision = np.arange(3), np.array([0.5, 1.0, 0.0])
      >>> chosen_queries(rows, rows + 1, precision, np.array([7, 8, 9]))
      {'best': [1], 'median': [0], 'worst': [2]}
    """
    order = np.lexsort((-positives, -precision))
    middle = np.argsort(np.abs(np.arange(len(order)) - (len(order) - 1) / 2), kind="stable")
    places = {
        "best": order,
        "worst": np.lexsort((-positives, precision)),
        "median": order[middle],
    }
    people = len(np.unique(identities[query]))
    each = min(_EACH, max(1, people // len(places)))
    taken: set[int] = set()
    chosen: dict[str, list[int]] = {"best": [], "median": [], "worst": []}
    for group, ordered in places.items():
        for row in query[ordered].tolist():
            if len(chosen[group]) < each and int(identities[row]) not in taken:
                chosen[group].append(row)
                taken.add(int(identities[row]))
    return chosen


def ranked_lists(ranked: Ranking, identities: NDArray[np.integer]) -> list[dict[str, Any]]:
    """The nearest gallery images of each chosen query, of those that an evaluation ranks for it.

    Args:
      ranked: of the evaluation.
      identities: [queries].

    Returns:
      Plain values for JSON: "group", "query" (its row), "average_precision", "rank" of the first
      hit, "positives" to find, and for the nearest ten images their rows in the gallery ("found"),
      "distances" and whether each is "correct".
    """
    lists = []
    positives, scores = ranked.ranks.counts[ranked.asked], ranked.scores_of
    chosen = chosen_queries(ranked.asked, positives, scores[:, 1], identities)
    for group, rows in chosen.items():
        for row in rows:
            candidates, positive = ranked.protocol.candidates(row)
            own = np.full(len(candidates), row)
            distances = np.sqrt(pair_distances(ranked.queries, ranked.gallery, own, candidates))
            best = np.argsort(distances, kind="stable")[:_RANKS]
            place = int(np.searchsorted(ranked.asked, row))
            lists.append(
                {
                    "group": group,
                    "query": row,
                    "average_precision": float(scores[place, 1]),
                    "rank": int(scores[place, 0]),
                    "positives": int(positives[place]),
                    "found": candidates[best].tolist(),
                    "distances": [round(float(x), 4) for x in distances[best]],
                    "correct": positive[best].tolist(),
                }
            )
    return lists
