"""Labelled joints: whether they can be meant for their crops."""

import numpy as np

from fgsam_jax.data.checks.problem import Problem
from fgsam_jax.labels.skeleton import JOINTS

# Joints of a cut-off person may lie outside of the crop, those of another image mostly do.
MOSTLY, RARELY = 0.5, 0.05
# A person whose joints span less of the crop's height than this has them in other units.
_SPOT = 0.03
# Fewer people who face the camera say nothing about the sides.
_FACING = 20


def check_joints(joints: np.ndarray, height: int, width: int, split: str) -> list[Problem]:
    """Joints that cannot be meant for their crops.

    Args:
      joints: [n, people, 18, 3] as in `Table`; the first person is the one the crop shows.
      height, width: of the crops in pixels.
      split: for the text.
    """
    first, labelled = joints[:, 0], joints[:, 0, :, 2] > 0
    if not labelled.any():
        return [Problem(f"no crop of {split} has a labelled joint", fatal=True)]
    if not np.isfinite(joints).all():
        return [Problem(f"some joints of {split} are not numbers", fatal=True)]
    found = []
    x, y = first[..., 0], first[..., 1]
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    outside = float((~inside)[labelled].mean())
    if outside > RARELY:
        text = f"{100 * outside:.1f} % of the joints of {split} lie outside of their crop"
        fatal = outside > MOSTLY
        found.append(Problem(text + ": are they of these images?" * fatal, fatal=fatal))
    several = labelled.sum(1) > 1
    low = np.where(labelled, y, np.inf).min(1)[several]
    high = np.where(labelled, y, -np.inf).max(1)[several]
    if len(low) and float(np.mean(high - low < _SPOT * height)) > MOSTLY:
        text = f"most people of {split} have all joints on one spot: are they in pixels?"
        found.append(Problem(text, fatal=True))
    people, right = sides(joints)
    if people >= _FACING and right < 0.5:
        text = (
            f"left and right seem swapped in {split}: of {people:,} people whose nose is visible "
            f"only {100 * right:.0f} % have the right shoulder on the left of the picture"
        )
        found.append(Problem(text))
    return found


def sides(joints: np.ndarray) -> tuple[int, float]:
    """People who face the camera, and the share of them with the right shoulder further left.

    Whoever has a visible nose faces the camera, and then the right arm is on the picture's left.
    """
    nose, right, left = (
        joints[:, :, JOINTS.index(name)] for name in ("nose", "right_shoulder", "left_shoulder")
    )
    facing = (nose[..., 2] == 2) & (right[..., 2] > 0) & (left[..., 2] > 0)
    as_meant = right[..., 0] < left[..., 0]
    return int(facing.sum()), float(as_meant[facing].mean()) if facing.any() else 0.0
