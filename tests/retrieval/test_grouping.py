import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from fgsam_jax.errors import InputError
from fgsam_jax.retrieval.grouping import ALONE, group
from fgsam_jax.retrieval.rerank import jaccard_distances


def crops(sizes, noise, seed=0):
    random = np.random.default_rng(seed)
    people = np.repeat(np.arange(len(sizes)), sizes)
    rows = random.normal(size=(len(sizes), 16))[people]
    return rows + noise * random.normal(size=rows.shape), people


def test_people_far_apart_are_found_and_the_largest_comes_first():
    rows, people = crops([4, 6, 5, 1, 4], 0.05)
    order = np.random.default_rng(1).permutation(len(rows))
    found = group(rows[order], crops_each=4)
    wanted = np.array([3, 1, 2, ALONE, 4])[people[order]]
    same = found.group[:, None] == found.group
    np.testing.assert_array_equal(same, wanted[:, None] == wanted)
    assert np.bincount(found.group[found.group > 0]).tolist() == [0, 6, 5, 4, 4]
    assert found.group[people[order] == 3] == ALONE
    assert found.sureness[people[order] == 3] == 0
    assert found.sureness[people[order] != 3].min() > 0.5


def test_sureness_is_the_silhouette_of_the_dense_distances():
    rows, _ = crops([6] * 12, 0.6)
    found = group(rows, crops_each=6)
    grouped = found.group > 0
    assert 2 < found.group.max() < 40
    sparse = jaccard_distances(rows, k1=7, k2=2).tocoo()
    dense = np.ones((len(rows), len(rows)))
    dense[sparse.coords] = sparse.data
    np.fill_diagonal(dense, 0)
    wanted = silhouette_samples(
        dense[np.ix_(grouped, grouped)], found.group[grouped], metric="precomputed"
    )
    np.testing.assert_allclose(found.sureness[grouped], wanted, atol=1e-6)
    assert found.sureness[grouped].min() < 0.5 < found.sureness.max()


def test_a_single_group_has_no_other_to_be_mistaken_for():
    found = group(np.random.default_rng(0).normal(size=(5, 3)) * 1e-3, crops_each=4)
    assert set(found.group) == {1}
    assert found.sureness.min() > 0


def test_crops_that_are_alike_to_none_are_all_alone():
    found = group(np.eye(40)[:3] * [[1], [1], [1]], crops_each=2, radius=0.01)
    np.testing.assert_array_equal(found.group, ALONE)
    np.testing.assert_array_equal(found.sureness, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radius": 1.0}, "a radius is above 0 and below 1, got 1"),
        ({"crops_each": 1}, "at least 2 crops to be grouped, got 1"),
    ],
)
def test_what_groups_nobody_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        group(np.eye(5), **changes)
