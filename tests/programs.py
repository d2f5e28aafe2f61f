"""Settings of JAX that somebody's program may have when it calls this package."""

import contextlib

import jax
from jax.sharding import AxisType


@contextlib.contextmanager
def program(name):
    """The settings in the name: strict, 64 bits, no transfers, explicit or automatic mesh."""
    with contextlib.ExitStack() as stack:
        if "strict" in name:
            stack.enter_context(jax.numpy_dtype_promotion("strict"))
            stack.enter_context(jax.numpy_rank_promotion("raise"))
            stack.enter_context(jax.debug_infs(True))
            stack.enter_context(jax.debug_nans(True))
        if "64 bits" in name:
            stack.enter_context(jax.enable_x64(True))
        if "mesh" in name:
            kind = AxisType.Explicit if "explicit" in name else AxisType.Auto
            mesh = jax.make_mesh((jax.device_count(),), ("batch",), axis_types=(kind,))
            stack.enter_context(jax.set_mesh(mesh))
        if "no transfers" in name:
            stack.enter_context(jax.transfer_guard("disallow"))
        yield
