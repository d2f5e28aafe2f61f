import numpy as np
import pytest

from fgsam_jax import metrics
from fgsam_jax.evaluation.details import chosen_queries, details
from fgsam_jax.metrics.breakdown import Ranking


def results(precision, positives, query=None):
    rows = np.arange(len(precision)) if query is None else np.array(query)
    return rows, np.array(positives), np.array(precision)


def told(rows, rule):
    ranked = Ranking.of(*rows, same_camera=rule, by_camera=rule != "keep")
    return details(ranked, rows[1], rule)


def test_the_best_the_median_and_the_worst_queries_are_of_different_people():
    precision = np.array([0.9, 0.8, 0.2, 0.1, 0.5, 0.6, 0.4])
    people = np.array([1, 1, 2, 2, 3, 4, 5])
    chosen = chosen_queries(*results(precision, [1] * 7), people)
    assert chosen == {"best": [0], "median": [4], "worst": [3]}


def test_of_equally_precise_queries_those_with_more_to_find_are_shown():
    precision, positives = np.array([1, 1, 0.5, 0, 0]), [2, 6, 3, 2, 6]
    chosen = chosen_queries(*results(precision, positives), np.arange(5))
    assert chosen == {"best": [1], "median": [2], "worst": [4]}


def test_queries_are_named_by_their_rows_where_some_have_nothing_to_find():
    chosen = chosen_queries(*results(np.array([0.1, 0.9]), [1, 1], query=[2, 5]), np.arange(9))
    assert chosen == {"best": [5], "median": [], "worst": [2]}


def test_a_ranked_list_of_a_small_gallery_leaves_out_what_the_camera_rule_drops():
    gallery = np.array([[0.1, 0], [0.2, 0], [0.9, 0]])
    rows = np.zeros((1, 2)), np.array([1]), np.array([1]), gallery
    labels = np.array([1, 1, 2]), np.array([1, 2, 2])
    (dropped,) = told((*rows, *labels), "drop_same_identity")["lists"]
    assert dropped["found"] == [1, 2]
    assert dropped["correct"] == [True, False]
    assert dropped["distances"] == [0.2, 0.9]
    (kept,) = told((*rows, *labels), "keep")["lists"]
    assert kept["found"] == [0, 1, 2]


def test_pairs_of_cameras_are_scored_as_sets_of_their_own_and_not_without_cameras():
    random = np.random.default_rng(0)
    query, gallery = random.normal(size=(12, 4)), random.normal(size=(40, 4))
    who, whom = random.integers(1, 4, 12), random.integers(0, 4, 40)
    by, seen_by = random.integers(1, 4, 12), random.integers(1, 4, 40)
    found = told((query, who, by, gallery, whom, seen_by), "drop_same_identity")
    assert {(x["query"], x["gallery"]) for x in found["camera_pairs"]} == {
        (one, other) for one in (1, 2, 3) for other in (1, 2, 3) if one != other
    }
    for pair in found["camera_pairs"]:
        asked, seen = by == pair["query"], seen_by == pair["gallery"]
        alone = query[asked], who[asked], by[asked], gallery[seen], whom[seen], seen_by[seen]
        scores = metrics.evaluate(*alone)
        assert pair["map"] == pytest.approx(scores.map)
        assert (pair["rank_1"], pair["queries"]) == (scores.rank(1), scores.valid_queries)
    assert "camera_pairs" not in told((query, who, by, gallery, whom, seen_by), "keep")


def test_a_list_says_how_its_query_scores():
    random = np.random.default_rng(1)
    query, gallery = random.normal(size=(6, 3)), random.normal(size=(30, 3))
    who, whom = np.arange(1, 7), random.integers(0, 7, 30)
    cameras = np.zeros(6, int), np.zeros(30, int)
    lists = told((query, who, cameras[0], gallery, whom, cameras[1]), "keep")["lists"]
    assert len(lists) == 6
    for one in lists:
        row = slice(one["query"], one["query"] + 1)
        alone = query[row], who[row], cameras[0][row], gallery, whom, cameras[1]
        scores = metrics.evaluate(*alone, same_camera="keep")
        assert one["average_precision"] == pytest.approx(scores.map)
        assert one["rank"] == 1 + np.flatnonzero(scores.cmc)[0]
        assert one["positives"] == (whom == who[one["query"]]).sum()


def test_a_list_has_its_first_hit_at_its_rank_where_float32_sees_a_tie():
    gallery = np.array([[1, 2e-4], [1, 1e-4]], np.float32)
    rows = np.zeros((1, 2), np.float32), np.array([1]), np.array([1]), gallery
    (listed,) = told((*rows, np.array([2, 1]), np.array([2, 2])), "keep")["lists"]
    assert (listed["rank"], listed["correct"]) == (1, [True, False])
