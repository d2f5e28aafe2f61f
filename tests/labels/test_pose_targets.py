import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fgsam_jax.data import builders
from fgsam_jax.data.datasets.records import open_builder
from fgsam_jax.data.stream import Stream
from fgsam_jax.labels import pose_targets as module
from fgsam_jax.labels.pose_targets import flip_joints
from fgsam_jax.labels.skeleton import JOINTS, LIMBS, MIRRORED_JOINT

# Compiled as in the training step; tests with the same shapes share a compilation.
pose_targets = jax.jit(
    module.pose_targets, static_argnums=(1, 2), static_argnames=("stride", "sigma")
)

NECK, RIGHT_HIP = JOINTS.index("neck"), JOINTS.index("right_hip")
NECK_TO_RIGHT_HIP = LIMBS.index((NECK, RIGHT_HIP))


def nobody(people=1):
    return np.zeros((1, people, 18, 3), np.float32)


def slow_targets(joints, height, width, stride=8, sigma=7.0):
    """Cell by cell, person by person, as OpenPose's training code goes about it."""
    h, w = height // stride, width // stride
    heat = np.zeros((len(joints), h, w, 19))
    affinity = np.zeros((len(joints), h, w, 38))
    for image, people in enumerate(joints.astype(float)):
        for gy in range(h):
            for gx in range(w):
                for person in people:
                    for joint, (x, y, state) in enumerate(person):
                        dx = stride * gx + stride / 2 - 0.5 - x
                        dy = stride * gy + stride / 2 - 0.5 - y
                        exponent = (dx * dx + dy * dy) / (2 * sigma * sigma)
                        if state > 0 and exponent <= 4.6052:
                            old = heat[image, gy, gx, joint]
                            heat[image, gy, gx, joint] = max(old, np.exp(-exponent))
                heat[image, gy, gx, 18] = 1 - heat[image, gy, gx, :18].max()
        for limb, (start, end) in enumerate(LIMBS):
            count = np.zeros((h, w))
            for person in people:
                if person[start, 2] <= 0 or person[end, 2] <= 0:
                    continue
                a, b = person[start, :2] / stride, person[end, :2] / stride
                length = np.hypot(*(b - a))
                if length == 0:
                    continue
                ux, uy = (b - a) / length
                left, right = (
                    np.floor(v + 0.5) for v in (min(a[0], b[0]) - 1, max(a[0], b[0]) + 1)
                )
                top, low = (np.floor(v + 0.5) for v in (min(a[1], b[1]) - 1, max(a[1], b[1]) + 1))
                for gy in range(max(int(top), 0), min(int(low), h)):
                    for gx in range(max(int(left), 0), min(int(right), w)):
                        if abs((gx - a[0]) * uy - (gy - a[1]) * ux) <= 1:
                            affinity[image, gy, gx, 2 * limb] += ux
                            affinity[image, gy, gx, 2 * limb + 1] += uy
                            count[gy, gx] += 1
            affinity[image, ..., 2 * limb : 2 * limb + 2] /= np.maximum(count, 1)[..., None]
    return heat, affinity


def random_joints(seed=0, batch=3, people=4, height=64, width=48):
    rng = np.random.default_rng(seed)
    joints = rng.uniform(-10, 10 + max(height, width), (batch, people, 18, 3))
    joints[..., 2] = rng.choice([-1, 0, 1, 2], joints.shape[:3], p=[0.1, 0.1, 0.3, 0.5])
    return joints.astype(np.float32)


def test_the_targets_are_those_of_a_slow_loop():
    joints = random_joints()
    heat, affinity, _, _ = pose_targets(joints, 64, 48)
    slow_heat, slow_affinity = slow_targets(joints, 64, 48)

    assert heat.shape == (3, 8, 6, 19)
    assert affinity.shape == (3, 8, 6, 38)
    np.testing.assert_allclose(heat, slow_heat, atol=2e-6)
    np.testing.assert_allclose(affinity, slow_affinity, atol=2e-6)
    assert (slow_affinity != 0).mean() > 0.05


def test_the_targets_of_real_crops_are_those_of_a_slow_loop(tmp_path):
    root = os.environ.get("FGSAM_DATA")
    if root is None or not (Path(root) / "coco_mini").is_dir():
        pytest.skip("FGSAM_DATA names no folder with coco_mini")
    builder = open_builder(builders()["coco_openpose"], Path(root) / "coco_mini", tmp_path)
    batch = Stream(builder, "train", 368, 368, 5, seed=0)(0)
    heat, affinity, known_heat, known_affinity = pose_targets(batch["joints"], 368, 368)
    slow_heat, slow_affinity = slow_targets(batch["joints"], 368, 368)

    np.testing.assert_allclose(heat, slow_heat, atol=2e-5)
    # In single precision a cell on the very edge of a limb may fall to the other side.
    assert (np.abs(affinity - slow_affinity) > 2e-5).mean() < 1e-5
    assert (slow_heat[..., :18].max((1, 2)) > 0.5).any(1).all()
    assert (known_heat == 1).all()
    assert (known_affinity == 1).all()


def test_a_joint_in_a_cell_centre_has_the_confidence_one_there():
    joints = nobody()
    # The centre of row 3, column 2 at stride 8.
    joints[0, 0, 0] = (8 * 2 + 3.5, 8 * 3 + 3.5, 2)
    heat, _, _, _ = pose_targets(joints, 64, 48)

    assert heat[0, 3, 2, 0] == 1
    np.testing.assert_allclose(heat[0, 3, 3, 0], np.exp(-64 / 98), rtol=1e-6)
    np.testing.assert_allclose(heat[0, 4, 3, 0], np.exp(-128 / 98), rtol=1e-6)
    # Three cells away is an exponent of 5.9, beyond the cut.
    assert heat[0, 3, 5, 0] == 0
    np.testing.assert_allclose(heat[0, 3, 2, 18], 0, atol=1e-6)
    assert heat[0, 7, 5, 18] == 1


def test_near_people_take_the_maximum_and_not_the_sum():
    joints = nobody(2)
    joints[0, :, 0] = (19.5, 27.5, 2)
    heat, _, _, _ = pose_targets(joints, 64, 48)

    assert heat[0, 3, 2, 0] == 1
    assert heat.min() >= 0


def test_a_vertical_limb_fills_its_rectangle_with_the_unit_vector():
    joints = nobody()
    # In cells: from (2, 1) to (2, 4); rows 0..4 and columns 1..2 by the half-open rectangle.
    joints[0, 0, NECK] = (16, 8, 2)
    joints[0, 0, RIGHT_HIP] = (16, 32, 1)
    _, affinity, _, _ = pose_targets(joints, 64, 48)

    x, y = 2 * NECK_TO_RIGHT_HIP, 2 * NECK_TO_RIGHT_HIP + 1
    expected = np.zeros((8, 6))
    expected[0:5, 1:3] = 1
    np.testing.assert_array_equal(affinity[0, ..., y], expected)
    assert (affinity[0, ..., x] == 0).all()
    assert np.abs(affinity).sum() == expected.sum()


def test_crossing_limbs_are_averaged():
    joints = nobody(2)
    joints[0, 0, NECK], joints[0, 0, RIGHT_HIP] = (24, 8, 2), (24, 48, 2)
    joints[0, 1, NECK], joints[0, 1, RIGHT_HIP] = (8, 24, 2), (40, 24, 2)
    _, affinity, _, _ = pose_targets(joints, 64, 48)
    limb = affinity[0, ..., 2 * NECK_TO_RIGHT_HIP : 2 * NECK_TO_RIGHT_HIP + 2]

    np.testing.assert_allclose(limb[3, 3], (0.5, 0.5))
    np.testing.assert_allclose(limb[5, 3], (0, 1))
    np.testing.assert_allclose(limb[3, 1], (1, 0))


@pytest.mark.parametrize("state", [0, -1])
def test_joints_that_are_not_labelled_draw_nothing(state):
    joints = random_joints()
    joints[..., 2] = state
    heat, affinity, _, _ = pose_targets(joints, 64, 48)

    assert (heat[..., :18] == 0).all()
    assert (heat[..., 18] == 1).all()
    assert (affinity == 0).all()


def test_a_limb_of_no_length_draws_nothing_and_makes_no_nan():
    joints = nobody()
    joints[0, 0, :] = (20, 20, 2)
    heat, affinity, _, _ = pose_targets(joints, 64, 48)

    assert (affinity == 0).all()
    assert np.isfinite(heat).all()


def test_padding_people_change_neither_targets_nor_what_is_known():
    joints = random_joints()
    absent = np.zeros((3, 2, 18, 3), np.float32)
    absent[..., 2] = -1
    alone = pose_targets(joints, 64, 48)
    padded = pose_targets(np.concatenate([joints, absent], 1), 64, 48)

    for one, other in zip(alone, padded, strict=True):
        np.testing.assert_array_equal(one, other)


def test_everything_is_known_where_the_source_names_every_joint():
    _, _, known_heat, known_affinity = pose_targets(nobody(), 64, 48)

    assert known_heat.shape == (1, 19)
    assert known_affinity.shape == (1, 38)
    assert (known_heat == 1).all()
    assert (known_affinity == 1).all()


def test_an_unknown_joint_makes_its_limbs_and_the_background_unknown():
    joints = nobody(2)
    eye = JOINTS.index("right_eye")
    joints[0, :, eye, 2] = -1
    _, _, known_heat, known_affinity = pose_targets(joints, 64, 48)

    assert np.flatnonzero(known_heat[0] == 0).tolist() == [eye, 18]
    limbs = [limb for limb, ends in enumerate(LIMBS) if eye in ends]
    assert np.flatnonzero(known_affinity[0] == 0).tolist() == [
        2 * limb + axis for limb in limbs for axis in (0, 1)
    ]


def test_one_person_who_has_the_joint_makes_it_known():
    joints = nobody(2)
    joints[0, 0, :, 2] = -1
    _, _, known_heat, _ = pose_targets(joints, 64, 48)

    assert (known_heat == 1).all()


def test_flipping_twice_changes_nothing():
    joints = random_joints()

    # Exact in sixteenths of a pixel.
    joints[..., :2] = np.round(joints[..., :2] * 16) / 16
    np.testing.assert_array_equal(flip_joints(flip_joints(joints, 48), 48), joints)


def test_a_flip_swaps_left_and_right_and_keeps_the_state():
    joints = nobody()
    joints[0, 0, JOINTS.index("left_wrist")] = (10, 20, 1)
    flipped = flip_joints(joints, 48)

    np.testing.assert_array_equal(flipped[0, 0, JOINTS.index("right_wrist")], (37, 20, 1))
    assert flipped[0, 0, JOINTS.index("left_wrist"), 2] == 0


def test_the_mirror_image_of_every_limb_is_a_limb():
    mirrored = [tuple(MIRRORED_JOINT[list(limb)]) for limb in LIMBS]

    assert sorted(mirrored) == sorted(LIMBS)
    assert (MIRRORED_JOINT[MIRRORED_JOINT] == np.arange(18)).all()
    for joint, name in enumerate(JOINTS):
        swapped = {"left": "right", "right": "left"}.get(name.partition("_")[0])
        expected = name if swapped is None else f"{swapped}_{name.partition('_')[2]}"
        assert JOINTS[MIRRORED_JOINT[joint]] == expected


def test_the_heat_of_a_flip_is_the_flip_of_the_heat():
    joints = random_joints()
    heat, _, _, _ = pose_targets(joints, 64, 48)
    flipped, _, _, _ = pose_targets(flip_joints(joints, 48), 64, 48)

    channels = [*MIRRORED_JOINT, 18]
    np.testing.assert_allclose(flipped, heat[:, :, ::-1][..., channels], atol=2e-6)


def test_the_affinity_of_a_flip_is_the_flip_of_the_affinity_to_within_a_cell():
    joints = nobody()
    # Long slanted limbs away from the border, in whole cells once a cell's corner is mirrored.
    joints[0, 0, NECK] = (48, 16, 2)
    joints[0, 0, RIGHT_HIP] = (80, 96, 2)
    # Cells stand for their left corners here, whose mirror image is 7 pixels further left.
    mirrored = np.array(flip_joints(joints, 128)).copy()
    mirrored[..., 0] -= 7
    _, affinity, _, _ = pose_targets(joints, 128, 128)
    _, flipped, _, _ = pose_targets(mirrored, 128, 128)

    left = LIMBS.index((NECK, JOINTS.index("left_hip")))
    drawn = affinity[0, :, ::-1, 2 * NECK_TO_RIGHT_HIP : 2 * NECK_TO_RIGHT_HIP + 2]
    found = flipped[0, ..., 2 * left : 2 * left + 2]
    # The half-open rectangle may lose its first or last column; what both draw agrees.
    both = (drawn[..., 1] != 0) & (found[..., 1] != 0)
    assert both.sum() >= 0.8 * (drawn[..., 1] != 0).sum()
    np.testing.assert_allclose(found[both], drawn[both] * jnp.array([-1, 1]), atol=1e-6)


def test_other_strides_and_spreads_are_followed():
    joints = random_joints(1)
    heat, affinity, _, _ = pose_targets(joints, 64, 48, stride=16, sigma=14.0)
    slow_heat, slow_affinity = slow_targets(joints, 64, 48, 16, 14.0)

    assert heat.shape == (3, 4, 3, 19)
    np.testing.assert_allclose(heat, slow_heat, atol=2e-6)
    np.testing.assert_allclose(affinity, slow_affinity, atol=2e-6)


def test_the_spread_and_the_centres_follow_the_stride():
    joints = nobody(3)
    joints[:, 0, 0] = (7.5, 7.5, 2)
    heat, _, _, _ = pose_targets(joints, 64, 48, stride=16, sigma=14.0)
    assert heat[0, 0, 0, 0] == 1
    np.testing.assert_allclose(heat[0, 0, 1, 0], np.exp(-256 / 392), rtol=1e-6)
