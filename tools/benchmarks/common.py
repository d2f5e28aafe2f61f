"""What the sections share: runs in turn, programs and what is counted of them, random weights."""

import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from fgsam_jax import objective
from fgsam_jax.config import Config, Phase
from fgsam_jax.labels.attributes import MARKET1501
from fgsam_jax.models.factory import make_model, variable_shapes
from fgsam_jax.training.state import TrainState, make_state
from fgsam_jax.training.step import train_step
from fgsam_jax.training.update import Update

ROOT = Path(__file__).parents[2]
PEOPLE = 751  # of Market-1501's training split
SIGMA = 6.0
Row = dict[str, Any]


def in_turn(section: str, runs: dict[str, Callable[[], Any]], rounds: int) -> list[Row]:
    """A row for each of the functions, of which the first is ours and the others are rivals.

    Returns:
      "median" and "spread" (between the quartiles) in seconds, "ratio" to the first: the median
      over the rounds of how many times longer it took; "fastest" and "cpu" in seconds too, the
      latter of all cores together: where other work disturbs, it is disturbed the least.
    """
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begun, spent = time.perf_counter(), time.process_time()
            run()
            seconds[name].append(time.perf_counter() - begun)
            cpu[name].append(time.process_time() - spent)
    ours = np.array(next(iter(seconds.values())))
    rows = []
    for name, times in seconds.items():
        low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
        ratio = np.median(np.array(times) / ours)
        rows.append({"section": section, "what": name, "median": middle, "spread": high - low})
        rows[-1] |= {"ratio": ratio, "rounds": rounds, "fastest": min(times)}
        rows[-1]["cpu"] = np.median(cpu[name])
    return rows


def finished(run: Callable, *arguments: Any) -> Any:
    """JAX returns before the device has finished."""
    return jax.block_until_ready(run(*arguments))


def torch_or_none() -> Any:
    """PyTorch, where it is installed."""
    try:
        import torch
    except ImportError:
        return None
    return torch


def configuration(name: str, *arguments: Any) -> Config:
    """The configuration of a file of configs/."""
    if str(ROOT / "configs") not in sys.path:
        sys.path.append(str(ROOT / "configs"))
    return __import__(name).get_config(*arguments)


def model_of(config: Config, phase: Phase) -> Any:
    """The model of a phase with the heads that Market-1501 gives it."""
    vector = phase.triplet_vector
    return make_model(config.model, phase.model, PEOPLE, MARKET1501, triplet_vector=vector)


def random_variables(model: Any, height: int, width: int) -> dict[str, Any]:
    """Variables of a model, drawn without compiling anything."""
    random = np.random.default_rng(0)

    def draw(path: tuple[str, ...], shape: Any) -> np.ndarray:
        if path[0] == "constants":
            choices = [-1, 1] if path[-1].endswith("signs") else np.arange(model.fusion.size)
            return random.choice(choices, shape.shape).astype(shape.dtype)
        if path[-1] == "kernel":
            spread = (2 / np.prod(shape.shape[:-1])) ** 0.5
            return random.standard_normal(shape.shape, np.float32) * np.float32(spread)
        filled = {"scale": 1, "var": 1, "exponent": 3}.get(path[-1], 0)
        return np.full(shape.shape, filled, shape.dtype)

    shapes = flatten_dict(variable_shapes(model, height, width), keep_empty_nodes=True)
    return unflatten_dict(
        {path: draw(path, x) if hasattr(x, "shape") else x for path, x in shapes.items()}
    )


def random_batch(images: int, height: int, width: int) -> dict[str, Any]:
    """A batch that every objective can use, four images of each person."""
    random = np.random.default_rng(0)
    joints = random.uniform(0, 1, (images, 1, 18, 3)) * [width, height, 0]
    joints[..., 2] = random.integers(-1, 3, (images, 1, 18))
    return {
        "image": random.integers(0, 256, (images, height, width, 3), np.uint8),
        "joints": joints.astype(np.float32),
        "mask": np.ones((images, height // 8, width // 8), np.float32),
        "label": (np.arange(images) // 4).astype(np.int32),
        "attributes": {
            a.name: random.integers(0, len(a.classes), images).astype(np.int32) for a in MARKET1501
        },
    }


def jitted_step(config: Config, phase: Phase, **options: Any) -> tuple[Any, Any]:
    """The train step of a phase on one device, its old state's memory reused, and the optimiser."""
    if phase.model == "pose":
        terms: Any = functools.partial(objective.pose, sigma=SIGMA)
    else:
        terms = functools.partial(objective.recognition, triplet=phase.triplet)
    optimizer = optax.adam(phase.learning_rate)
    update = Update(model_of(config, phase), terms, optimizer, flip=False, **options)
    return jax.jit(functools.partial(train_step, update=update), donate_argnums=0), optimizer


def first_state(config: Config, phase: Phase, optimizer: Any, *, abstract: bool) -> TrainState:
    """A state at step 0 with random weights, or only its shapes."""
    model = model_of(config, phase)
    size = config.data.height, config.data.width
    if abstract:
        shapes = variable_shapes(model, *size)
        return jax.eval_shape(lambda v: make_state(v, phase, optimizer), shapes)
    return jax.device_put(make_state(random_variables(model, *size), phase, optimizer))


def counted(program: Any) -> Row:
    """What XLA counts of a compiled or lowered program: GFLOP and GB read and written."""
    cost = program.cost_analysis() or {}
    return {"gflop": cost.get("flops", 0) / 1e9, "gb": cost.get("bytes accessed", 0) / 1e9}
