"""The parts of an evaluation against plain loops over pairs and queries."""

from fractions import Fraction

import numpy as np
import pytest

from fgsam_jax.errors import InputError
from fgsam_jax.metrics import (
    by_camera_pair,
    evaluate,
    per_query,
    single_gallery_shot,
    verify,
)
from fgsam_jax.metrics.neighbours import nearest

JUNK, NOBODY = -1, 0


def problem(seed=0, queries=40, gallery=160, people=12, dim=6):
    """Queries and gallery of a few people, with junk and distractors; arguments of `evaluate`."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(people + 2, dim))
    who = random.integers(1, people + 1, queries)
    whom = random.integers(JUNK, people + 1, gallery)
    rows = [centres[i] + random.normal(size=(len(i), dim)) for i in (who, whom)]
    cameras = random.integers(1, 4, queries), random.integers(1, 4, gallery)
    return rows[0], who, cameras[0], rows[1], whom, cameras[1]


def ranked(query, case):
    """Gallery rows that count for a query, nearest first, and whether each is a match."""
    rows, who, seen, others, whom, taken = case
    distances = np.sqrt(np.square(others - rows[query]).sum(1))
    own = (whom == who[query]) & (taken == seen[query])
    order = [i for i in np.argsort(distances, kind="stable") if whom[i] != JUNK and not own[i]]
    return order, [whom[i] == who[query] for i in order], distances[order]


def test_rates_of_matches_are_those_of_all_pairs_counted_one_by_one():
    case = problem()
    pairs = [
        (distance, match)
        for query in range(len(case[0]))
        for _, match, distance in zip(*ranked(query, case), strict=True)
    ]
    same = np.array([d for d, match in pairs if match])
    other = np.array([d for d, match in pairs if not match])
    found = verify(*case)

    assert (len(found.distances), found.negatives) == (len(same), len(other))
    assert found.area == pytest.approx(np.mean(same[:, None] < other))
    for rate in (0.0, 1e-3, 1e-2, 0.1, 0.5, 1.0):
        rates = [np.mean(same <= t) for t in same if np.mean(other <= t) <= rate]
        share, threshold = found.at(rate)
        assert share == pytest.approx(max(rates, default=0))
        assert np.mean(other <= threshold - 1e-9) <= rate
    told = found.to_dict()
    assert list(told["true_match_rate"]) == ["1e-04", "1e-03", "1e-02", "1e-01"]
    assert told["roc"][40] == [1e-2, told["true_match_rate"]["1e-02"]]


def test_each_query_is_told_with_its_precision_first_hit_and_nearest_miss():
    case = problem(1)
    found = per_query(*case)
    expected = []
    for query in range(len(case[0])):
        order, match, distances = ranked(query, case)
        hits = np.flatnonzero(match)
        misses = np.flatnonzero(np.logical_not(match))
        precision = np.mean([(n + 1) / (hit + 1) for n, hit in enumerate(hits)])
        hit, miss = hits[0], misses[0]
        ends = order[hit], distances[hit], order[miss], distances[miss]
        expected.append([query, len(hits), precision, hit + 1, *ends])
    np.testing.assert_allclose(np.array(found).T, expected)
    assert np.mean(found.average_precision) == pytest.approx(evaluate(*case).map)


def test_a_query_that_all_the_gallery_matches_has_no_miss():
    found = per_query([[0.0]], [1], [1], [[1.0], [2.0]], [1, 1], [2, 2])
    assert (found.miss[0], found.miss_distance[0]) == (-1, np.inf)


def test_scores_by_camera_pair_are_those_of_the_lists_cut_to_one_camera():
    case = problem(2)
    seen, taken = case[2], case[5]
    found = by_camera_pair(*case)
    assert set(found) == {(a, b) for a in (1, 2, 3) for b in (1, 2, 3) if a != b}
    for (one, other), scores in found.items():
        firsts, precisions = [], []
        for query in np.flatnonzero(seen == one):
            order, match, _ = ranked(query, case)
            match = [m for i, m in zip(order, match, strict=True) if taken[i] == other]
            hits = np.flatnonzero(match)
            if len(hits):
                firsts.append(hits[0] == 0)
                precisions.append(np.mean((np.arange(len(hits)) + 1) / (hits + 1)))
        assert scores.valid_queries == len(firsts)
        assert scores.rank(1) == pytest.approx(np.mean(firsts))
        assert scores.map == pytest.approx(np.mean(precisions))


def test_a_single_shot_of_people_with_one_image_each_is_the_usual_cmc():
    rows, who, seen, others, whom, taken = problem(3)
    _, first = np.unique(whom, return_index=True)
    kept = np.isin(np.arange(len(whom)), first) | (whom <= NOBODY)
    case = rows, who, seen * 0 + 9, others[kept], whom[kept], taken[kept]
    for seed in (0, 1):
        found = single_gallery_shot(*case, max_rank=20, seed=seed)
        np.testing.assert_allclose(found, evaluate(*case, max_rank=20).cmc)


def test_a_single_shot_is_drawn_evenly_and_repeats_by_its_seed():
    # Two images of the person, at 1 and 4; of a stranger at 2, 3 and 5; a distractor at 3.5.
    gallery, whom = [[1.0], [4.0], [2.0], [3.0], [5.0], [3.5]], [1, 1, 2, 2, 2, NOBODY]
    case = [[0.0]], [1], [1], gallery, whom, [2] * 6

    def shot(**options):
        return single_gallery_shot(*case, max_rank=3, **options)

    # At 1 it is first; at 4 the distractor is before, and the stranger in two of three draws.
    np.testing.assert_allclose(shot(draws=20000), [1 / 2, 1 / 2 + 1 / 6, 1], atol=0.015)
    assert shot(seed=5).tolist() == shot(seed=5).tolist()
    assert len({tuple(shot(seed=seed)) for seed in range(8)}) > 1


def test_a_set_with_nothing_to_find_is_refused_by_all():
    case = np.zeros((1, 1)), np.array([1]), np.array([1]), *(np.ones((1, 1)),)
    case = *case, np.array([2]), np.array([2])
    for function in (verify, per_query, single_gallery_shot):
        with pytest.raises(InputError, match="none of the 1 query identities"):
            function(*case)
    assert by_camera_pair(*case) == {}


def test_the_nearest_rows_are_those_of_exact_distances_and_ties_go_by_order():
    random = np.random.default_rng(0)
    gallery = random.normal(size=(300, 16)).astype(np.float32)
    gallery = np.concatenate([gallery, gallery[:50], gallery[:50] + np.float32(1e-7)]) + 50
    queries = gallery[::7]
    exact = np.square(queries[:, None].astype(np.float64) - gallery).sum(-1)
    found = nearest(queries, gallery, 9)
    np.testing.assert_array_equal(found.columns, np.argsort(exact, axis=1, kind="stable")[:, :9])
    np.testing.assert_allclose(found.distances, np.sort(exact, axis=1)[:, :9])
    np.testing.assert_allclose(found.farthest, exact.max(axis=1), rtol=1e-5)


def twins(seed):
    """Each query has a match in the gallery and a stranger of the same descriptor, among others."""
    random = np.random.default_rng(seed)
    matches = random.normal(size=(12, 512)).astype(np.float32)
    queries = matches + random.normal(size=matches.shape).astype(np.float32)
    gallery = np.concatenate([matches, matches, random.normal(size=(9, 512)).astype(np.float32)])
    who = np.arange(1, 13)
    mixed = random.permutation(len(gallery))
    whom = np.concatenate([who, who + 50, np.full(9, 99)])[mixed]
    return queries, who, who * 0 + 1, gallery[mixed], whom, whom * 0 + 2


def exactly(query, row):
    """The squared distance in fractions: no sum is rounded."""
    return sum(
        (Fraction(float(a)) - Fraction(float(b))) ** 2 for a, b in zip(query, row, strict=True)
    )


@pytest.mark.parametrize("seed", range(2))
def test_strangers_as_near_as_a_match_are_counted_as_such_by_all(seed):
    case = twins(seed)
    queries, who, _, gallery, whom, _ = case
    squares = [[exactly(query, row) for row in gallery] for query in queries]
    hits = sorted(
        line[np.flatnonzero(whom == own)[0]] for line, own in zip(squares, who, strict=True)
    )
    strangers = [
        line[i] for line, own in zip(squares, who, strict=True) for i in np.flatnonzero(whom != own)
    ]
    found = verify(*case)
    assert found.false_matches.tolist() == [sum(x <= hit for x in strangers) for hit in hits]
    pairs = [(hit < x) + (hit == x) / 2 for hit in hits for x in strangers]
    assert found.area == pytest.approx(float(np.mean(pairs)), abs=1e-15)

    misses = [
        min(np.flatnonzero(whom != own), key=lambda i, line=line: (line[i], i))
        for line, own in zip(squares, who, strict=True)
    ]
    assert per_query(*case).miss.tolist() == misses
    # Everyone but 99 has one image here; with one of those too, nothing is left to chance.
    kept = np.isin(np.arange(len(whom)), np.unique(whom, return_index=True)[1])
    alone = (*case[:3], gallery[kept], whom[kept], case[5][kept])
    np.testing.assert_array_equal(single_gallery_shot(*alone), evaluate(*alone).cmc)


def test_a_collapsed_model_has_an_even_chance_and_the_first_stranger_is_the_nearest():
    case = list(problem(4, dim=64))
    case[0], case[3] = case[0] * 0 + 0.1, case[3] * 0 + 0.1
    case[0] = case[0] + 0.7  # far from the origin of the frame, all at one distance
    found = verify(*case)
    assert found.area == 0.5
    assert set(found.false_matches) == {found.negatives}
    whom = case[4]
    first = [np.flatnonzero((whom != own) & (whom != JUNK))[0] for own in case[1]]
    assert per_query(*case).miss.tolist() == first
