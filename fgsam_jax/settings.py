"""Work under all settings of JAX: this package is called inside other programs.

These may forbid implicit promotion or broadcasting, stop at infinities, count in 64 bits or have
set a mesh. Under the usual settings nothing here changes what is compiled.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import jax

Function = TypeVar("Function", bound=Callable)


@contextlib.contextmanager
def usual_promotion() -> Iterator[None]:
    """Promotion and broadcasting as this package's functions are written, infinities between.

    Mining begins a minimum with infinity, for one. What comes out is the caller's again.
    """
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.debug_infs(False),
    ):
        yield


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """What a trained model's own programs run with in this thread, whatever the caller has set."""
    with (
        usual_promotion(),
        jax.enable_x64(False),
        jax.debug_nans(False),
        jax.transfer_guard("allow"),
        jax.set_mesh(None),
    ):
        yield


def in_any_program(function: Function) -> Function:
    """A pure function of arrays, for programs of any settings, also with explicit shardings.

    The result keeps the first axis of the first argument, and is sharded as that is.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    @usual_promotion()
    def wrapped(*args: Any, **options: Any) -> Any:
        axes = jax.sharding.get_abstract_mesh().explicit_axes
        if not axes:
            return function(*args, **options)
        given = signature.bind(*args, **options)
        spec = jax.sharding.PartitionSpec(*jax.typeof(given.args[0]).sharding.spec[:1])
        # Arrays are handed over as such also where they have a keyword; else they keep the mesh.
        arrays = {k: x for k, x in given.kwargs.items() if isinstance(x, jax.Array)}
        rest = {k: x for k, x in given.kwargs.items() if k not in arrays}

        def inner(arrays: dict[str, jax.Array], *args: Any) -> Any:
            return function(*args, **arrays, **rest)

        return jax.sharding.auto_axes(inner, axes=axes, out_sharding=spec)(arrays, *given.args)

    return cast(Function, wrapped)
