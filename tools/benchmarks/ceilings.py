"""The two ceilings of a device: a large matrix product, and a large array read and written."""

import argparse
import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.common import Row, counted, finished, in_turn, torch_or_none


def ceilings(options: argparse.Namespace) -> list[Row]:
    """GFLOP/s of a square matrix product and GB/s of an array whose sign is turned in place.

    In place, since fresh memory is measured otherwise: on a CPU its first touch costs more than
    the copy. The figures are those of the fastest round, as befits a ceiling.
    """
    return [dict(row) for row in _measured(options.quick)]


def share(program: Any, seconds: float, options: argparse.Namespace, dtype: str = "float32") -> Row:
    """Columns of a roofline: what is counted of a program, and its shares of both ceilings.

    Bytes are those that the operations ask for; where caches serve them their share passes 1.
    """
    best = {row["what"]: row for row in _measured(options.quick)}
    figures = counted(program)
    product, copy = best[f"product {dtype}"]["gflop_per_s"], best["copy"]["gb_per_s"]
    return figures | {
        "of_product": figures["gflop"] / seconds / product,
        "of_copy": figures["gb"] / seconds / copy,
    }


@functools.cache
def _measured(quick: bool) -> list[Row]:
    """Once in a process, so that all sections stand beside the same ceilings."""
    torch, cpu = torch_or_none(), jax.default_backend() == "cpu"
    side, size = (2048, 2**26) if cpu else (8192, 2**30)
    rounds, rows = 5 if quick else 15, []
    for name in ("float32", "bfloat16"):
        x = jnp.ones((side, side), name)
        product = jax.jit(jnp.matmul).lower(x, x).compile()
        runs: dict[str, Callable] = {f"product {name}": partial(finished, product, x, x)}
        if torch and cpu:
            y = torch.ones((side, side), dtype=getattr(torch, name))
            runs[f"product {name}, PyTorch"] = partial(torch.matmul, y, y)
        for row in in_turn("ceilings", runs, rounds):
            rows.append(row | {"gflop_per_s": 2 * side**3 / row["fastest"] / 1e9})
    runs = {"copy": _in_place(size)}
    if torch and cpu:
        runs["copy, PyTorch"] = torch.ones(size).neg_
    for row in in_turn("ceilings", runs, rounds):
        rows.append(row | {"gb_per_s": 2 * 4 * size / row["fastest"] / 1e9})
    return rows


def _in_place(size: int) -> Callable[[], None]:
    turn = jax.jit(jnp.negative, donate_argnums=0)
    held = [turn(jnp.ones(size, jnp.float32))]

    def run() -> None:
        held.append(finished(turn, held.pop()))

    return run
