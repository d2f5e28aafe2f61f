"""Compact bilinear pooling of seven parts: our four methods, and two of them in PyTorch."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.ceilings import share
from benchmarks.common import Row, finished, in_turn, torch_or_none
from fgsam_jax.bilinear import METHODS, CountSketch, compact_bilinear_parts
from fgsam_jax.labels.skeleton import part_channels

ORDER = ("gram", *(method for method in METHODS if method != "gram"))  # the default comes first


def pooling(options: argparse.Namespace) -> list[Row]:
    """Forward, and forward with the gradients of both maps.

    "kept_mib" is what a forward pass leaves for its backward pass, inputs included, each array
    once; "difference" is the largest from the textbook's, beside the largest number.
    """
    batch, positions, channels, size = (2, 32, 512, 1024) if options.quick else (8, 128, 2048, 4096)
    random = np.random.default_rng(0)
    x = random.standard_normal((batch, positions, channels), np.float32)
    y = random.standard_normal((batch, positions, 57), np.float32)
    weights = random.standard_normal((batch, len(part_channels()), size), np.float32)
    tables = [
        (random.integers(0, size, n).astype(np.int32), random.choice([-1, 1], n).astype(np.int8))
        for n in (channels, 57)
    ]
    sketches = [CountSketch(jnp.asarray(bins), jnp.asarray(signs), size) for bins, signs in tables]
    forward: dict[str, Callable] = {}
    both: dict[str, Callable] = {}
    figures: dict[str, Row] = {}
    programs: dict[tuple[str, str], Any] = {}
    answers: dict[str, np.ndarray] = {}
    for method in ORDER:
        pool = partial(
            compact_bilinear_parts,
            parts=part_channels(),
            sketch_x=sketches[0],
            sketch_y=sketches[1],
            method=method,
        )
        arguments = jnp.asarray(x), jnp.asarray(y)
        gradient = jax.value_and_grad(lambda x, y, pool=pool: jnp.sum(pool(x, y) * weights), (0, 1))
        for runs, function, passes in ((forward, pool, "forward"), (both, gradient, "both")):
            programs[method, passes] = jax.jit(function).lower(*arguments).compile()
            runs[method] = partial(finished, programs[method, passes], *arguments)
        answers[method] = np.asarray(forward[method]())
        figures[method] = {"kept_mib": kept_bytes(pool, *arguments) / 2**20}
    torch = torch_or_none()
    if torch:
        from benchmarks import torch_pooling

        for name, rival in torch_pooling.METHODS.items():
            pool = partial(rival, tables=tables, size=size, parts=part_channels())
            forward[name] = partial(torch_pooling.forward, pool, x, y)
            both[name] = partial(torch_pooling.forward_backward, pool, x, y, weights)
            answers[name] = forward[name]().numpy()
            figures[name] = {"kept_mib": torch_pooling.kept_bytes(pool, x, y) / 2**20}
    reference = answers["textbook"]
    for name, answer in answers.items():
        figures[name]["difference"] = np.max(np.abs(answer - reference)) / np.max(np.abs(reference))
    rows = []
    for runs, passes in ((forward, "forward"), (both, "both")):
        for row in in_turn("pooling", runs, 3 if options.quick else 7):
            name = row["what"]
            row |= figures[name]
            if name in METHODS:
                row |= share(programs[name, passes], row["median"], options)
            row["what"] = f"{name}, forward" + (" and backward" if passes == "both" else "")
            rows.append(row)
    return rows


def kept_bytes(function: Callable, *arguments: jax.Array) -> int:
    """Bytes that the backward pass of a function needs from its forward pass, each array once."""
    kept = jax.tree.leaves(jax.vjp(jax.jit(function), *arguments)[1])
    unique = {id(x): x.nbytes for x in kept}
    return sum(unique.values())
