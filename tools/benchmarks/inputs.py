"""How much longer a step takes for its data: real batches beside one that stays on the device."""

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.common import (
    PEOPLE,
    Row,
    configuration,
    first_state,
    in_turn,
    jitted_step,
)
from fgsam_jax.config import Config, Phase
from fgsam_jax.data import Table
from fgsam_jax.data.batches import Batches
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.labels.attributes import MARKET1501


def inputs(options: argparse.Namespace) -> Iterator[Row]:
    """Phases 1 to 3 of the small Market configuration, rows of several steps each.

    The data are Market-1501 of FGSAM_DATA, else random images of the same shape. "waiting" is the
    share of the step that the data add, "waiting_cpu" of the cores' seconds, "blocked" the share
    for which the loop stood still until it had its batch; the device may have worked meanwhile.
    """
    config = configuration("market_small")
    table = _table(config, options.quick)
    phases = [phase for phase in config.phases if phase.name in ("base", "base_pose", "fgsam")]
    steps, rounds = (4, 3) if options.quick else (5, 9)
    for phase in phases[-1:] if options.quick else phases:
        phase.batch = 16 if options.quick else phase.batch
        yield from _phase(config, phase, table, steps, rounds)


def _phase(config: Config, phase: Phase, table: Table, steps: int, rounds: int) -> list[Row]:
    function, optimizer = jitted_step(config, phase)
    held = [first_state(config, phase, optimizer, abstract=False)]
    first = next(real_batches(phase, table, 0, 1))
    constant, key = jax.device_put((first, jax.random.key(0)))
    program = function.lower(held[0], constant, key).compile()
    blocked: list[float] = []
    taken = [0]

    def real() -> Iterator[dict[str, Any]]:
        taken[0] += steps
        return _watched(real_batches(phase, table, taken[0] - steps, taken[0]), blocked)

    runs: dict[str, Callable] = {
        f"{phase.name}, {steps} steps, one batch": lambda: _loop(
            program, held, key, repeat(constant, steps)
        ),
        f"{phase.name}, {steps} steps, real batches": lambda: _loop(program, held, key, real()),
    }
    rows = in_turn("inputs", runs, rounds)
    rows[1]["waiting"] = 1 - 1 / rows[1]["ratio"]
    rows[1]["waiting_cpu"] = 1 - rows[0]["cpu"] / rows[1]["cpu"]
    rows[1]["blocked"] = np.median(blocked) * steps / rows[1]["median"]
    return rows


def real_batches(phase: Phase, table: Table, first: int, last: int) -> Iterator[dict[str, Any]]:
    """The batches number first, ..., last - 1 as training takes them, on one device."""
    for _, chunk in Batches(phase, table, seed=0, devices=1).device_batches(first, last):
        yield jax.tree.map(lambda x: x[0, 0], chunk)


def _loop(program: Any, held: list, key: Any, batches: Iterable[dict[str, Any]]) -> None:
    """As training: the device works on a step while the host reads the metrics of the last."""
    running: dict[str, Any] = {}
    for batch in batches:
        state, after = program(held.pop(), batch, key)
        held.append(state)
        jax.device_get(running)
        running = after
    jax.device_get(running)


def _watched(batches: Iterator[Any], seconds: list[float]) -> Iterator[Any]:
    """The same batches; the seconds until each was there are noted."""
    ended = object()
    while True:
        begun = time.perf_counter()
        batch = next(batches, ended)
        if batch is ended:
            return
        seconds.append(time.perf_counter() - begun)
        yield batch


def _table(config: Config, quick: bool) -> Table:
    """The training split of Market-1501, or one of its shape with random images."""
    folder = Path(os.environ.get("FGSAM_DATA", "nowhere"))
    source = folder / Path(config.data.source).name
    if source.is_dir() and not quick:
        config.data.source = str(source)
        config.data.attributes = str(folder / "market_attribute.mat")
        return Datasets(config).table("train")
    rows, random = 2000 if quick else 12936, np.random.default_rng(0)
    draw: Callable = partial(random.integers, size=rows)
    return Table(
        images=random.integers(
            0, 256, (rows, config.data.height, config.data.width, 3), dtype=np.uint8
        ),
        names=np.arange(rows).astype(str),
        identities=(1 + np.arange(rows) % PEOPLE).astype(np.int32),
        cameras=draw(1, 7).astype(np.int32),
        attributes={a.name: draw(0, len(a.classes)).astype(np.int8) for a in MARKET1501},
        kinds=MARKET1501,
    )
