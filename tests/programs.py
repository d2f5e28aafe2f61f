"""Settings of JAX that somebody's program may have when it calls this package."""

import contextlib

import jax
from jax.sharding import AxisType

PROGRAMS = (
    "usual", "strict promotion", "strict promotion in 64 bits", "no broadcasting", "no infinities",
    "no NaN", "64 bits", "no transfers", "explicit mesh", "automatic mesh",
)  # fmt: skip


@contextlib.contextmanager
def program(name):
    with contextlib.ExitStack() as stack:
        if "strict" in name:
            stack.enter_context(jax.numpy_dtype_promotion("strict"))
        if "64 bits" in name:
            stack.enter_context(jax.enable_x64(True))
        if "mesh" in name:
            kind = AxisType.Explicit if "explicit" in name else AxisType.Auto
            mesh = jax.make_mesh((jax.device_count(),), ("x",), axis_types=(kind,))
            stack.enter_context(jax.set_mesh(mesh))
        if name == "no broadcasting":
            stack.enter_context(jax.numpy_rank_promotion("raise"))
        if name == "no infinities":
            stack.enter_context(jax.debug_infs(True))
        if name == "no NaN":
            stack.enter_context(jax.debug_nans(True))
        if name == "no transfers":
            stack.enter_context(jax.transfer_guard("disallow"))
        yield
