import numpy as np
import pytest

from fgsam_jax.data import Table
from fgsam_jax.errors import InputError
from fgsam_jax.evaluation.reid import check_matches


def people(*identities):
    rows = len(identities)
    images, names = np.zeros((rows, 1, 1, 3), np.uint8), np.arange(rows).astype(str)
    return Table(images, names, np.array(identities), np.zeros(rows, int), {})


def test_a_query_that_shows_nobody_is_refused_before_hours_of_training():
    check_matches(people(1, 2), people(0, 1, 2))
    with pytest.raises(InputError, match=r"1 of 2 queries have the identity 0.*people from 1"):
        check_matches(people(0, 1), people(0, 1))
