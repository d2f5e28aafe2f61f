import numpy as np
import pytest

from fgsam_jax.retrieval.expansion import expand_queries


@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_a_query_becomes_the_weighted_mean_of_itself_and_its_nearest(alpha):
    random = np.random.default_rng(0)
    rows = random.normal(size=(330, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries, gallery = rows[:300], rows[300:]
    for query, found in zip(queries, expand_queries(queries, gallery, alpha=alpha), strict=True):
        near = sorted(gallery, key=lambda x: -float(x @ query))[:5]
        total = query + sum(max(float(x @ query), 0) ** alpha * x for x in near)
        np.testing.assert_allclose(found, total / np.linalg.norm(total), atol=1e-6)


def test_a_gallery_smaller_than_the_list_is_taken_whole():
    found = expand_queries(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), alpha=0)
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5]], rtol=1e-6)
