import dataclasses
import math

import jax
import numpy as np
import optax
import pytest

from fgsam_jax.config import Optimization, Phase
from fgsam_jax.training.optim import frozen_steps, make_optimizer, schedule

PER_EPOCH = 5


def phase(**changes):
    how = {name: changes.pop(name) for name in list(changes) if hasattr(Optimization(), name)}
    shape = {"model": "baseline", "epochs": 8, "learning_rate": 0.1, **changes}
    return Phase("a", **shape, optimization=Optimization(**how))


def slow_rate(step, *, kind, warmup=0.0, halve=50, drops=(), flat=0.0, epochs=8):
    """The learning rate, told epoch by epoch."""
    warm = min(1.0, (step + 1) / (warmup * PER_EPOCH)) if warmup else 1.0
    rate = 0.1 * warm
    epoch = step // PER_EPOCH
    if kind == "halve":
        for _ in range(halve, epoch + 1, halve):
            rate /= 2
    if kind == "step":
        for drop in drops:
            rate /= 10 if epoch >= drop else 1
    if kind == "cosine":
        begin, end = flat * epochs * PER_EPOCH, epochs * PER_EPOCH
        angle = 0 if step < begin else math.pi * (step - begin) / (end - begin)
        rate *= (1 + math.cos(angle)) / 2
    return rate


@pytest.mark.parametrize(
    ("ours", "slow"),
    [
        ({"halve_every": 3, "warmup_epochs": 2.0}, {"kind": "halve", "halve": 3, "warmup": 2}),
        (
            {"schedule": "step", "drop_epochs": (3, 6), "warmup_epochs": 0.5},
            {"kind": "step", "drops": (3, 6), "warmup": 0.5},
        ),
        ({"schedule": "cosine"}, {"kind": "cosine"}),
        (
            {"schedule": "cosine", "flat": 0.4, "warmup_epochs": 1.0},
            {"kind": "cosine", "flat": 0.4, "warmup": 1},
        ),
    ],
)
def test_the_rate_of_every_step_is_that_of_the_schedule(ours, slow):
    rate = schedule(phase(**ours), PER_EPOCH)
    steps = np.arange(8 * PER_EPOCH)
    expected = [slow_rate(step, **slow) for step in steps]
    np.testing.assert_allclose([rate(int(step)) for step in steps], expected, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(jax.vmap(rate)(steps), expected, rtol=1e-4, atol=1e-7)


PARAMS = {
    "backbone": {"conv": {"kernel": np.full((2, 2), 0.5)}, "bn": {"scale": np.ones(2)}},
    "head": {"dense": {"kernel": np.full((2, 3), -1.0), "bias": np.full(3, 0.1)}},
    "pooling": {"exponent": np.full(1, 3.0)},
}


def slow_adam(gradients, *, decay, clip, backbone_rate, frozen):
    """AdamW as its paper writes it, parameter by parameter; a frozen one has not begun."""
    names = [path for path, _ in jax.tree_util.tree_leaves_with_path(PARAMS)]
    values = [np.array(x, np.float64) for x in jax.tree.leaves(PARAMS)]
    moments = [[0.0, 0.0, 0] for _ in values]
    for step, tree in enumerate(gradients):
        leaves = [np.array(x, np.float64) for x in jax.tree.leaves(tree)]
        norm = math.sqrt(sum(float((x**2).sum()) for x in leaves))
        for index, path in enumerate(names):
            ours = path[0].key == "backbone"
            if ours and step < frozen:
                continue
            gradient = leaves[index] * min(1.0, clip / norm)
            first, second, count = moments[index]
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            moments[index] = [first, second, count + 1]
            change = first / (1 - 0.9 ** (count + 1))
            change = change / (np.sqrt(second / (1 - 0.999 ** (count + 1))) + 1e-8)
            if path[-1].key == "kernel":
                change = change + decay * values[index]
            values[index] = values[index] - 0.1 * (backbone_rate if ours else 1) * change
    return values


def run(chosen, gradients):
    optimizer = make_optimizer(chosen, PER_EPOCH)
    params = jax.tree.map(lambda x: np.asarray(x, np.float32), PARAMS)
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for gradient in gradients:
        changes, state = update(gradient, state, params)
        params = optax.apply_updates(params, changes)
    return params


def random_gradients(count):
    random = np.random.default_rng(0)
    draw = lambda x: random.normal(0, 2, x.shape).astype(np.float32)  # noqa: E731
    return [jax.tree.map(draw, PARAMS) for _ in range(count)]


@pytest.mark.parametrize("frozen_epochs", [0, 1])
def test_decay_clipping_rates_and_freezing_are_those_of_a_slow_adam(frozen_epochs):
    how = {"weight_decay": 0.2, "clip": 3.0, "backbone_rate": 0.25, "frozen_epochs": frozen_epochs}
    gradients = random_gradients(9)
    found = run(phase(halve_every=100, **how), gradients)
    slow = slow_adam(
        gradients, decay=0.2, clip=3.0, backbone_rate=0.25, frozen=frozen_epochs * PER_EPOCH
    )
    for ours, theirs in zip(jax.tree.leaves(found), slow, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)


def test_frozen_steps_leave_the_backbone_as_it_is_to_the_last_bit():
    found = run(phase(frozen_epochs=1, weight_decay=0.1), random_gradients(PER_EPOCH))
    same = jax.tree.map(np.array_equal, found, jax.tree.map(np.float32, PARAMS))
    assert same == {
        "backbone": {"conv": {"kernel": True}, "bn": {"scale": True}},
        "head": {"dense": {"kernel": False, "bias": False}},
        "pooling": {"exponent": False},
    }


def test_without_options_the_optimiser_is_plain_adam():
    plain, gradients = phase(halve_every=2), random_gradients(4)
    ours, adam = make_optimizer(plain, PER_EPOCH), optax.adam(schedule(plain, PER_EPOCH))
    params = jax.tree.map(np.float32, PARAMS)
    found, wanted = (optimizer.init(params) for optimizer in (ours, adam))
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for gradient in gradients:
        (changes, found), (others, wanted) = (
            optimizer.update(gradient, state, params)
            for optimizer, state in ((ours, found), (adam, wanted))
        )
        jax.tree.map(np.testing.assert_array_equal, changes, others)


def test_a_pose_phase_has_no_backbone_to_freeze():
    chosen = phase(frozen_epochs=2)
    assert frozen_steps(chosen, PER_EPOCH) == 10
    assert frozen_steps(dataclasses.replace(chosen, model="pose"), PER_EPOCH) == 0
