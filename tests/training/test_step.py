import functools

import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from steps import (
    PHASES,
    STEPS,
    first_state,
    gradient_descent,
    largest_difference,
    make_objective,
    model,
    run,
    shapes_of_state,
    spread,
    ten_steps,
)
from tiny import WIDTH, random_batch

from fgsam_jax.config import Phase
from fgsam_jax.data.augment import random_flip
from fgsam_jax.models.pose_net import is_parse_block
from fgsam_jax.runtime.distributed import AXIS
from fgsam_jax.training.gradients import accumulated_gradients, batch_gradients
from fgsam_jax.training.state import merge, partition
from fgsam_jax.training.step import train_step
from fgsam_jax.training.update import Update


@pytest.fixture(scope="module", params=list(PHASES))
def runs(request):
    """Ten steps of a phase: the state before, and (state, metrics) after on 1 and 4 devices."""
    phase = PHASES[request.param]
    before = jax.device_get(first_state(phase, gradient_descent()))
    # Not in threads: JAX may crash as it keeps one program while it compiles another.
    return phase, before, *(ten_steps(request.param, count) for count in (1, 4))


def test_losses_on_four_devices_are_those_of_one(runs):
    _, _, (_, one), (_, four) = runs
    assert one[0]["total"] != one[1]["total"]
    assert largest_difference(one, four) < 1e-5


def test_parameters_and_statistics_on_four_devices_are_those_of_one(runs):
    phase, before, (one, _), (four, _) = runs
    assert largest_difference(before.params, one.params) > 1e-4
    assert largest_difference(one.params, four.params) < 1e-5
    change, difference = (
        optax.tree.norm(jax.tree.map(np.subtract, state.params, one.params))
        for state in (before, four)
    )
    assert difference < 1e-3 * change
    if phase.model != "pose":
        assert largest_difference(before.batch_stats, one.batch_stats) > 1e-2
        assert largest_difference(one.batch_stats, four.batch_stats) < 1e-5


def test_resident_images_several_steps_a_call_and_rematerialisation_change_nothing():
    """Ten steps in calls of three leave two places of the last one unused."""
    phase, (one, history) = PHASES["fgsam"], ten_steps("fgsam", 1)
    before = jax.device_get(first_state(phase, gradient_descent()))
    how = {"length": 3, "resident": True, "remat": True}
    after, found = run(phase, before, gradient_descent(), 2, **how)
    assert largest_difference(history, found) < 1e-5
    assert largest_difference(one.params, after.params) < 1e-5
    assert largest_difference(one.batch_stats, after.batch_stats) < 1e-5


def test_pieces_of_a_batch_give_the_gradients_of_the_whole_where_nothing_is_normalised():
    """The pose net has no batch normalisation: its numbers are those of the whole batch."""
    phase, optimizer = PHASES["pose"], gradient_descent()
    before = jax.device_get(first_state(phase, optimizer))
    (whole, one), (pieced, four) = (
        ten_steps("pose", 1),
        run(phase, before, optimizer, 2, accumulate=2, remat=True),
    )
    assert largest_difference(one, four) < 1e-5
    assert largest_difference(whole.params, pieced.params) < 1e-6


def test_triplets_of_a_pieced_batch_are_mined_in_the_whole_of_it():
    """With stored statistics instead of the batch's, all gradients are those of the whole batch."""
    phase, batch = PHASES["fgsam"], random_batch(0)
    net, find_terms = model(phase.model), make_objective(phase)
    state = first_state(phase, gradient_descent())

    def total(outputs):
        terms = find_terms(outputs, batch)
        return sum(terms.losses.values()), terms

    @jax.jit
    def both(state, images):
        def apply(params, stats, images):
            return net.apply(state.replace(params=params).variables(), images), stats

        given = apply, total, state.params, state.batch_stats, images
        return batch_gradients(*given), accumulated_gradients(*given, micro_batches=4)

    (loss, terms, _, gradients), (again, pieced_terms, _, pieced) = both(state, batch["image"])
    assert terms.losses["triplet/head"] > 0
    assert largest_difference((loss, terms), (again, pieced_terms)) < 1e-5
    for one, four in zip(jax.tree.leaves(gradients), jax.tree.leaves(pieced), strict=True):
        np.testing.assert_allclose(four, one, atol=1e-4 * float(np.abs(one).max()) + 1e-7)


def test_what_is_not_trained_does_not_change_and_has_no_optimiser_state(runs):
    phase, before, (after, _), _ = runs
    held, kept = (jax.tree.leaves((s.frozen, s.constants)) for s in (before, after))
    assert all(np.array_equal(x, y) for x, y in zip(held, kept, strict=True))
    moments = jax.tree.leaves(after.opt_state)
    assert sum(x.size for x in moments) == sum(x.size for x in jax.tree.leaves(after.params))
    assert bool(after.frozen) == (phase.model != "baseline")
    assert after.step == STEPS


def test_the_total_is_the_sum_of_the_losses_alone(runs):
    _, _, (_, history), _ = runs
    losses = ("identity", "attribute/", "triplet/", "heat_", "affinity_")
    terms = [
        value
        for name, value in history[0].items()
        if name.startswith(losses) and not name.endswith(("_accuracy", "_zero"))
    ]
    np.testing.assert_allclose(history[0]["total"], np.sum(terms), rtol=1e-6)


def paths_trained(**changes):
    phase = Phase("x", **{"model": "fgsam", **changes})
    state = shapes_of_state(phase, optax.adam(1e-3))
    trained, frozen = set(flatten_dict(state.params)), set(flatten_dict(state.frozen))
    assert not trained & frozen
    # Two moments for each trained parameter, and nothing for the others.
    moments = jax.tree.leaves(state.opt_state[0].mu), jax.tree.leaves(state.opt_state[0].nu)
    assert [len(m) for m in moments] == [len(trained)] * 2
    return trained, frozen


def test_the_pose_phase_leaves_the_channel_parse_blocks_alone():
    trained, frozen = paths_trained(model="pose")
    assert frozen
    assert all(is_parse_block(path) for path in frozen)
    assert not any(is_parse_block(path) for path in trained)


def test_cpb_only_trains_the_parse_blocks_of_the_pose_net_and_everything_else():
    trained, frozen = paths_trained(train_pose="cpb_only")
    in_pose = {path for path in trained if path[0] == "pose"}
    assert {path[1] for path in in_pose} == {"CPB1", "CPB2", "CPB3"}
    assert all(path[0] == "pose" for path in frozen)
    assert {"backbone", "identity", "plenary", "head"} <= {path[0] for path in trained}


def test_none_freezes_the_whole_pose_net():
    trained, frozen = paths_trained(train_pose="none")
    assert {path[0] for path in frozen} == {"pose"}
    assert not any(path[0] == "pose" for path in trained)
    assert any(is_parse_block(path) for path in frozen)


def test_all_trains_every_parameter():
    assert not paths_trained(train_pose="all")[1]


def test_a_frozen_pose_net_saves_arithmetic():
    def operations(train_pose):
        phase = Phase("x", model="intermediate", train_pose=train_pose)
        optimizer = optax.sgd(1e-2)
        update = Update(model(phase.model), make_objective(phase), optimizer)
        step = functools.partial(train_step, update=update)
        state = shapes_of_state(phase, optimizer)
        lowered = jax.jit(step).lower(state, random_batch(0), jax.random.key(0))
        return lowered.cost_analysis()["flops"]

    few, many = operations("cpb_only"), operations("all")
    assert few < 0.8 * many
    assert operations("none") <= few


def test_flips_on_four_devices_are_those_of_one():
    batch = random_batch(0, 16)
    key = jax.random.key(5)
    whole = random_flip(key, batch)
    parts = jax.pmap(functools.partial(random_flip, axis_name=AXIS), AXIS, in_axes=(None, 0))(
        key, spread(batch, 4)
    )
    joined = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), parts)
    jax.tree.map(np.testing.assert_array_equal, joined, whole)


def test_a_flip_mirrors_image_joints_and_mask_of_the_same_examples():
    batch = random_batch(0, 16)
    flipped = random_flip(jax.random.key(5), batch)
    mirrored = [
        index
        for index in range(16)
        if not np.array_equal(flipped["image"][index], batch["image"][index])
    ]
    assert 2 < len(mirrored) < 14
    for index in range(16):
        image, mask, joints = (batch[name][index] for name in ("image", "mask", "joints"))
        if index in mirrored:
            image, mask = image[:, ::-1], mask[:, ::-1]
            # The right shoulder is now where the left one was mirrored to.
            np.testing.assert_allclose(
                flipped["joints"][index][:, 2, 0], WIDTH - 1 - joints[:, 5, 0], rtol=1e-6
            )
        else:
            np.testing.assert_array_equal(flipped["joints"][index], joints)
        np.testing.assert_array_equal(flipped["image"][index], image)
        np.testing.assert_array_equal(flipped["mask"][index], mask)
    np.testing.assert_array_equal(flipped["label"], batch["label"])


def test_merge_is_the_inverse_of_partition():
    tree = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    chosen, rest = partition(tree, lambda path: path[-1] in "be")
    assert chosen == {"a": {"b": 1}, "e": 3}
    assert rest == {"a": {"c": {"d": 2}}}
    assert merge(chosen, rest) == tree
    assert partition(tree, lambda path: True) == (tree, {})
