"""How a drawn pedestrian stands: poses and the skeleton.

The body is a skeleton in three dimensions, in units of the body's height: x to the person's left,
y up from the ground, z forward.
"""

import math
from dataclasses import dataclass

import numpy as np

from fgsam_jax.data.synthetic.person import Person

Point3 = tuple[float, float, float]


@dataclass(frozen=True)
class Pose:
    """One moment: direction, phase of the step and what the arms do; angles in radians."""

    yaw: float
    head_yaw: float
    phase: float
    stride: float
    lean: float
    elbows: tuple[float, float]  # right, left
    raised: tuple[float, float]  # right, left: forward swing of the upper arm
    spread: float


def sample_pose(rng: np.random.Generator, yaw: float) -> Pose:
    """A random moment of walking or standing, turned near `yaw`."""
    walking = rng.random() < 0.8
    bent = [float(rng.uniform(0.1, 0.45)) for _ in range(2)]
    raised = [0.0, 0.0]
    if rng.random() < 0.22:
        side = int(rng.integers(2))
        bent[side], raised[side] = float(rng.uniform(1.4, 2.3)), float(rng.uniform(0.1, 0.5))
    return Pose(
        yaw=float(yaw + rng.normal(0, 0.15)),
        head_yaw=float(yaw + rng.normal(0, 0.35)),
        phase=float(rng.uniform(0, 2 * math.pi)),
        stride=float(rng.uniform(0.28, 0.5) if walking else rng.uniform(0.02, 0.1)),
        lean=float(rng.normal(0.03, 0.04)),
        elbows=(bent[0], bent[1]),
        raised=(raised[0], raised[1]),
        spread=float(rng.uniform(0.06, 0.22)),
    )


def body_points(person: Person, pose: Pose) -> dict[str, Point3]:
    """The 18 joints and a few more points of the body, in body heights (see the module's text)."""
    girth = 0.5 + 0.5 * person.girth
    shoulder = (0.094 if person.female else 0.108) * girth
    hip = 0.05 * girth
    body: dict[str, Point3] = {}

    def upper(x: float, y: float, z: float = 0.0) -> Point3:
        return x, y, z + pose.lean * (y - 0.5)

    body["neck"] = upper(0, 0.815)
    body["head"] = upper(0, 0.92, 0.012)
    turn = pose.head_yaw - pose.yaw
    for name, angle, y, radius in (
        ("nose", 0.0, 0.915, 0.062), ("right_eye", -0.4, 0.932, 0.052),
        ("left_eye", 0.4, 0.932, 0.052), ("right_ear", -1.57, 0.922, 0.05),
        ("left_ear", 1.57, 0.922, 0.05),
    ):  # fmt: skip
        centre = body["head"]
        body[name] = (
            centre[0] + radius * math.sin(turn + angle),
            y,
            centre[2] + radius * math.cos(turn + angle),
        )
    for index, (side, sign) in enumerate((("right", -1), ("left", 1))):
        phase = pose.phase + math.pi * index
        thigh = pose.stride * math.sin(phase) + 0.04
        flex = 0.06 + 1.9 * pose.stride * max(0.0, math.cos(phase + 0.35))
        hips = (sign * hip, 0.515, 0.0)
        knee = (sign * hip * 0.95, hips[1] - 0.235 * math.cos(thigh), 0.235 * math.sin(thigh))
        shin = thigh - flex
        ankle = (
            sign * hip * 0.85,
            knee[1] - 0.235 * math.cos(shin),
            knee[2] + 0.235 * math.sin(shin),
        )
        tip = shin - 0.15 if flex > 0.3 else 0.0
        toe = (
            ankle[0] + sign * 0.02,
            ankle[1] - 0.035 + 0.1 * math.sin(tip),
            ankle[2] + 0.1 * math.cos(tip),
        )
        heel = (ankle[0], ankle[1] - 0.035, ankle[2] - 0.025)
        body |= {
            f"{side}_hip": hips, f"{side}_knee": knee, f"{side}_ankle": ankle,
            f"{side}_toe": toe, f"{side}_heel": heel,
        }  # fmt: skip
        top = upper(sign * shoulder, 0.805)
        swing = pose.raised[index] - 0.85 * pose.stride * math.sin(phase)
        lower = swing + pose.elbows[index]
        out = pose.spread
        elbow = (
            top[0] + sign * 0.165 * math.sin(out),
            top[1] - 0.165 * math.cos(swing) * math.cos(out),
            top[2] + 0.165 * math.sin(swing),
        )
        inward = 0.3 * pose.elbows[index] if pose.elbows[index] > 1 else 0.0
        aim = (sign * (math.sin(0.3 * out) - inward), -math.cos(lower), math.sin(lower))
        length = math.hypot(*aim)
        wrist, hand = (
            tuple(e + reach * a / length for e, a in zip(elbow, aim, strict=True))
            for reach in (0.14, 0.185)
        )
        body |= {f"{side}_shoulder": top, f"{side}_elbow": elbow}
        body |= {f"{side}_wrist": wrist, f"{side}_hand": hand}  # type: ignore[dict-item]
    return body
