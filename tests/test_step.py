import functools

import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from tiny import HEIGHT, POSE, SIZES, WIDTH, model, random_batch

from fgsam_jax import build, objective, start
from fgsam_jax.config import Phase
from fgsam_jax.data.augment import random_flip
from fgsam_jax.models.pose import is_parse_block
from fgsam_jax.step import (
    AXIS,
    merge,
    parallel_train_step,
    partition,
    replicate,
    train_step,
)

PHASES = {
    "pose": POSE,
    "baseline": Phase("base", model="baseline"),
    "intermediate": Phase("both", model="intermediate"),
    "fgsam": Phase("full", model="fgsam", triplet="focal", train_pose="all"),
}
STEPS = 2


def make_objective(phase, axis_name=None):
    if phase.model == "pose":
        return functools.partial(objective.pose, sigma=6.0)
    return functools.partial(objective.recognition, triplet=phase.triplet, axis_name=axis_name)


def first_state(phase, optimizer):
    variables = build.initial_variables(model(phase.model), 0, HEIGHT, WIDTH)
    return start.make_state(variables, phase, optimizer)


def shapes_of_state(phase, optimizer):
    shapes = build.variable_shapes(model(phase.model), HEIGHT, WIDTH)
    return jax.eval_shape(lambda v: start.make_state(v, phase, optimizer), shapes)


def spread(batch, devices):
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def run(phase, before, optimizer, count):
    """The states and metrics of a few steps on `count` devices."""
    devices = jax.local_devices()[:count]
    step = parallel_train_step(
        devices,
        model=model(phase.model, axis_name=AXIS),
        objective=make_objective(phase, AXIS),
        optimizer=optimizer,
        flip=True,
    )
    state = replicate(before, devices)
    key = replicate(jax.random.key(3), devices)
    history = []
    for index in range(STEPS):
        state, metrics = step(state, spread(random_batch(index), count), key)
        history.append(jax.device_get(metrics))
    return jax.device_get(state), history


@pytest.fixture(scope="module", params=list(PHASES))
def runs(request):
    """Two steps of a phase: the state before, and (state, metrics) after on 1 and 4 devices."""
    phase = PHASES[request.param]
    optimizer = optax.sgd(1e-2)
    before = jax.device_get(first_state(phase, optimizer))
    return phase, before, run(phase, before, optimizer, 1), run(phase, before, optimizer, 4)


def largest_difference(a, b):
    a, b = jax.tree.leaves(a), jax.tree.leaves(b)
    return max(
        float(np.max(np.abs(x - y) / np.maximum(np.abs(x), 1))) for x, y in zip(a, b, strict=True)
    )


def test_losses_on_four_devices_are_those_of_one(runs):
    phase, _, (_, one), (_, four) = runs
    print(phase.model, "losses", [largest_difference(a, b) for a, b in zip(one, four)])
    assert one[0]["total"] != one[1]["total"]
    assert largest_difference(one, four) < 1e-5


def test_parameters_and_statistics_on_four_devices_are_those_of_one(runs):
    # After plain gradient descent: Adam divides by the size of a gradient and makes the rounding
    # of a vanishing one visible.
    phase, before, (one, _), (four, _) = runs
    print(
        phase.model,
        "params",
        largest_difference(one.params, four.params),
        largest_difference(one.batch_stats, four.batch_stats) if one.batch_stats else "",
    )
    assert largest_difference(before.params, one.params) > 1e-4
    assert largest_difference(one.params, four.params) < 1e-5
    if phase.model != "pose":
        assert largest_difference(before.batch_stats, one.batch_stats) > 1e-2
        assert largest_difference(one.batch_stats, four.batch_stats) < 1e-5
