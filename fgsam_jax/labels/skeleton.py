"""Joints, limbs and body parts, in OpenPose's order for COCO.

Source: `TransformJoints` and `generateLabelMap` of OpenPose's training code. The assignment of
joints and limbs to the six parts of the paper's section III-C is ours: a part owns its limb
segments and the joints at both their ends.
"""

import numpy as np

JOINTS = (
    "nose", "neck",
    "right_shoulder", "right_elbow", "right_wrist",
    "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle",
    "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip

# Limb k owns the affinity channels 2k (x) and 2k + 1 (y); it points from the first joint to the
# second.
LIMBS = (
    (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 2), (2, 3), (3, 4), (2, 16),
    (1, 5), (5, 6), (6, 7), (5, 17), (1, 0), (0, 14), (0, 15), (14, 16), (15, 17),
)  # fmt: skip

# Pixels to a cell of the pose net's maps and of its mask.
STRIDE = 8
BACKGROUND = len(JOINTS)
HEAT_CHANNELS = len(JOINTS) + 1
AFFINITY_CHANNELS = 2 * len(LIMBS)
POSE_CHANNELS = AFFINITY_CHANNELS + HEAT_CHANNELS

# Index of the mirrored joint: a flipped image shows the left arm where the right one was.
MIRRORED_JOINT = np.array([0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16])

# Part: (its joints, its limbs).
_PARTS = {
    "head": ((0, 14, 15, 16, 17), (9, 13, 14, 15, 16, 17, 18)),
    "upper_body": ((1, 2, 5, 8, 11), (0, 3, 6, 10)),
    "upper_arm": ((2, 3, 5, 6), (7, 11)),
    "lower_arm": ((3, 4, 6, 7), (8, 12)),
    "upper_leg": ((8, 9, 11, 12), (1, 4)),
    "lower_leg": ((9, 10, 12, 13), (2, 5)),
    "plenary": (tuple(range(HEAT_CHANNELS)), tuple(range(len(LIMBS)))),
}
PARTS = tuple(_PARTS)


def part_channels() -> np.ndarray:
    """Which pose channels each part owns: bool [7, 57], parts in the order of `PARTS`.

    The channels are those of the pose resolve net's output: 38 affinity channels, then 19 heat
    channels.
    """
    mask = np.zeros((len(PARTS), POSE_CHANNELS), bool)
    for row, (joints, limbs) in zip(mask, _PARTS.values(), strict=True):
        row[[2 * limb + axis for limb in limbs for axis in (0, 1)]] = True
        row[[AFFINITY_CHANNELS + joint for joint in joints]] = True
    return mask
