import numpy as np
import pytest
from PIL import Image

from fgsam_jax.data import Table
from fgsam_jax.visualization import results

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 32, 16, 3), np.uint8)


def table(rows, identities, cameras):
    names = np.array([str(row) for row in rows])
    return Table(IMAGES[rows], names, np.array(identities), np.array(cameras), {})


@pytest.fixture
def shown(monkeypatch):
    """What a sheet of ranked lists is drawn from."""
    seen = {}

    def ranked_lists(query, lists, correct, **captions):
        seen.update(lists=lists, correct=[list(row) for row in correct], **captions)

    monkeypatch.setattr(results.draw, "ranked_lists", ranked_lists)
    return seen


def test_a_ranked_list_of_a_small_gallery_leaves_out_what_the_camera_rule_drops(shown):
    query, gallery = table([0], [1], [1]), table([1, 2, 3], [1, 1, 2], [1, 2, 2])
    distances = np.array([[0.1, 0], [0.2, 0], [0.9, 0]])
    results._ranked_lists(query, gallery, "drop_same_identity", np.zeros((1, 2)), distances)
    np.testing.assert_array_equal(shown["lists"][0], IMAGES[[2, 3]])
    assert shown["correct"] == [[True, False]]
    assert [text.split("\n")[0] for text in shown["gallery_captions"][0]] == ["0.20", "0.90"]

    results._ranked_lists(query, gallery, "keep", np.zeros((1, 2)), distances)
    assert shown["correct"] == [[True, True, False]]


def test_a_query_with_nothing_left_has_an_empty_row_of_the_sheet():
    query, gallery = table([0, 4], [1, 2], [1, 1]), table([1, 2], [1, 1], [1, 1])
    sheet = results._ranked_lists(
        query, gallery, "drop_same_identity", np.zeros((2, 2)), np.ones((2, 2))
    )
    assert isinstance(sheet, Image.Image)
