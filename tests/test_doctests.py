import doctest
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgsam_jax import bilinear, loss, metrics
from fgsam_jax.retrieval.embedder import Embedder, load

PUBLIC = [getattr(wing, name) for wing in (loss, bilinear, metrics) for name in wing.__all__]
FUNCTIONS = [*filter(inspect.isfunction, PUBLIC), load, Embedder.embed]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_public_function_has_an_example_that_gives_what_it_says(function):
    known = {"jax": jax, "jnp": jnp, "np": np}
    (found,) = doctest.DocTestFinder().find(function, function.__name__, extraglobs=known)
    assert found.examples
    assert doctest.DocTestRunner().run(found).failed == 0
