import itertools

import pytest

from fgsam_jax.runtime.ahead import made_ahead


def test_results_come_in_turn_and_few_are_made_ahead():
    taken = []

    def items():
        for item in itertools.count():
            taken.append(item)
            yield item

    squares = made_ahead(lambda item: item**2, items(), 2)
    for number in range(5):
        assert next(squares) == number**2
        assert taken == list(range(number + 3))
    squares.close()
    assert len(taken) == 7


def test_what_is_left_comes_when_the_items_end():
    assert list(made_ahead(str, [1, 2], 5)) == ["1", "2"]
    assert not list(made_ahead(str, []))


def test_an_error_is_raised_in_its_items_turn():
    found = made_ahead(lambda item: 6 // item, [3, 2, 0, 1], 2)
    assert [next(found), next(found)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert not list(found)
