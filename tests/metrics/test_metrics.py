import json
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fgsam_jax import metrics
from fgsam_jax.errors import InputError
from fgsam_jax.metrics import (
    attribute_scores,
    evaluate,
    evaluate_distances,
    per_query,
    protocol,
    ranking,
    verify,
)
from fgsam_jax.metrics.distances import Frame, Targets, squared_distances


def one_query(identities, cameras=None, distances=None, **options):
    """Scores of person 1, camera 1, against a gallery ranked as listed."""
    cameras = [2] * len(identities) if cameras is None else cameras
    distances = np.arange(len(identities)) if distances is None else distances
    return evaluate_distances(
        np.array([distances], float), [1], [1], identities, cameras, **options
    )


def slow_reference(distances, q_ids, q_cams, g_ids, g_cams, same_camera, max_rank):
    """Walks down every ranking image by image; None without a valid query."""
    cmc, at_hits, trapezoid, interpolated, minp = [], [], [], [], []
    for i, row in enumerate(distances):
        ranking = sorted(range(len(row)), key=lambda j: (row[j], j))
        hits = []
        for j in ranking:
            if g_ids[j] == -1:
                continue
            own_camera = g_cams[j] == q_cams[i]
            if same_camera == "drop_all" and own_camera:
                continue
            if same_camera == "drop_same_identity" and own_camera and g_ids[j] == q_ids[i]:
                continue
            hits.append(g_ids[j] == q_ids[i] and g_ids[j] != 0)
        if not any(hits):
            continue
        positives = sum(hits)
        precisions = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
        cmc.append([float(any(hits[: n + 1])) for n in range(max_rank)])
        at_hits.append(sum(p for p, hit in zip(precisions, hits, strict=True) if hit) / positives)
        area, old_recall, old_precision = 0.0, 0.0, 1.0
        for n, precision in enumerate(precisions):
            recall = sum(hits[: n + 1]) / positives
            area += (recall - old_recall) * (old_precision + precision) / 2
            old_recall, old_precision = recall, precision
        trapezoid.append(area)
        interpolated.append(
            sum(max(precisions[n:]) for n, hit in enumerate(hits) if hit) / positives
        )
        minp.append(positives / (max(n for n, hit in enumerate(hits) if hit) + 1))
    if not cmc:
        return None
    means = [float(np.mean(values)) for values in (at_hits, trapezoid, interpolated, minp)]
    return [np.mean(cmc, axis=0), *means, len(cmc)]


def no_zeros(identities):
    """Of queries, which are nobody's distractors."""
    return np.where(identities == 0, -1, identities)


def as_list(scores):
    return [
        scores.cmc,
        scores.map,
        scores.map_trapezoid,
        scores.map_interpolated,
        scores.minp,
        scores.valid_queries,
    ]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_the_three_average_precisions_of_hits_at_ranks_1_and_4_and_5_are_as_worked_by_hand():
    scores = one_query([1, 2, 3, 1, 1])
    assert scores.map == pytest.approx((1 + 2 / 4 + 3 / 5) / 3)
    # Precision just before each hit: 1 by convention, then 1/3, then 2/4.
    assert scores.map_trapezoid == pytest.approx(
        ((1 + 1) / 2 + (1 / 3 + 2 / 4) / 2 + (2 / 4 + 3 / 5) / 2) / 3
    )
    assert scores.map_interpolated == pytest.approx((1 + 3 / 5 + 3 / 5) / 3)
    assert scores.minp == pytest.approx(3 / 5)


def test_one_hit_at_rank_2_counts_a_half_except_by_the_trapezoid():
    scores = one_query([2, 1])
    assert (scores.map, scores.map_interpolated, scores.minp) == (0.5, 0.5, 0.5)
    assert scores.map_trapezoid == 0.25


def test_cmc_counts_the_queries_whose_first_hit_is_among_the_first_k():
    distances = [[1, 2, 3, 4], [2, 1, 4, 3], [2, 4, 1, 3]]
    scores = evaluate_distances(distances, [1, 1, 2], [9] * 3, [1, 2, 3, 2], [0] * 4, max_rank=4)
    # First hits: person 1 at rank 1; person 1 at rank 2; person 2 at rank 3 (order 3, 1, 2, 2).
    np.testing.assert_allclose(scores.cmc, [1 / 3, 2 / 3, 1, 1])
    assert scores.cmc.dtype == np.float64
    assert scores.rank(2) == pytest.approx(2 / 3)


def test_junk_is_neither_hit_nor_miss():
    assert_same(as_list(one_query([-1, 2, -1, 1])), as_list(one_query([2, 1])))


def test_a_junk_query_does_not_match_junk():
    scores = evaluate_distances(np.zeros((2, 2)), [-1, 1], [1, 1], [-1, 1], [2, 2])
    assert scores.valid_queries == 1
    assert scores.rank(1) == 1


def test_distractors_count_as_misses():
    assert one_query([0, 0, 1]).map == pytest.approx(1 / 3)


def test_people_numbered_from_zero_are_refused_and_not_lost_as_distractors():
    labels = [0, 1], [1, 1], [0, 1], [2, 2]
    with pytest.raises(InputError, match=r"1 of 2 queries have the identity 0, .* a distractor"):
        evaluate_distances([[0, 1], [0, 1]], *labels)
    with pytest.raises(InputError, match="number the people from 1"):
        evaluate(np.eye(2), *labels[:2], np.eye(2), *labels[2:])


def test_the_standard_rule_drops_the_same_person_in_the_same_camera():
    identities, cameras = [1, 2, 1], [1, 1, 2]
    assert one_query(identities, cameras).map == 1 / 2


def test_drop_all_drops_other_people_in_the_same_camera_too():
    identities, cameras = [1, 2, 1], [1, 1, 2]
    assert one_query(identities, cameras, same_camera="drop_all").map == 1


def test_keep_drops_nothing():
    identities, cameras = [1, 2, 1], [1, 1, 2]
    assert one_query(identities, cameras, same_camera="keep").map == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(("identities", "expected"), [([1, 2], 1.0), ([2, 1], 0.5)])
def test_a_tie_goes_to_the_earlier_gallery_image(identities, expected):
    assert one_query(identities, distances=[3, 3]).map == expected
    for rows in (np.ones((2, 4), np.float32), np.full((2, 4), 0.1)):
        scores = evaluate(np.zeros((1, 4)), [1], [1], rows, identities, [2, 2])
        assert scores.map == expected


def test_ties_around_two_positives_are_counted_one_by_one():
    # Hits at ranks 2 and 4 of five equal distances.
    assert one_query([2, 1, 2, 1, 2], distances=[7] * 5).map == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_infinite_distances_come_last_and_tie():
    scores = one_query([2, 1, 1], distances=[np.inf, np.inf, 0])
    assert scores.map == pytest.approx((1 + 2 / 3) / 2)


def test_a_gallery_smaller_than_max_rank_pads_the_cmc_with_its_last_value():
    scores = one_query([2, 1], max_rank=5)
    np.testing.assert_array_equal(scores.cmc, [0, 1, 1, 1, 1])
    assert one_query([2, 2, 1], max_rank=2).cmc.tolist() == [0, 0]


def test_a_query_without_a_match_is_skipped():
    distances = [[0, 1], [0, 1], [0, 1]]
    scores = evaluate_distances(distances, [1, 7, 2], [1, 1, 2], [1, 2], [2, 2])
    # Person 7 is not in the gallery; person 2 is there in the query's own camera only.
    assert scores.valid_queries == 1
    assert scores.map == 1


def test_max_rank_bounds_what_rank_answers():
    with pytest.raises(InputError, match=r"ranks 1 to 3 were evaluated"):
        one_query([1], max_rank=3).rank(4)
    for wrong in (0, -1, 1.5, float("nan"), "5"):
        with pytest.raises(InputError, match=r"max_rank is .* a whole number from 1 on"):
            one_query([1], max_rank=wrong)
        with pytest.raises(InputError, match=r"rank is .* a whole number from 1 on"):
            one_query([1]).rank(wrong)


def test_scores_can_be_written_as_json():
    written = json.loads(json.dumps(one_query([2, 1], max_rank=2).to_dict()))
    assert written == {
        "cmc": [0.0, 1.0],
        "map": 0.5,
        "map_trapezoid": 0.25,
        "map_interpolated": 0.5,
        "minp": 0.5,
        "valid_queries": 1,
    }


@settings(max_examples=250, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    same_camera=st.sampled_from(metrics.SAME_CAMERA),
    levels=st.integers(1, 8),
    cameras=st.integers(1, 3),
    people=st.integers(0, 5),
)
def test_scores_equal_a_walk_down_every_ranking(seed, same_camera, levels, cameras, people):
    rng = np.random.default_rng(seed)
    queries, gallery = rng.integers(1, 6), rng.integers(1, 25)
    q_ids, g_ids = no_zeros(rng.integers(-1, people, queries)), rng.integers(-1, people, gallery)
    q_cams, g_cams = rng.integers(0, cameras, queries), rng.integers(0, cameras, gallery)
    # Whole numbers make many distances equal, and equal in both forms of the arithmetic.
    q = rng.integers(0, levels, (queries, 3)).astype(np.float32)
    g = rng.integers(0, levels, (gallery, 3)).astype(np.float32)
    distances = np.sqrt(np.sum((q[:, None] - g) ** 2, axis=-1))
    expected = slow_reference(distances, q_ids, q_cams, g_ids, g_cams, same_camera, 10)
    options = {"same_camera": same_camera, "max_rank": 10}
    if expected is None:
        with pytest.raises(InputError, match="No query has a positive"):
            evaluate(q, q_ids, q_cams, g, g_ids, g_cams, **options)
        return
    assert_same(as_list(evaluate(q, q_ids, q_cams, g, g_ids, g_cams, **options)), expected)
    assert_same(
        as_list(evaluate_distances(distances, q_ids, q_cams, g_ids, g_cams, **options)), expected
    )


def near_twins(queries=23, gallery=301, dim=64):
    """Far from the origin, half of the rows are copies and the rest differ in the last bits."""
    rng = np.random.default_rng(5)
    base = rng.normal(100, 1, (8, dim)).astype(np.float32)
    rows = base[rng.integers(0, 8, queries + gallery)]
    moved = rng.random(rows.shape) < 0.02
    rows = np.where(moved & (rng.random(len(rows)) < 0.5)[:, None], np.nextafter(rows, 200), rows)
    identities = rng.integers(0, 9, queries + gallery)
    cameras = rng.integers(0, 4, queries + gallery)
    q, g = slice(queries), slice(queries, None)
    return rows[q], no_zeros(identities[q]), cameras[q], rows[g], identities[g], cameras[g]


def test_rows_that_differ_in_their_last_bits_are_ranked_by_their_true_distance():
    q, q_ids, q_cams, g, g_ids, g_cams = near_twins()
    differences = q[:, None].astype(np.float64) - g
    expected = slow_reference(
        np.sum(differences**2, axis=-1), q_ids, q_cams, g_ids, g_cams, "drop_same_identity", 50
    )
    assert_same(as_list(evaluate(q, q_ids, q_cams, g, g_ids, g_cams)), expected)


def few_rows(distinct, noise=0.0, people=3, queries=17, gallery=700):
    """Collapsed embeddings: so many different rows, and noise in every number."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(distinct, 16))[rng.integers(0, distinct, queries + gallery)]
    rows = (rows + noise * rng.normal(size=rows.shape)).astype(np.float32)
    identities = rng.integers(-1, people + 1, queries + gallery)
    cameras = rng.integers(0, 3, queries + gallery)
    q, g = slice(queries), slice(queries, None)
    return rows[q], no_zeros(identities[q]), cameras[q], rows[g], identities[g], cameras[g]


@pytest.mark.parametrize("same_camera", metrics.SAME_CAMERA)
@pytest.mark.parametrize(
    ("distinct", "noise"), [(1, 0), (2, 0), (5, 0), (1, 1e-7), (3, 1e-7), (3, 1e-5), (700, 0)]
)
def test_collapsed_embeddings_are_ranked_by_their_true_distance(distinct, noise, same_camera):
    q, q_ids, q_cams, g, g_ids, g_cams = few_rows(distinct, noise)
    differences = q[:, None].astype(np.float64) - g
    distances = np.sum(differences**2, axis=-1)
    expected = slow_reference(distances, q_ids, q_cams, g_ids, g_cams, same_camera, 50)
    options = {"same_camera": same_camera}
    assert_same(as_list(evaluate(q, q_ids, q_cams, g, g_ids, g_cams, **options)), expected)
    assert_same(
        as_list(evaluate_distances(distances, q_ids, q_cams, g_ids, g_cams, **options)), expected
    )


def assert_identical(one, other):
    assert one.to_dict() == other.to_dict()


SETS = {"near twins": near_twins(), "few rows": few_rows(4), "noisy": few_rows(4, 1e-6, people=40)}


@pytest.mark.parametrize(
    ("threads", "tile_bytes", "gallery_bytes", "pairs"),
    [(1, 2**25, 2**24, 2**19), (2, 1, 2**24, 100), (5, 2**25, 4 * 64 * 50, 2**19), (2, 0, 999, 60)],
)
@pytest.mark.parametrize("name", SETS)
def test_scores_do_not_depend_on_blocks_and_threads(
    monkeypatch, name, threads, tile_bytes, gallery_bytes, pairs
):
    q, q_ids, q_cams, g, g_ids, g_cams = SETS[name]
    distances = np.sum((q[:, None] - g) ** 2, axis=-1)
    labels = q_ids, q_cams, g_ids, g_cams
    expected = evaluate(*SETS[name]), evaluate_distances(distances, *labels)
    monkeypatch.setattr(ranking, "THREADS", threads)
    monkeypatch.setattr(ranking, "TILE_BYTES", tile_bytes)
    monkeypatch.setattr(ranking, "_GALLERY_BYTES", gallery_bytes)
    monkeypatch.setattr(protocol, "_PAIRS", pairs)
    assert_identical(evaluate(*SETS[name]), expected[0])
    assert_identical(evaluate_distances(distances, *labels), expected[1])


def test_memory_mapped_input_is_scored_as_it_lies_on_disk(tmp_path):
    q, q_ids, q_cams, g, g_ids, g_cams = few_rows(300, 0.1)
    distances = np.sum((q[:, None] - g) ** 2, axis=-1)
    mapped = []
    for index, array in enumerate((q, g, distances)):
        np.save(tmp_path / f"{index}.npy", array)
        mapped.append(np.load(tmp_path / f"{index}.npy", mmap_mode="r"))
    labels = q_ids, q_cams, g_ids, g_cams
    assert_identical(
        evaluate(mapped[0], q_ids, q_cams, mapped[1], g_ids, g_cams),
        evaluate(q, q_ids, q_cams, g, g_ids, g_cams),
    )
    assert_identical(evaluate_distances(mapped[2], *labels), evaluate_distances(distances, *labels))


@pytest.mark.parametrize("function", [evaluate, verify, per_query])
def test_memory_stays_far_below_a_matrix_of_distances(function):
    rng = np.random.default_rng(4)
    q, g = rng.normal(size=(600, 8)), rng.normal(size=(60_000, 8))
    labels = [rng.integers(1, 3000, 600), rng.integers(1, 7, 600)]
    gallery_labels = [rng.integers(1, 3000, 60_000), rng.integers(1, 7, 60_000)]
    tracemalloc.start()
    function(q, *labels, g, *gallery_labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The matrix would take 275 MiB in float64.
    assert peak < 120 * 2**20


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("offset", "scale"), [(0, 1), (1e3, 1), (1e6, 1e-3), (0, 1e18), (0, 1e-30), (1e-200, 1e-200)]
)
def test_fast_distances_are_as_near_to_the_exact_ones_as_they_say(dtype, offset, scale):
    rng = np.random.default_rng(6)
    q, g = offset + scale * rng.normal(size=(20, 33)), offset + scale * rng.normal(size=(50, 33))
    g[7] += 100 * scale
    g[9] = q[3]
    targets = Targets(g, Frame.around(q, g))
    fast, shift, slack = targets.shifted_distances(q, dtype)
    assert fast.dtype == dtype
    exact = np.array([squared_distances(row, g) for row in q])
    error = np.abs(fast.astype(np.float64) + shift[:, None] - targets.scaled(exact))
    assert (error <= slack[:, None]).all()


def test_the_exact_distance_of_equal_rows_is_equal_wherever_they_stand():
    rng = np.random.default_rng(7)
    base = rng.normal(size=(5, 37)).astype(np.float32)
    kinds = rng.integers(0, 5, 600)
    targets = Targets(base[kinds], Frame(np.zeros(37), 10.0))
    query = rng.normal(size=37).astype(np.float32)
    columns = rng.permutation(600)
    for some in (columns, columns[:200], columns[:1]):
        found = targets.exact(query, some)
        np.testing.assert_array_equal(found, squared_distances(query, base)[kinds[some]])


def test_scores_do_not_change_with_half_precision_or_lists_of_the_same_numbers():
    rng = np.random.default_rng(2)
    q, g = rng.integers(-3, 4, (4, 5)), rng.integers(-3, 4, (9, 5))
    labels = [1, 2, 1, 2], [1] * 4
    gallery_labels = [1, 2, 0, 1, 2, 0, 1, 2, -1], [2] * 9
    expected = as_list(evaluate(q, *labels, g, *gallery_labels))
    for convert in (np.float16, np.float64, np.int8, jnp.bfloat16):
        found = evaluate(q.astype(convert), *labels, g.astype(convert), *gallery_labels)
        assert_same(as_list(found), expected)
    assert_same(as_list(evaluate(q.tolist(), *labels, g.tolist(), *gallery_labels)), expected)


GOOD = (np.zeros((2, 3)), [1, 2], [1, 1], np.zeros((4, 3)), [1, 2, 0, -1], [2, 2, 2, 2])


def replaced(**changes):
    names = ("queries", "q_ids", "q_cams", "gallery", "g_ids", "g_cams")
    return [changes.get(name, value) for name, value in zip(names, GOOD, strict=True)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"queries": np.zeros((2, 5))}, "5 dimensions and gallery embeddings 3"),
        ({"queries": np.zeros(3)}, r"shape \[query, dim\], but came with \(3,\)"),
        ({"queries": np.zeros((0, 3))}, "query set is empty"),
        ({"gallery": np.zeros((0, 3))}, "gallery set is empty"),
        ({"q_ids": [1]}, "query_identities has 1 entries for 2 query images"),
        ({"g_cams": [1] * 5}, "gallery_cameras has 5 entries for 4 gallery images"),
        ({"g_ids": [1.0, 2, 0, -1]}, "gallery_identities must be a row of integers.*float64"),
        ({"queries": [[0, 0, 0], [0, np.nan, 0]]}, "1 of 2 query embeddings contain NaN"),
        ({"gallery": np.full((4, 3), np.inf)}, "4 of 4 gallery embeddings contain NaN or inf"),
        ({"g_ids": [-1] * 4}, "all 4 gallery images have the identity -1"),
        ({"q_ids": [0, -1]}, "number the people from 1"),
        ({"q_ids": [-1, -1]}, "every query has the identity -1"),
        ({"g_ids": [1, 2, 0, -2]}, "gallery_identities has -2 among them: expected -1 .junk"),
        ({"q_ids": np.array([1, 2], np.uint64) + 2**63}, "must fit 64 bits with a sign, but 9223"),
        ({"q_ids": [1, 2**70]}, "query_identities must be a row of integers.*object"),
        ({"q_ids": ["1", "2"]}, "query_identities must be a row of integers.*<U1"),
        ({"q_ids": [[1], [2]]}, r"a row of integers, but came as int64 with the shape \(2, 1\)"),
        ({"q_ids": [True, True]}, "query_identities must be a row of integers.*bool"),
        ({"q_ids": np.ma.array([1, 2], mask=[0, 1])}, "query_identities came as a masked array"),
        ({"gallery": np.ma.zeros((4, 3))}, "gallery embeddings came as a masked array"),
        ({"gallery": list(np.ma.zeros((4, 3)))}, "gallery embeddings came as a masked array"),
        ({"gallery": [["1", "2", "3"]] * 4}, "gallery embeddings must be numbers, but came as <U1"),
        ({"gallery": np.zeros((4, 3), object)}, "gallery embeddings must be numbers.*object"),
        ({"gallery": np.zeros((4, 3), complex)}, "gallery embeddings must be numbers.*complex128"),
        ({"gallery": [[0, 1, 2], [0, 1]]}, "gallery embeddings cannot be made an array"),
        ({"gallery": np.zeros((4, 3, 1))}, r"shape \[gallery, dim\], but came with \(4, 3, 1\)"),
        ({"q_ids": [8, 9]}, "none of the 2 query identities occurs in the gallery"),
        ({"g_cams": [1] * 4}, 'same_camera="drop_same_identity" removed.*same_camera="keep"'),
    ],
)
def test_a_mistake_is_named_with_both_sides(changes, message):
    with pytest.raises(InputError, match=message) as error:
        evaluate(*replaced(**changes))
    assert "\n" not in str(error.value)


def test_an_unknown_camera_rule_names_the_choices():
    with pytest.raises(InputError, match="'drop': expected one of drop_same_identity, drop_all, k"):
        evaluate(*GOOD, same_camera="drop")


def test_distances_of_a_wrong_shape_or_with_nan_are_refused():
    labels = [1, 2], [1, 1], [1, 2, 0], [2, 2, 2]
    with pytest.raises(InputError, match=r"\[queries, gallery\], but came with \(3,\)"):
        evaluate_distances(np.zeros(3), *labels)
    with pytest.raises(InputError, match="query_identities has 2 entries for 3 query images"):
        evaluate_distances(np.zeros((3, 3)), *labels)
    with pytest.raises(InputError, match="The query set is empty"):
        evaluate_distances(np.zeros((0, 3)), [], [], [1, 2, 0], [2, 2, 2])
    with pytest.raises(InputError, match="1 of 2 queries contain NaN"):
        evaluate_distances([[0, 1, 2], [0, np.nan, 1]], *labels)
    with pytest.raises(InputError, match="Distances came as a masked array"):
        evaluate_distances(np.ma.array(np.ones((2, 3)), mask=np.eye(2, 3)), *labels)
    with pytest.raises(InputError, match="Distances must be numbers, but came as complex64"):
        evaluate_distances(np.ones((2, 3), np.complex64), *labels)


def test_not_a_number_is_refused_even_where_it_is_junk_or_the_query_has_nothing_to_find():
    with pytest.raises(InputError, match="1 of 2 queries contain NaN"):
        evaluate_distances([[0, np.nan], [0, 1]], [1, 7], [1, 1], [1, -1], [2, 2])
    with pytest.raises(InputError, match="1 of 2 queries contain NaN"):
        evaluate_distances([[0, 1], [np.nan, 1]], [1, 7], [1, 1], [1, -1], [2, 2])
    rows = np.array([[0.0], [np.nan]])
    with pytest.raises(InputError, match="1 of 2 gallery embeddings contain NaN"):
        evaluate(np.zeros((2, 1)), [1, 7], [1, 1], rows, [1, -1], [2, 2])
    with pytest.raises(InputError, match="1 of 2 query embeddings contain NaN"):
        evaluate(rows, [1, 7], [1, 1], np.zeros((2, 1)), [1, -1], [2, 2])


def test_attribute_scores_of_a_small_table_are_as_worked_by_hand():
    #               true 0: right, right, wrong; true 1: right; true 2: wrong; one without label
    scores = attribute_scores([0, 0, 1, 1, 0, 2], [0, 0, 0, 1, 2, -1], 4)
    assert scores.labelled == 5
    assert scores.accuracy == pytest.approx(3 / 5)
    assert scores.majority == pytest.approx(3 / 5)
    assert scores.balanced_accuracy == pytest.approx((2 / 3 + 1 + 0) / 3)
    # Class 0: 2 of 3 labels, 2 of 3 answers; class 1: 1 of 1 and 1 of 2; class 2: none of 1.
    assert scores.f1 == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert scores.to_dict()["labelled"] == 5
    assert scores.confusion == ((2, 1, 0, 0), (0, 1, 0, 0), (1, 0, 0, 0), (0, 0, 0, 0))


def test_always_answering_the_majority_gains_nothing_over_it():
    scores = attribute_scores([0] * 10, [0] * 9 + [1], 2)
    assert scores.accuracy == scores.majority == 0.9
    assert scores.balanced_accuracy == 0.5
    assert scores.f1 == pytest.approx((18 / 19 + 0) / 2)


def test_an_attribute_without_labels_has_no_accuracy():
    for labels in ([-1, -1], []):
        scores = attribute_scores([0] * len(labels), labels, 2)
        assert scores.labelled == 0
        numbers = scores.accuracy, scores.majority, scores.balanced_accuracy, scores.f1
        assert np.isnan(numbers).all()


@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        ([0], [0, 1], "1 predictions came with 2 labels"),
        ([0, 2], [0, 1], "Of the predictions, 1 are no class: expected 0 to 1, but found 2"),
        ([0, 1], [0, -2], "Of the labels, 1 are no class"),
        ([0.5], [1], "predictions must be a row of integers"),
        ([[0, 1]], [1], "predictions must be a row of integers"),  # one-hot
        ([0], [[1]], "labels must be a row of integers"),
        ([0], np.ma.array([1], mask=[True]), "labels came as a masked array"),
    ],
)
def test_predictions_and_labels_that_do_not_fit_are_refused(predictions, labels, message):
    with pytest.raises(InputError, match=message):
        attribute_scores(predictions, labels, 2)


@pytest.mark.parametrize("classes", [0, -1, 2.0, float("nan")])
def test_a_number_of_classes_that_cannot_be_is_refused(classes):
    with pytest.raises(InputError, match=r"classes is .* a whole number from 1 on"):
        attribute_scores([0], [0], classes)
