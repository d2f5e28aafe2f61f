"""Re-ranking against the paper's sets, written as sets, and dense matrices."""

import tracemalloc

import numpy as np
import pytest

from fgsam_jax.errors import InputError
from fgsam_jax.retrieval.rerank import Reranked, jaccard_distances, rerank


def people(images, dim, seed=0, each=12):
    """Unit vectors around a centre for each person, of any order."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(2, images // each), dim))
    rows = centres[random.integers(0, len(centres), images)]
    rows = rows + 0.7 * random.normal(size=rows.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def dense_encodings(rows, k1, k2):
    """V and d of the paper, image by image."""
    rows = rows.astype(np.float64)
    d = np.square(rows[:, None] - rows).sum(-1)
    d /= d.max(axis=1, keepdims=True)
    others_first = d.copy()
    np.fill_diagonal(others_first, -1)
    order = np.argsort(others_first, axis=1, kind="stable")
    images = range(len(rows))

    def reciprocal(k):
        near = [set(order[p, : k + 1].tolist()) for p in images]
        return [{q for q in near[p] if p in near[q]} for p in images]

    wide, narrow = reciprocal(k1), reciprocal(round(k1 / 2))
    v = np.zeros_like(d)
    for p in images:
        agreeing = [narrow[q] for q in wide[p] if len(narrow[q] & wide[p]) > 2 / 3 * len(narrow[q])]
        members = sorted(wide[p].union(*agreeing))
        v[p, members] = np.exp(-d[p, members])
        v[p] /= v[p].sum()
    return np.stack([v[order[p, :k2]].mean(axis=0) for p in images]), d


def dense_jaccard(v):
    return np.array([1 - np.minimum(p, v).sum(1) / np.maximum(p, v).sum(1) for p in v])


@pytest.mark.parametrize(
    ("images", "dim", "k1", "k2"),
    [(500, 64, 20, 6), (300, 16, 20, 6), (200, 2, 7, 3), (200, 8, 5, 1), (12, 3, 20, 6)],
)
def test_re_ranking_equals_the_papers_formulas_on_dense_matrices(images, dim, k1, k2):
    rows, queries = people(images, dim), images // 5
    v, d = dense_encodings(rows, k1, k2)
    expected = 0.7 * dense_jaccard(v) + 0.3 * d

    found = rerank(rows[:queries], rows[queries:], k1=k1, k2=k2)
    np.testing.assert_allclose(found, expected[:queries, queries:], atol=1e-6)

    sparse = jaccard_distances(rows, k1=k1, k2=k2).tocoo()
    stored = np.ones((images, images))
    stored[sparse.coords] = sparse.data
    np.testing.assert_allclose(stored, dense_jaccard(v), atol=1e-9)


def test_a_part_of_the_queries_gets_the_distances_of_the_whole():
    rows = people(90, 8)
    lazy, whole = Reranked(rows[:20], rows[20:]), rerank(rows[:20], rows[20:])
    for some in (slice(0, 3), slice(15, 64), slice(7, 8)):
        np.testing.assert_allclose(lazy[some], whole[some], atol=1e-6)


def test_images_that_cannot_be_told_apart_are_all_at_distance_0():
    rows = np.ones((15, 5), np.float32)
    np.testing.assert_allclose(rerank(rows[:5], rows[5:]), np.zeros((5, 10)), atol=1e-6)


def test_twins_of_a_large_group_are_nearer_than_strangers():
    rows = np.repeat(np.eye(3, dtype=np.float32), 40, axis=0)  # more twins than neighbours
    found = rerank(rows[::40], rows)
    assert np.isfinite(found).all()
    person = np.arange(120) // 40
    for query in range(3):
        assert found[query, person == query].max() < found[query, person != query].min()


def test_memory_does_not_grow_with_images_by_images():
    rows = people(6000, 16)
    tracemalloc.start()
    Reranked(rows[:50], rows[50:])[0:50]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 110 * 2**20 < rows.shape[0] ** 2 * 4  # one float32 matrix has 137 MiB


def test_rows_that_are_no_numbers_or_do_not_fit_are_refused():
    rows = people(10, 4)
    with pytest.raises(InputError, match="1 of 10 gallery embeddings contain NaN"):
        rerank(rows, np.where(np.arange(40).reshape(10, 4) == 5, np.nan, rows))
    with pytest.raises(InputError, match=r"needed query_rows \[queries, dim\].*got float32 \[10"):
        rerank(rows, rows[:, :3])
    with pytest.raises(InputError, match="k1 is 0: expected a whole number from 1"):
        rerank(rows, rows, k1=0)
