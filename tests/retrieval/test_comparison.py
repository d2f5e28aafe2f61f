import numpy as np
import pytest

from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import Attribute
from fgsam_jax.retrieval.comparison import compare
from fgsam_jax.retrieval.description import Description
from fgsam_jax.retrieval.threshold import Check, Threshold

THRESHOLD = Threshold(0.5, 1e-3, (0.4, 0.6), 10.0, -5.0, 20, Check(1e-3, 0.5, 0.1))
HEAD = {"head": slice(0, 2), "plenary": slice(2, 4)}


def rows(angle):
    """Two descriptors that differ in the head by an angle."""
    turned = [np.cos(angle), np.sin(angle)]
    return np.array([[1, 0, 1, 0], [*turned, 1, 0]], np.float32) / 2**0.5


@pytest.mark.parametrize(("angle", "same"), [(0.5, True), (1.0, False)])
def test_the_threshold_decides(angle, same):
    found = compare(Description(rows(angle), HEAD, {}, {}), threshold=THRESHOLD)
    assert found.distance == pytest.approx(2**0.5 * np.sin(angle / 2), abs=1e-6)
    assert found.same is same
    assert found.probability == pytest.approx(1 / (1 + np.exp(10 * found.distance - 5)), abs=1e-6)
    assert found.parts["head"].squared_distance == pytest.approx(2 - 2 * np.cos(angle), abs=1e-6)
    assert found.parts["head"].visibility is None


def test_equal_crops_have_no_distance_and_even_shares():
    found = compare(Description(rows(0), HEAD, {}, {}))
    assert (found.distance, found.same, found.probability) == (0, None, None)
    assert [part.share for part in found.parts.values()] == [0.5, 0.5]


def test_attributes_agree_or_differ_with_probabilities():
    colour = Attribute("upper_colour", "upper_body", ("red", "blue", "green"))
    hat = Attribute("hat", "head", ("no", "yes"))
    answers = {
        "upper_colour": np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1]], np.float32),
        "hat": np.array([[0.9, 0.1], [0.8, 0.2]], np.float32),
    }
    found = compare(Description(rows(1), HEAD, answers, {}), (colour, hat)).attributes
    assert found["upper_colour"].classes == ("red", "blue")
    assert found["upper_colour"].probabilities == pytest.approx((0.7, 0.6))
    assert not found["upper_colour"].agree
    assert found["upper_colour"].agreement == pytest.approx(0.7 * 0.3 + 0.2 * 0.6 + 0.1 * 0.1)
    assert found["hat"].agree
    assert found["hat"].agreement == pytest.approx(0.9 * 0.8 + 0.1 * 0.2)


def test_other_than_two_crops_are_refused():
    with pytest.raises(InputError, match="two crops are compared, got 1"):
        compare(Description(rows(1)[:1], HEAD, {}, {}))
