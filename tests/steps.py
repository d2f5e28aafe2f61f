"""Ten steps of every phase, for the tests of one process and of several."""

import functools

import jax
import numpy as np
import optax
import tiny
from tiny import HEIGHT, POSE, SIZES, WIDTH, numpy_variables, random_batch

from fgsam_jax import objective
from fgsam_jax.config import Phase
from fgsam_jax.models.factory import variable_shapes
from fgsam_jax.runtime.distributed import AXIS, replicate
from fgsam_jax.training.state import make_state
from fgsam_jax.training.step import parallel_train_steps
from fgsam_jax.training.update import Update

PHASES = {
    "pose": POSE,
    "baseline": Phase("base", model="baseline"),
    "intermediate": Phase("both", model="intermediate"),
    "fgsam": Phase("full", model="fgsam", triplet="focal"),
}
SEVERAL = ("fgsam",)  # it has all that crosses processes
STEPS = 10


def model(kind, axis_name=None):
    return tiny.model(kind, SIZES, axis_name)


def make_objective(phase, axis_name=None):
    if phase.model == "pose":
        return functools.partial(objective.pose, sigma=6.0)
    return functools.partial(objective.recognition, triplet=phase.triplet, axis_name=axis_name)


def first_state(phase, optimizer):
    return make_state(numpy_variables(model(phase.model)), phase, optimizer)


def shapes_of_state(phase, optimizer):
    shapes = variable_shapes(model(phase.model), HEIGHT, WIDTH)
    return jax.eval_shape(lambda v: make_state(v, phase, optimizer), shapes)


def spread(batch, devices):
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def run(phase, before, optimizer, count, *, length=1, resident=False, **options):
    """The state after a few steps on `count` devices, and the metrics of each step.

    Of several processes each has `count` devices and takes its part of the batches.
    """
    devices = jax.local_devices()[:count]
    update = parallel_train_steps(
        Update(model(phase.model, AXIS), make_objective(phase, AXIS), optimizer, **options),
        devices if jax.process_count() == 1 else None,
    )
    state = replicate(before, devices)
    key = replicate(jax.random.key(3), devices)
    batches = [mine(random_batch(index)) for index in range(STEPS)]
    columns = {}
    if resident:
        columns = replicate(jax.tree.map(lambda *x: np.concatenate(x), *batches), devices)
        size = len(batches[0]["image"])
        batches = [np.arange(size) + index * size for index in range(STEPS)]
    history = []
    for begin in range(0, STEPS, length):
        chosen = batches[begin : begin + length]
        parts = [spread(batch, count) for batch in chosen + chosen[-1:] * (length - len(chosen))]
        chunk = jax.tree.map(lambda *x: np.stack(x, axis=1), *parts)
        state, metrics = update(state, columns, chunk, len(chosen), key)
        metrics = jax.device_get(metrics)
        history += [{name: x[index] for name, x in metrics.items()} for index in range(len(chosen))]
    return jax.device_get(state), history


def mine(batch):
    """This process's part of a batch."""
    process, processes = jax.process_index(), jax.process_count()
    return jax.tree.map(lambda x: x.reshape(processes, -1, *x.shape[1:])[process], batch)


@functools.cache
def ten_steps(name, devices):
    """The state after ten steps of a phase from the same start, and the metrics of each."""
    phase, optimizer = PHASES[name], gradient_descent()
    before = jax.device_get(first_state(phase, optimizer))
    return run(phase, before, optimizer, devices)


def largest_difference(a, b):
    """Relative to 1 or to the value, whichever is larger."""
    a, b = ([np.asarray(x, np.float64) for x in jax.tree.leaves(tree)] for tree in (a, b))
    differences = [np.abs(x - y) / np.maximum(np.abs(x), 1) for x, y in zip(a, b, strict=True)]
    return max((float(np.max(x)) for x in differences), default=0.0)


def gradient_descent():
    """Not Adam, which divides by the size of each gradient and so makes the rounding of a
    vanishing one as large as the learning rate."""
    return optax.chain(optax.clip_by_global_norm(1.0), optax.trace(0.9), optax.scale(-0.0005))
