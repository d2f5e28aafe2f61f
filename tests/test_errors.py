import re

import numpy as np
import pytest

from fgsam_jax.errors import InputError, check_arrays


@pytest.mark.parametrize(
    ("needed", "shapes"),
    [
        ("x [n, dim], y [m, dim]", [(2, 3), (5, 3)]),
        ("x [..., channels], bins [channels]", [(2, 5, 3), (3,)]),
        ("x [..., channels], bins [channels]", [(3,), (3,)]),
        ("x [batch, height], weight [batch or 1, height or 1]", [(4, 3), (1, 3)]),
        ("x [batch, height], weight [batch or 1, height or 1]", [(4, 3), (4, 1)]),
        ("margin []", [()]),
        ("x [n]", [(0,)]),
    ],
)
def test_arrays_that_fit_pass(needed, shapes):
    check_arrays(needed, *map(np.zeros, shapes))


@pytest.mark.parametrize(
    ("needed", "shapes"),
    [
        ("x [n, dim], y [m, dim]", [(2, 3), (5, 1)]),
        ("x [..., channels], bins [channels]", [(2, 5, 3), (5,)]),
        ("x [..., channels], bins [channels]", [(), (3,)]),
        ("x [batch, height], weight [batch or 1, height or 1]", [(4, 3), (3,)]),
        ("x [batch, height], weight [batch or 1, height or 1]", [(4, 3), (2, 1)]),
        ("margin []", [(1,)]),
        ("x int [n]", [(2,)]),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_both_sides(needed, shapes):
    arrays = list(map(np.zeros, shapes))
    with pytest.raises(InputError, match=re.escape(f"needed {needed}; got float64 [")):
        check_arrays(needed, *arrays)


def test_numbers_and_lists_are_told_by_their_type():
    check_arrays("margin [], weight [n or 1]", 0.5, 1)
    with pytest.raises(InputError, match=r"needed x \[n\], y \[\]; got float, list"):
        check_arrays("x [n], y []", 0.5, [1.0])
    with pytest.raises(InputError, match=r"got masked float64 \[2\]"):
        check_arrays("x [n]", np.ma.zeros(2))
