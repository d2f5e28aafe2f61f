"""The training step of configs/market_cpu.py's baseline, whole recipe, beside an equal PyTorch."""

import argparse
import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from benchmarks.common import (
    PEOPLE,
    Row,
    configuration,
    in_turn,
    model_of,
    random_batch,
    random_variables,
    torch_or_none,
)
from fgsam_jax.config import Config, Phase
from fgsam_jax.models.factory import make_model
from fgsam_jax.runtime.distributed import AXIS, replicate
from fgsam_jax.training.optim import make_optimizer
from fgsam_jax.training.state import make_state
from fgsam_jax.training.step import parallel_train_steps
from fgsam_jax.training.update import make_update

IMAGES = 12_936  # of Market-1501's training split


def recipe(options: argparse.Namespace) -> Iterator[Row]:
    """Augmentation, both passes, clipping, AdamW and averages on batches of 64 random images.

    The step is the one that training runs, after the epoch with a frozen backbone, on a batch that
    stays. The rival begins with the same weights, and what it gives for the batch differs by at
    most 1e-4 of the largest value: "difference". "epoch_s" is of Market-1501's 202 steps.
    """
    config = configuration("market_cpu")
    for height, width in ((64, 32),) if options.quick else ((160, 80), (128, 64)):
        config = replace(config, data=replace(config.data, height=height, width=width))
        yield from _case(config, config.phases[0], 16 if options.quick else 64, options)


def _case(config: Config, phase: Phase, size: int, options: argparse.Namespace) -> list[Row]:
    batch = random_batch(size, config.data.height, config.data.width)
    batch = {name: batch[name] for name in ("image", "label")}
    variables = random_variables(model_of(config, phase), config.data.height, config.data.width)
    per_epoch, name = IMAGES // size, f"{config.data.height}x{config.data.width}, {size} images"
    runs = {name: make_step(config, phase, variables, batch, per_epoch)}
    difference = 0.0
    if torch_or_none():
        from benchmarks import torch_recipe

        net = torch_recipe.baseline(config, variables)
        difference = torch_difference(config, phase, variables, net, batch["image"])
        if not difference < 1e-4:
            raise AssertionError(f"what PyTorch gives differs by {difference} of the largest value")
        rival = torch_recipe.make_step(config, phase, net, batch, per_epoch)
        runs[f"{name}, PyTorch"] = rival
    rows = in_turn("recipe", runs, 3 if options.quick else 7)
    for row in rows:
        row["images_per_s"] = size / row["median"]
        row["epoch_s"] = per_epoch * row["median"]
    rows[-1]["difference"] = difference
    return rows


def make_step(
    config: Config, phase: Phase, variables: Any, batch: dict[str, Any], per_epoch: int
) -> Callable[[], float]:
    """The step as training runs it, on a batch that stays, of all devices."""
    optimizer = make_optimizer(phase, per_epoch)
    model = make_model(config.model, phase.model, PEOPLE, (), axis_name=AXIS)
    step = parallel_train_steps(make_update(config, phase, model, optimizer))
    devices = jax.local_device_count()
    chunk = jax.tree.map(lambda x: x.reshape(devices, 1, -1, *x.shape[1:]), batch)
    key, held = replicate(jax.random.key(0)), [replicate(make_state(variables, phase, optimizer))]

    def run() -> float:
        state, metrics = step(held.pop(), {}, chunk, 1, key)
        held.append(state)
        return float(metrics["total"][0])

    return run


def torch_difference(
    config: Config, phase: Phase, variables: Any, net: Any, images: np.ndarray
) -> float:
    """The largest difference of embeddings and logits with batch statistics, of the largest value.

    PyTorch computes it in float64: its own float32 is 1e-4 away from that here.
    """
    import torch

    model = make_model(replace(config.model, search_vector="before"), phase.model, PEOPLE, ())
    ours, _ = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(
        variables, images
    )
    with torch.no_grad():
        embeddings, logits, _ = copy.deepcopy(net).double().train()(torch.from_numpy(images))
    pairs = ((ours.embeddings["plenary"], embeddings["plenary"]), (ours.identity, logits))
    return max(
        float(np.abs(np.asarray(a) - b.numpy()).max() / np.abs(b.numpy()).max()) for a, b in pairs
    )
