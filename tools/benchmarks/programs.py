"""The programs that are compiled for absent GPUs, from shapes alone, by name."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.common import PEOPLE, configuration, first_state, random_batch
from fgsam_jax import objective
from fgsam_jax.bilinear import CountSketch, compact_bilinear_parts, usual_load
from fgsam_jax.config import Config, Dtype, Phase
from fgsam_jax.labels.attributes import MARKET1501
from fgsam_jax.labels.skeleton import part_channels
from fgsam_jax.models.factory import make_model, variable_shapes
from fgsam_jax.retrieval.inference import embed_step
from fgsam_jax.runtime.distributed import AXIS
from fgsam_jax.training.step import parallel_train_steps
from fgsam_jax.training.update import Update

IMAGES = 12936  # of Market-1501's training split
UPDATES = 10  # in a call, as on every accelerator
Lowered = tuple[Any, dict[str, float], int]


def lower(name: str, dtype: str, devices: Sequence[Any]) -> Lowered:
    """A program for devices, ready to be compiled.

    Args:
      name: a phase of configs/market.py for its steps, "osnet" for those of the phase base with
        that backbone, "embed", or "bilinear-" and a method. "demo-" before it takes
        configs/demo.py, "-all" after it sets `train_pose` and "-remat" that.
      dtype: `config.model.dtype`.
      devices: of a topology.

    Returns:
      The program, the bytes of its "state" and of the "images" that stay on the device, and how
      many updates or batches a call works on.
    """
    what, *how = name.removeprefix("demo-").split("-")
    if what == "bilinear":
        return _bilinear(how[0], dtype, devices)
    config = configuration("demo" if name.startswith("demo-") else "market")
    config.model.dtype = cast(Dtype, dtype)
    if what == "embed":
        return _embed(config, devices)
    if what == "osnet":
        what, config.model.backbone = "base", "osnet_x1_0"
    phase = next(phase for phase in config.phases if phase.name == what)
    if "all" in how:
        phase = dataclasses.replace(phase, train_pose="all")
    return _steps(config, phase, devices, remat="remat" in how)


def _steps(config: Config, phase: Phase, devices: Sequence[Any], *, remat: bool) -> Lowered:
    """As training runs them: the images stay on the device and batches are gathered there."""
    if phase.model == "pose":
        terms: Any = partial(objective.pose, sigma=config.pose_data.sigma)
        needed = ["image", "joints", "mask"]
    else:
        terms = partial(objective.recognition, triplet=phase.triplet, axis_name=AXIS)
        needed = ["image", "label", "attributes"]
    optimizer = optax.adam(phase.learning_rate)
    update = Update(
        _model(config, phase),
        terms,
        optimizer,
        flip=phase.flip,
        dtype=config.model.dtype,
        remat=remat,
    )
    steps: Any = parallel_train_steps(update, list(devices))
    state = first_state(config, phase, optimizer, abstract=True)
    batch = random_batch(1, config.data.height, config.data.width)
    columns = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((IMAGES, *x.shape[1:]), x.dtype),
        {name: batch[name] for name in needed},
    )
    rows = jax.ShapeDtypeStruct((len(devices), UPDATES, phase.batch // len(devices)), np.int32)
    count = jax.ShapeDtypeStruct((), np.int32)
    key = jax.eval_shape(partial(jax.random.key, 0))
    lowered = steps.lower(state, columns, rows, count, key)
    return lowered, {"state": _nbytes(state), "images": _nbytes(columns)}, UPDATES


def _embed(config: Config, devices: Sequence[Any]) -> Lowered:
    """The last phase's model at `config.evaluation_batch`."""
    model, size = _model(config, config.phases[-1]), (config.data.height, config.data.width)
    variables = variable_shapes(model, *size)
    share = config.evaluation_batch // len(devices)
    images = jax.ShapeDtypeStruct((len(devices), share, *size, 3), np.uint8)
    step = jax.pmap(
        partial(embed_step, model=model), AXIS, in_axes=(None, 0), devices=list(devices)
    )
    return step.lower(variables, images), {"state": _nbytes(variables), "images": 0.0}, 1


def _bilinear(method: str, dtype: str, devices: Sequence[Any]) -> Lowered:
    """A pooling with the gradients of both maps, at the sizes of configs/market.py."""
    batch, positions, channels, size = 64 // len(devices), 8 * 4, (2048, 57), 4096
    maps = [jax.ShapeDtypeStruct((len(devices), batch, positions, n), dtype) for n in channels]
    tables = [[jax.ShapeDtypeStruct((n,), kind) for kind in ("int32", "int8")] for n in channels]

    def total(x: jax.Array, y: jax.Array, tables: Any) -> jax.Array:
        sketches = [CountSketch(b, s, size, usual_load(len(b), size)) for b, s in tables]
        pooled = compact_bilinear_parts(x, y, part_channels(), *sketches, method=method)
        return jnp.sum(pooled**2)

    gradients = jax.pmap(
        jax.value_and_grad(total, (0, 1)), AXIS, in_axes=(0, 0, None), devices=list(devices)
    )
    return gradients.lower(*maps, tables), {"state": _nbytes(tables), "images": 0.0}, 1


def _model(config: Config, phase: Phase) -> Any:
    how: Any = {"triplet_vector": phase.triplet_vector, "axis_name": AXIS}
    return make_model(config.model, phase.model, PEOPLE, MARKET1501, **how)


def _nbytes(tree: Any) -> float:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
