"""Every part of the strong recipe at once: on several devices, averaged, frozen and resumed."""

import dataclasses
import functools
import json

import jax
import numpy as np
import optax
import pytest
import tiny
from flax.traverse_util import flatten_dict
from killed import SCRIPT, kill
from steps import largest_difference, spread
from tiny import numpy_variables, random_batch

from fgsam_jax.checkpoint import Checkpoints, checkpoint_folder, restore
from fgsam_jax.config import Augmentation, Config, Loss, Optimization, Phase
from fgsam_jax.data.pipeline import Datasets
from fgsam_jax.labels.attributes import MARKET1501
from fgsam_jax.models.outputs import PLENARY
from fgsam_jax.retrieval.embedder import load
from fgsam_jax.runtime.distributed import AXIS, replicate
from fgsam_jax.training import loop
from fgsam_jax.training import phase as one_phase
from fgsam_jax.training.initialize import prior_biases
from fgsam_jax.training.optim import make_optimizer
from fgsam_jax.training.state import make_state, resume_state
from fgsam_jax.training.step import parallel_train_steps
from fgsam_jax.training.update import make_update

SIZES = dataclasses.replace(
    tiny.SIZES,
    pooling="gem",
    baseline_neck=True,
    identity_heads="all",
    prior_bias=True,
)
LOSS = Loss(
    identity_weight=2.0,
    attribute_weight=0.5,
    triplet_weight=0.7,
    label_smoothing=0.1,
    attribute_smoothing=0.3,
)
AUGMENTATION = Augmentation(pad=3, erase=0.5)
OPTIMIZATION = Optimization(
    schedule="cosine",
    flat=0.3,
    weight_decay=0.05,
    clip=5.0,
    backbone_rate=0.5,
    frozen_epochs=1,
    ema=0.9,
)
FULL = Phase(
    "full",
    model="fgsam",
    triplet="focal",
    triplet_vector="before",
    batch=16,
    images_per_identity=4,
    augmentation=AUGMENTATION,
    optimization=OPTIMIZATION,
    epochs=4,
    learning_rate=5e-4,
    warmup_epochs=2,
)
STEPS = 4  # one an epoch


def recipes_optimizer(phase):
    """The whole chain with momentum in Adam's place, which makes rounding as large as its steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optax, "scale_by_adam", lambda: optax.trace(0.9))
        return make_optimizer(phase, per_epoch=1)


@functools.cache
def trained(count, freeze=False, kind="fgsam"):
    """The state before and after each of a few steps, and the metrics of each."""
    phase = dataclasses.replace(FULL, model=kind)
    config = Config(phases=(phase,), model=SIZES, loss=LOSS)
    optimizer, devices = recipes_optimizer(phase), jax.local_devices()[:count]
    update = make_update(
        config,
        phase,
        tiny.model(kind, SIZES, AXIS, triplet_vector="before"),
        optimizer,
        freeze_backbone=freeze,
    )
    step, key = parallel_train_steps(update, devices), replicate(jax.random.key(3), devices)
    state = make_state(numpy_variables(tiny.model(kind, SIZES)), phase, optimizer)
    states, history = [jax.device_get(state)], []
    state = replicate(states[0], devices)
    for index in range(STEPS):
        chunk = jax.tree.map(lambda x: x[:, None], spread(random_batch(index, 16), count))
        state, metrics = step(state, {}, chunk, 1, key)
        states.append(jax.device_get(state))
        history.append({name: float(value[0]) for name, value in metrics.items()})
    return states, history


@pytest.fixture(scope="module")
def runs():
    return [trained(count, False, "fgsam") for count in (1, 4)]


@pytest.mark.parametrize("kind", ["fgsam", "baseline"])
def test_four_devices_are_one_with_every_part_on(kind):
    (one, losses), (four, others) = (trained(count, False, kind) for count in (1, 4))
    assert largest_difference(losses, others) < 1e-4
    assert largest_difference(one[0].params, one[-1].params) > 1e-4
    for name in ("params", "batch_stats", "average"):
        ours, theirs = (getattr(states[-1], name) for states in (one, four))
        assert largest_difference(ours, theirs) < 1e-4


def test_the_average_is_that_of_all_states_so_far_with_a_decay_that_rises(runs):
    states, _ = runs[0]
    kept = {"params": states[0].params, "batch_stats": states[0].batch_stats}
    for count, state in enumerate(states[1:], 1):
        decay = min(0.9, (1 + count) / (10 + count))
        now = {"params": state.params, "batch_stats": state.batch_stats}
        kept = jax.tree.map(lambda a, x, d=decay: d * np.float64(a) + (1 - d) * x, kept, now)
        assert largest_difference(kept, state.average) < 1e-5
    assert largest_difference(kept["params"], states[-1].params) > 1e-5
    averaged = states[-1].averaged()
    assert largest_difference(averaged.variables()["params"]["backbone"],
                              kept["params"]["backbone"]) < 1e-5  # fmt: skip


def test_every_branch_knows_people_and_each_kind_of_term_has_its_weight(runs):
    _, history = runs[0]
    terms = {name: value for name, value in history[0].items() if name.startswith("identity")}
    assert len(terms) == 8  # seven branches, and the accuracy
    losses = [
        value
        for name, value in history[0].items()
        if name.startswith(("identity", "attribute/", "triplet/")) and name != "identity_accuracy"
    ]
    np.testing.assert_allclose(history[0]["total"], np.sum(losses), rtol=1e-6)


def test_a_frozen_backbone_keeps_weights_and_statistics_and_the_rest_learns():
    states, _ = trained(1, True)
    before, after = states[0], states[1]  # the recipe's one frozen epoch, of one step
    for name in ("params", "batch_stats"):
        ours, theirs = (flatten_dict(getattr(state, name)) for state in (before, after))
        frozen = {path for path in ours if np.array_equal(ours[path], theirs[path])}
        assert {path for path in ours if path[0] == "backbone"} <= frozen
        assert any(path[0] == PLENARY for path in set(ours) - frozen)


# Three epochs of three steps, the first with a frozen backbone; the cheapest model.
LONG = dataclasses.replace(
    FULL, name="base", model="baseline", triplet="triplet", epochs=3, learning_rate=1e-3
)


def go(config, workdir):
    return loop.train(config, workdir, Datasets(config))


@pytest.fixture(scope="module")
def finished(rendered, tmp_path_factory):
    config = tiny.config(rendered, (LONG,), model=SIZES, loss=LOSS)
    workdir = tmp_path_factory.mktemp("finished")
    go(config, workdir)
    return config, workdir


def last_state(workdir, phase=LONG):
    _, variables, step = restore(workdir, phase.name)
    optimizer = make_optimizer(phase, 3)
    template = jax.eval_shape(lambda v: make_state(v, phase, optimizer), variables)
    return resume_state(Checkpoints(checkpoint_folder(workdir, phase.name)), step, template, phase)


def test_a_run_with_every_part_on_goes_on_to_the_same_bits(finished, tmp_path, monkeypatch):
    config, workdir = finished
    original, calls = one_phase.parallel_train_steps, []

    def interrupted(update):
        def call(*values):
            calls.append(update.freeze_backbone)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return original(update)(*values)

        call.lower = original(update).lower
        return call

    with monkeypatch.context() as patch:
        patch.setattr(one_phase, "parallel_train_steps", interrupted)
        with pytest.raises(KeyboardInterrupt):
            go(config, tmp_path)
    assert calls == [True] * 3 + [False] * 2
    assert restore(tmp_path, "base")[2] == 3
    go(config, tmp_path)
    ours, theirs = (jax.tree.leaves(last_state(folder)) for folder in (tmp_path, workdir))
    assert len(ours) > 100
    assert all(np.array_equal(x, y) for x, y in zip(ours, theirs, strict=True))
    logs = [(folder / "log.jsonl").read_text() for folder in (tmp_path, workdir)]
    assert logs[0] == logs[1]


# The whole method with the other schedule.
STEPWISE = dataclasses.replace(
    OPTIMIZATION, schedule="step", drop_epochs=(2,), flat=0.0, frozen_epochs=0
)
WHOLE = dataclasses.replace(FULL, epochs=3, learning_rate=1e-3, optimization=STEPWISE)


def test_a_killed_run_of_the_whole_method_goes_on_to_the_same_bits(rendered, tmp_path):
    config = tiny.config(rendered, (WHOLE,), model=SIZES, loss=LOSS, mirror=True)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    go(config, whole)
    kill(config, killed, SCRIPT, lambda log: '"step": 5' in log)
    assert restore(killed, "full")[2] in (3, 6)
    assert not (killed / "results.json").exists()
    go(config, killed)
    ours, theirs = (jax.tree.leaves(last_state(folder, WHOLE)) for folder in (killed, whole))
    assert len(ours) > 300
    assert all(np.array_equal(x, y) for x, y in zip(ours, theirs, strict=True))
    assert (killed / "log.jsonl").read_text() == (whole / "log.jsonl").read_text()
    spent = {"seconds": 0, "memory": 0}
    first, second = (
        json.loads((folder / "results.json").read_text())["full"] | spent
        for folder in (killed, whole)
    )
    assert first == second


def test_what_is_loaded_and_handed_on_is_the_average(finished):
    _, workdir = finished
    state = last_state(workdir)
    assert largest_difference(state.params, state.average["params"]) > 1e-6
    _, variables, _ = restore(workdir, "base")
    for found in (variables["params"], state.averaged().variables()["params"]):
        assert largest_difference(found, state.average["params"]) == 0
    embedder = load(workdir)
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 16, 3)).astype(np.uint8)
    outputs = embedder.info.model().apply(
        {"params": state.average["params"], "batch_stats": state.average["batch_stats"]}, image
    )
    vector = outputs.embeddings[PLENARY]
    vector = vector / np.linalg.norm(vector)
    np.testing.assert_allclose(embedder.embed(image), vector, atol=1e-5)


def test_heads_begin_at_the_shares_of_their_classes(rendered):
    config = tiny.config(rendered, (FULL,), model=SIZES)
    table = Datasets(config).table("train")
    biases = prior_biases(table, MARKET1501[:1])["params"]
    labels = table.attributes[MARKET1501[0].name]
    counts = [1 + sum(label == c for label in labels) for c in range(len(MARKET1501[0].classes))]
    (head,) = biases.values()
    np.testing.assert_allclose(np.exp(head["bias"]), np.array(counts) / sum(counts), rtol=1e-5)
    assert head["bias"].dtype == np.float32
    assert list(biases) == [f"attribute_{MARKET1501[0].name}"]


def test_a_step_without_an_average_holds_none():
    plain = make_state(numpy_variables(tiny.model("baseline")), tiny.BASE, optax.sgd(1.0))
    assert plain.average == {}
    assert plain.averaged().params is plain.params
