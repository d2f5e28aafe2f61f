import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgsam_jax import objective
from fgsam_jax.labels.pose_targets import pose_targets
from fgsam_jax.models.outputs import Outputs
from fgsam_jax.models.pose_net import Pose

# Four images of two people; unit embeddings at 0, 60, 90 and 180 degrees.
LABELS = jnp.array([0, 0, 1, 1])
ANGLES = np.radians([0, 60, 90, 180])
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def chord(degrees):
    return 2 * math.sin(math.radians(degrees) / 2)


def outputs(attributes=None):
    return Outputs(
        embeddings={"head": jnp.asarray(3 * CIRCLE), "plenary": jnp.asarray(CIRCLE)},
        identity=jnp.log(jnp.array([[3.0, 1], [1, 3], [1, 3], [1, 3]])),
        attributes={} if attributes is None else attributes,
        pose=None,
    )


HAT = {"hat": jnp.log(jnp.array([[1.0, 1], [1, 4], [1, 1], [7, 1]]))}


def batch(hat=(-1, 1, -1, -1)):
    return {"label": LABELS, "attributes": {"hat": jnp.array(hat)}}


def test_terms_are_means_over_the_batch():
    terms = objective.recognition(outputs(HAT), batch())
    assert set(terms.losses) == {"identity", "attribute/hat"}
    np.testing.assert_allclose(
        terms.losses["identity"], (3 * math.log(4 / 3) + math.log(4)) / 4, rtol=1e-6
    )
    # One labelled image of four.
    np.testing.assert_allclose(terms.losses["attribute/hat"], math.log(5 / 4) / 4, rtol=1e-6)
    assert float(terms.metrics["identity_accuracy"]) == 0.75


def test_unlabelled_attributes_add_nothing_and_have_no_gradient():
    def hat(logits):
        return objective.recognition(outputs({"hat": logits}), batch([-1] * 4)).losses[
            "attribute/hat"
        ]

    value, gradient = jax.value_and_grad(hat)(HAT["hat"])
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("triplet", ["triplet", "focal"])
def test_every_branch_has_a_triplet_term_and_its_signs(triplet):
    terms = objective.recognition(outputs(HAT), batch(), triplet=triplet)
    assert set(terms.losses) == {
        "identity", "attribute/hat", "triplet/head", "triplet/plenary"
    }  # fmt: skip
    metrics = {f"{metric}/{part}" for metric in ("d_ap", "d_an", "active", "lambda")
             for part in ("head", "plenary")}  # fmt: skip
    assert set(terms.metrics) == {"identity_accuracy"} | metrics


def test_signs_are_those_of_the_hardest_triplets():
    terms = objective.recognition(outputs(), batch(), triplet="focal", margin=0.5)
    # Angles to the positive and to the nearest negative of each anchor.
    d_ap = [chord(60), chord(60), chord(90), chord(90)]
    d_an = [chord(90), chord(30), chord(30), chord(120)]
    gaps = np.subtract(d_ap, d_an)
    np.testing.assert_allclose(terms.metrics["d_ap/head"], np.mean(d_ap), rtol=1e-5)
    np.testing.assert_allclose(terms.metrics["d_an/head"], np.mean(d_an), rtol=1e-5)
    np.testing.assert_allclose(terms.metrics["active/head"], np.mean(gaps + 0.5 > 0))
    np.testing.assert_allclose(terms.metrics["lambda/head"], np.mean(np.maximum(gaps + 1, 1)), 1e-5)


def test_the_triplet_terms_follow_equation_10_on_unit_length_embeddings():
    d_ap = np.array([chord(60), chord(60), chord(90), chord(90)])
    d_an = np.array([chord(90), chord(30), chord(30), chord(120)])
    plain = np.maximum(d_ap - d_an + 0.5, 0)
    focal = np.maximum(d_ap - d_an + 1, 1) ** 2 * plain + d_ap - 0.01
    for triplet, expected in (("triplet", plain), ("focal", focal)):
        terms = objective.recognition(outputs(), batch(), triplet=triplet)
        for branch in ("head", "plenary"):
            np.testing.assert_allclose(
                terms.losses[f"triplet/{branch}"], expected.mean(), rtol=1e-5
            )


def test_the_mining_is_passed_on():
    hard, every = (
        objective.recognition(outputs(), batch(), triplet="triplet", mining=mining)
        for mining in ("hard", "all")
    )
    assert every.losses["triplet/head"] < hard.losses["triplet/head"]
    assert every.metrics["d_ap/head"] == hard.metrics["d_ap/head"]


def test_every_kind_of_term_is_multiplied_by_its_weight():
    parts = {"head": outputs().identity[::-1]}
    given = outputs(HAT)._replace(part_identity=parts)
    plain, weighted = (
        objective.recognition(given, batch(), triplet="focal", weights=objective.Weights(*weights))
        for weights in ((), (2.0, 0.5, 3.0))
    )
    factors = {"identity": 2.0, "attribute": 0.5, "triplet": 3.0}
    assert set(plain.losses) == {
        "identity", "identity/head", "attribute/hat", "triplet/head", "triplet/plenary"
    }  # fmt: skip
    for name, value in plain.losses.items():
        factor = factors[name.split("/")[0]]
        np.testing.assert_allclose(weighted.losses[name], factor * value, rtol=1e-6)
    assert weighted.metrics == plain.metrics


def test_smoothing_is_of_identities_alone():
    parts = {"head": outputs().identity}
    given = outputs(HAT)._replace(part_identity=parts)
    plain, smooth = (
        objective.recognition(given, batch(), smoothing=smoothing) for smoothing in (0.0, 0.2)
    )
    # Shares of 1/4 and 3/4: the other class counts a tenth.
    right, wrong = -math.log(3 / 4), -math.log(1 / 4)
    easy, hard = 0.9 * right + 0.1 * wrong, 0.9 * wrong + 0.1 * right
    for name in ("identity", "identity/head"):
        np.testing.assert_allclose(smooth.losses[name], (3 * easy + hard) / 4, rtol=1e-6)
    assert smooth.losses["attribute/hat"] == plain.losses["attribute/hat"]


def test_smoothing_of_attributes_goes_by_the_shares_in_the_batch():
    bag = jnp.log(jnp.array([[2.0, 1, 1]] * 4))  # more classes than the other has
    given = outputs({**HAT, "bag": bag})
    labels = {"hat": jnp.array([0, 1, -1, 1]), "bag": jnp.array([1] * 4)}
    plain, smooth = (
        objective.recognition(given, {**batch(), "attributes": labels}, attribute_smoothing=s)
        for s in (0.0, 0.3)
    )
    # Of the three that are labelled one is 0 and two are 1.
    rows = [((1 / 2, 1 / 2), 0), ((1 / 5, 4 / 5), 1), ((7 / 8, 1 / 8), 1)]
    wanted = [
        0.7 * -math.log(row[label]) + 0.3 * (-math.log(row[0]) - 2 * math.log(row[1])) / 3
        for row, label in rows
    ]
    np.testing.assert_allclose(smooth.losses["attribute/hat"], sum(wanted) / 4, rtol=1e-6)
    # All have one class: smoothing changes nothing.
    np.testing.assert_allclose(smooth.losses["attribute/bag"], math.log(4), rtol=1e-6)
    assert smooth.losses["identity"] == plain.losses["identity"]


def test_the_triplet_loss_compares_other_vectors_where_the_model_gives_them():
    others = {"head": jnp.asarray(CIRCLE[::-1]), "plenary": jnp.asarray(CIRCLE[[0, 2, 1, 3]])}
    found = objective.recognition(
        outputs()._replace(triplet=others), batch(), triplet="triplet"
    ).losses
    wanted = objective.recognition(
        outputs()._replace(embeddings=others), batch(), triplet="triplet"
    ).losses
    assert found == wanted


HEIGHT, WIDTH, SIGMA = 32, 16, 6.0


def posed(joints, mask=1.0):
    joints = np.asarray(joints, np.float32).reshape(1, 1, 18, 3)
    return {
        "image": np.zeros((1, HEIGHT, WIDTH, 3), np.uint8),
        "joints": joints,
        "mask": np.full((1, HEIGHT // 8, WIDTH // 8), mask, np.float32),
    }


def standing(state=2.0):
    random = np.random.default_rng(0)
    place = random.uniform(0, 1, (18, 2)) * [WIDTH, HEIGHT]
    return np.concatenate([place, np.full((18, 1), state)], axis=1)


def predicted(heat, affinity):
    parsed = jnp.concatenate([affinity, heat], axis=-1)
    return Outputs({}, None, {}, Pose((affinity,) * 3, (heat,) * 3, parsed))


def targets(batch):
    return pose_targets(batch["joints"], HEIGHT, WIDTH, stride=8, sigma=SIGMA)[:2]


@pytest.fixture(scope="module")
def pose_terms():
    """The pose objective, compiled once."""
    return jax.jit(
        lambda heat, affinity, batch: objective.pose(predicted(heat, affinity), batch, sigma=SIGMA)
    )


def test_a_perfect_pose_costs_nothing(pose_terms):
    given = posed(standing())
    terms = pose_terms(*targets(given), given)
    assert set(terms.losses) == {f"{name}_{s}" for name in ("heat", "affinity") for s in (1, 2, 3)}
    assert all(value == 0 for value in terms.losses.values())
    assert all(value > 0 for value in terms.metrics.values())


def test_a_wrong_cell_costs_half_its_squared_error_in_every_stage(pose_terms):
    given = posed(standing())
    heat, affinity = targets(given)
    terms = pose_terms(heat.at[0, 1, 1, 4].add(2), affinity.at[0, 0, 1, 7].add(-1), given)
    for stage in (1, 2, 3):
        np.testing.assert_allclose(terms.losses[f"heat_{stage}"], 2, rtol=1e-6)
        np.testing.assert_allclose(terms.losses[f"affinity_{stage}"], 0.5, rtol=1e-6)


def test_masked_cells_cost_nothing_and_half_masked_ones_half(pose_terms):
    given = posed(standing())
    given["mask"][0, 1, 1] = 0
    given["mask"][0, 2, 0] = 0.5
    heat, affinity = targets(given)
    heat = heat.at[0, 1, 1].add(9)
    assert pose_terms(heat, affinity, given).losses["heat_1"] == 0
    terms = pose_terms(heat.at[0, 2, 0, 3].add(2), affinity, given)
    np.testing.assert_allclose(terms.losses["heat_1"], 1, rtol=1e-6)


def test_a_joint_that_the_source_does_not_know_is_not_judged(pose_terms):
    joints = standing()
    joints[3, 2] = -1  # the right elbow: heat channel 3, limbs 7 and 8, and the background
    given = posed(joints)
    heat, affinity = targets(given)
    wrong = pose_terms(heat.at[..., (3, 18)].add(5), affinity.at[..., 14:18].add(5), given)
    assert all(value == 0 for value in wrong.losses.values())
    other = pose_terms(heat.at[..., 4].add(5), affinity, given)
    assert other.losses["heat_1"] > 0


def test_an_empty_prediction_costs_what_the_signs_say(pose_terms):
    given = posed(standing(), mask=0.7)
    heat, affinity = (jnp.zeros_like(x) for x in targets(given))
    terms = pose_terms(heat.at[..., -1].set(1), affinity, given)
    for name in ("heat", "affinity"):
        assert terms.losses[f"{name}_3"] == terms.metrics[f"{name}_zero"]


def test_only_the_attributes_that_are_taught_have_a_term():
    given = outputs({**HAT, "bag": HAT["hat"]})
    both = {**batch(), "attributes": {"hat": jnp.array([0, 1, 0, 1]), "bag": jnp.array([1] * 4)}}
    every = objective.recognition(given, both).losses
    one = objective.recognition(given, both, taught=("bag",)).losses
    assert set(every) - set(one) == {"attribute/hat"}
    np.testing.assert_array_equal(one["attribute/bag"], every["attribute/bag"])
