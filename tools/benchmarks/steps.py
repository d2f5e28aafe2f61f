"""The train step of every phase, forward, backward and Adam, beside an equal one in PyTorch."""

import argparse
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.ceilings import share
from benchmarks.common import (
    Row,
    configuration,
    first_state,
    in_turn,
    jitted_step,
    random_batch,
    torch_or_none,
)
from fgsam_jax.config import Config, Phase


class Step(NamedTuple):
    """A compiled train step that goes on from its own state."""

    program: Any
    run: Callable[[], Any]
    parameters: int


def steps(options: argparse.Namespace) -> Iterator[Row]:
    """The small Market configuration's phases, its baseline with light nets, the published one.

    The small ones at batch 64, the published one at batch 8. "of_product" and "of_copy" are shares
    of the ceilings, "temporary_mib" is what XLA takes beside arguments and results. Rivals have the
    same sizes, the same number of parameters and the same images. With --quick a ResNet-18 stands
    for the ResNet-50, and the light nets are left out.
    Images smaller than 256x128 would mislead here: at a grid of 4x2 XLA's CPU convolutions are a
    hundred times slower.
    """
    small, published = configuration("market_small"), configuration("market")
    images = 16 if options.quick else 64
    cases = [(small, phase, images) for phase in small.phases if phase.name != "lram"]
    for name in ("osnet_x0_25", "efficientnet_lite0"):
        light = configuration("market_small", name)
        cases.append((light, light.phases[1], images))
    if options.quick:
        cases = [case for case in cases if case[1].model == "fgsam"]
        published.model.backbone = "resnet18"
    cases.append((published, published.phases[1], 4 if options.quick else 8))
    for config, phase, size in cases:
        yield from _case(config, phase, size, options)


def _case(config: Config, phase: Phase, size: int, options: argparse.Namespace) -> list[Row]:
    """One phase, its variants and its rivals, all in turn."""
    name = f"{phase.name} {config.model.backbone}, {size} images"
    batch = random_batch(size, config.data.height, config.data.width)
    lower = dataclasses.replace(config, model=dataclasses.replace(config.model, dtype="bfloat16"))
    variants: dict[str, tuple[Config, dict, dict]] = {"": (config, batch, {})}
    if not options.quick:
        variants[", bfloat16"] = (lower, batch, {})
        variants[", remat"] = (config, batch, {"remat": True})
    ours = {
        name + which: make_step(given, phase, images, **how)
        for which, (given, images, how) in variants.items()
    }
    runs = {what: step.run for what, step in ours.items()}
    if torch_or_none():
        from benchmarks import torch_step

        for which in [x for x in variants if x in ("", ", bfloat16")]:
            rival = f"{name}{which}, PyTorch"
            runs[rival], parameters = torch_step.make_step(variants[which][0], phase, batch)
            if parameters != ours[name].parameters:
                raise AssertionError(
                    f"{rival} has {parameters} parameters and ours {ours[name].parameters}"
                )
    rows = in_turn("steps", runs, 3 if options.quick else 5)
    for row in rows:
        row["images_per_s"] = size / row["median"]
        if step := ours.get(row["what"]):
            dtype = "bfloat16" if "bfloat16" in row["what"] else "float32"
            row |= share(step.program, row["median"], options, dtype)
            row["gflop_per_image"] = row.pop("gflop") / size
            memory = step.program.memory_analysis()
            row["temporary_mib"] = memory.temp_size_in_bytes / 2**20
            row["parameters"] = step.parameters
    return rows


def make_step(config: Config, phase: Phase, batch: dict[str, Any], **options: Any) -> Step:
    """Our train step on a batch that stays on the device, compiled."""
    function, optimizer = jitted_step(config, phase, **options)
    state = first_state(config, phase, optimizer, abstract=False)
    parameters = sum(int(np.prod(x.shape)) for x in jax.tree.leaves((state.params, state.frozen)))
    batch, key = jax.device_put((batch, jax.random.key(0)))
    program = function.lower(state, batch, key).compile()
    held = [state]

    def run() -> float:
        state, metrics = program(held.pop(), batch, key)
        held.append(state)
        return float(metrics["total"])

    return Step(program, run, parameters)
