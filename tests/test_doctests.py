"""The examples in the docstrings are run, and no public function is without one."""

import doctest
import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgsam_jax import bilinear, errors, loss, metrics, retrieval

MODULES = [errors] + [
    importlib.import_module(f"{wing.__name__}.{module.name}")
    for wing in (loss, bilinear, metrics, retrieval)
    for module in pkgutil.iter_modules(wing.__path__)
]


def written_in(module):
    """The public functions and classes of a module, without what it imports."""
    own = [x for x in vars(module).values() if getattr(x, "__module__", "") == module.__name__]
    return [x for x in own if inspect.isroutine(x) or inspect.isclass(x)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_function_has_an_example_that_gives_what_it_says(module):
    known = {"jax": jax, "jnp": jnp, "np": np}
    tests = doctest.DocTestFinder().find(module, module.__name__, extraglobs=known)
    with_example = {test.name for test in tests if test.examples}
    functions = {
        f"{module.__name__}.{x.__name__}"
        for x in written_in(module)
        if not inspect.isclass(x) and not x.__name__.startswith("_")
    }
    assert functions <= with_example
    for test in tests:
        assert doctest.DocTestRunner().run(test).failed == 0
