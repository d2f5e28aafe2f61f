from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from tiny import HEIGHT, WIDTH, numpy_variables

from fgsam_jax.checkpoint import CheckpointInfo
from fgsam_jax.labels.attributes import MARKET1501
from fgsam_jax.labels.skeleton import PARTS
from fgsam_jax.retrieval.comparison import compare
from fgsam_jax.retrieval.description import Description, part_visibility
from fgsam_jax.retrieval.embedder import Embedder

IMAGES = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, 3)).astype(np.uint8)
# OpenPose's joints: 0 nose, 1 neck, 2-4 right arm, 5-7 left arm, 8-10 right leg, 11-13 left leg,
# 14-17 eyes and ears.
JOINTS = {
    "head": [0, 14, 15, 16, 17],
    "upper_body": [1, 2, 5, 8, 11],
    "upper_arm": [2, 3, 5, 6],
    "lower_arm": [3, 4, 6, 7],
    "upper_leg": [8, 9, 11, 12],
    "lower_leg": [9, 10, 12, 13],
    "plenary": list(range(18)),
}


def described(phase, kind):
    info = CheckpointInfo(tiny.config(Path("unused")), phase, tiny.PEOPLE, MARKET1501)
    variables = numpy_variables(tiny.model(kind))
    embedder = Embedder(info, variables)
    outputs = jax.jit(embedder.info.model().apply)(variables, IMAGES)
    return embedder, embedder.describe(IMAGES), outputs


@pytest.fixture(scope="module")
def full():
    return described("full", "fgsam")


def test_the_descriptor_is_that_of_embed_and_falls_into_its_branches(full):
    embedder, found, outputs = full
    np.testing.assert_allclose(found.descriptor, embedder.embed(IMAGES), atol=1e-6)
    assert set(found.branches) == set(PARTS)
    for part, columns in found.branches.items():
        rows = np.asarray(outputs.embeddings[part])
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        np.testing.assert_allclose(found.descriptor[:, columns] * 7**0.5, unit, atol=1e-5)


def test_probabilities_are_the_softmax_of_the_answers(full):
    _, found, outputs = full
    assert set(found.attributes) == {attribute.name for attribute in MARKET1501}
    for name, logits in outputs.attributes.items():
        raised = np.exp(np.float64(logits))
        wanted = raised / raised.sum(1, keepdims=True)
        np.testing.assert_allclose(found.attributes[name], wanted, atol=1e-6)


def slow_visibility(heat):
    """By part, [images], from heat maps [images, h, w, 19]."""
    return {
        part: [
            np.mean([min(max(image[:, :, joint].max(), 0), 1) for joint in joints])
            for image in heat
        ]
        for part, joints in JOINTS.items()
    }


def test_a_part_is_as_visible_as_its_joints_are_sure(full):
    _, found, outputs = full
    wanted = slow_visibility(np.float64(outputs.pose.heat[-1]))
    assert set(found.visibility) == set(PARTS)
    for part, seen in wanted.items():
        np.testing.assert_allclose(found.visibility[part], seen, atol=1e-5)


def test_the_squared_distance_of_two_crops_is_the_mean_of_their_parts(full):
    embedder, found, _ = full
    for second in (1, 2):
        places = [0, second]
        attributes = {name: x[places] for name, x in found.attributes.items()}
        visibility = {name: x[places] for name, x in found.visibility.items()}
        rows = found.descriptor[places]
        told = compare(
            Description(rows, found.branches, attributes, visibility), embedder.info.attributes
        )
        squared = float(np.linalg.norm(rows[0] - rows[1])) ** 2
        assert squared > 1e-3
        assert list(told.parts) == [*sorted(set(PARTS) - {"plenary"}), "plenary"]
        parts = [part.squared_distance for part in told.parts.values()]
        assert np.mean(parts) == pytest.approx(squared, abs=1e-6)
        assert told.distance**2 == pytest.approx(squared, abs=1e-6)
        assert sum(part.share for part in told.parts.values()) == pytest.approx(1)
        assert told.parts["head"].visibility == tuple(visibility["head"])
        assert set(told.attributes) == {x.name for x in MARKET1501}


def test_no_joint_counts_for_more_than_1_or_less_than_0():
    heat = np.random.default_rng(0).normal(0, 1, (4, 2, 1, 19))
    found = part_visibility(jax.numpy.asarray(heat, "float32"))
    for part, seen in slow_visibility(heat).items():
        np.testing.assert_allclose(found[part], seen, atol=1e-6)


def test_a_model_without_pose_has_one_branch_and_no_visibility():
    _, found, _ = described("base", "baseline")
    assert found.branches == {"plenary": slice(0, found.descriptor.shape[1])}
    assert found.attributes == {}
    assert found.visibility == {}
