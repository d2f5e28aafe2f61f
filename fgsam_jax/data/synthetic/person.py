"""Who a drawn pedestrian is, and how he stands: identities, poses and the skeleton.

The body is a skeleton in three dimensions, in units of the body's height: x to the person's left,
y up from the ground, z forward.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Colour = tuple[int, int, int]
Point3 = tuple[float, float, float]
_Choice = TypeVar("_Choice")

PALETTE: dict[str, Colour] = {
    "black": (34, 34, 38),
    "white": (222, 222, 218),
    "red": (182, 42, 46),
    "purple": (118, 62, 138),
    "yellow": (216, 188, 66),
    "gray": (124, 126, 128),
    "blue": (52, 80, 156),
    "green": (62, 128, 76),
    "pink": (222, 142, 164),
    "brown": (108, 76, 52),
}

# Frequencies of market_attribute.mat, training identities; None is an upper or lower body without
# one named colour.
_UPPER = {
    "black": 113, "white": 228, "red": 78, "purple": 30, "yellow": 36, "gray": 86, "blue": 46,
    "green": 56, None: 78,
}  # fmt: skip
_LOWER = {
    "black": 293, "white": 58, "pink": 29, "purple": 2, "yellow": 10, "gray": 123, "blue": 123,
    "green": 14, "brown": 69, None: 30,
}  # fmt: skip
_UNNAMED: tuple[Colour, ...] = ((222, 122, 44), (64, 176, 178), (196, 164, 124), (214, 96, 84))
_PATTERNS = {
    "plain": 24, "stripes": 18, "bars": 9, "checks": 12, "two_tone": 13, "print": 16, "open": 12,
}  # fmt: skip
_SKIN = {(228, 186, 158): 40, (214, 168, 136): 35, (188, 140, 108): 18, (132, 92, 68): 7}
_HAIR = {(26, 22, 22): 45, (40, 32, 28): 30, (78, 54, 38): 17, (142, 104, 62): 8}
_SHOES = {"black": 34, "white": 32, "red": 8, "gray": 10, "blue": 6, "pink": 4, "brown": 6}
_BACKPACKS = {
    "black": 36, "red": 15, "purple": 6, "yellow": 4, "gray": 14, "blue": 15, "green": 6,
    "brown": 4,
}  # fmt: skip
_BAGS = {
    "black": 32, "white": 20, "red": 9, "yellow": 5, "gray": 8, "blue": 9, "pink": 5, "brown": 12,
}  # fmt: skip
_HANDBAGS = {
    "black": 16, "white": 38, "red": 13, "yellow": 7, "blue": 9, "pink": 8, "brown": 9,
}  # fmt: skip


@dataclass(frozen=True)
class Person:
    """What stays with an identity: labels (as in Table I), colours, cut and build."""

    female: bool
    age: int  # 1 young, 2 teenager, 3 adult, 4 old
    long_hair: bool
    hat: bool
    backpack: bool
    bag: bool
    handbag: bool
    long_sleeves: bool
    dress: bool
    long_lower: bool
    upper_colour: str | None
    lower_colour: str | None
    upper: Colour
    accent: Colour
    lower: Colour
    pattern: str
    pattern_size: float
    print_shape: int
    side_stripe: bool
    sleeves_accent: bool
    hem: float  # length of sleeve and trouser leg within its class, 0..1
    tights: bool
    skin: Colour
    hair: Colour
    ponytail: bool
    hat_colour: Colour
    shoes: Colour
    socks: bool
    backpack_colour: Colour
    bag_colour: Colour
    handbag_colour: Colour
    bag_side: int  # 1 left, -1 right
    height: float  # relative to the mean
    girth: float  # relative to the mean, of every thickness


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


def _pick(rng: np.random.Generator, weights: Mapping[_Choice, float]) -> _Choice:
    rest = rng.random() * sum(weights.values())
    for choice, weight in weights.items():
        rest -= weight
        if rest < 0:
            return choice
    return choice


def jitter(rng: np.random.Generator, colour: Colour, spread: float = 9.0) -> Colour:
    """The colour, a little lighter or darker and of a slightly other tint."""
    shift = 0.6 * spread * rng.normal()
    red, green, blue = (
        min(248, max(6, int(value + shift + 0.5 * spread * rng.normal()))) for value in colour
    )
    return red, green, blue


def _dyed(rng: np.random.Generator, weights: Mapping[str, float]) -> Colour:
    return jitter(rng, PALETTE[_pick(rng, weights)])


def sample_person(rng: np.random.Generator) -> Person:
    """A random identity; labels are as frequent, and as uneven, as those of Market-1501."""
    female = bool(rng.random() < 0.43)
    age = int(_pick(rng, {1: 14, 2: 569, 3: 160, 4: 12}))
    dress = female and rng.random() < 0.33
    upper_colour = _pick(rng, _UPPER)
    lower_colour = _pick(rng, _LOWER)
    pattern = _pick(rng, _PATTERNS)
    upper = PALETTE[upper_colour] if upper_colour else _UNNAMED[rng.integers(len(_UNNAMED))]
    lower = PALETTE[lower_colour] if lower_colour else _UNNAMED[rng.integers(len(_UNNAMED))]
    upper, lower = jitter(rng, upper), jitter(rng, lower)
    if dress and rng.random() < 0.5 and upper_colour in _LOWER:
        lower_colour, lower = upper_colour, upper
    dark = sum(upper) < 330
    accents = ["white", "gray", "yellow", "red"] if dark else ["black", "blue", "red", "gray"]
    height = {1: 0.8, 2: 1.0, 3: 1.0, 4: 0.96}[age] * (0.95 if female else 1.02)
    return Person(
        female=female,
        age=age,
        long_hair=bool(rng.random() < (0.7 if female else 0.05)),
        hat=bool(rng.random() < 0.03),
        backpack=bool(rng.random() < 0.27),
        bag=bool(rng.random() < 0.25),
        handbag=bool(rng.random() < (0.2 if female else 0.05)),
        long_sleeves=bool(rng.random() < 0.06),
        dress=bool(dress),
        long_lower=bool(rng.random() < (0.1 if dress else 0.45)),
        upper_colour=upper_colour,
        lower_colour=lower_colour,
        upper=upper,
        accent=jitter(rng, PALETTE[accents[rng.integers(4)]]),
        lower=lower,
        pattern=pattern,
        pattern_size=float(rng.uniform(0.7, 1.5)),
        print_shape=int(rng.integers(4)),
        side_stripe=bool(rng.random() < 0.2),
        sleeves_accent=bool(rng.random() < 0.25),
        hem=float(rng.random()),
        tights=bool(rng.random() < 0.3),
        skin=jitter(rng, _pick(rng, _SKIN), 7),
        hair=(176, 176, 176) if age == 4 else jitter(rng, _pick(rng, _HAIR), 5),
        ponytail=bool(rng.random() < 0.4),
        hat_colour=_dyed(rng, dict.fromkeys(PALETTE, 1)),
        shoes=_dyed(rng, _SHOES),
        socks=bool(rng.random() < 0.35),
        backpack_colour=_dyed(rng, _BACKPACKS),
        bag_colour=_dyed(rng, _BAGS),
        handbag_colour=_dyed(rng, _HANDBAGS),
        bag_side=int(rng.choice([-1, 1])),
        height=float(height * rng.uniform(0.94, 1.06)),
        girth=float((1.0 if female else 1.1) * rng.uniform(0.86, 1.16) * (1.06 if age == 3 else 1)),
    )


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
