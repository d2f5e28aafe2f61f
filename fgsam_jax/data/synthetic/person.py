"""Who a drawn pedestrian is: build, clothes and colours of an identity."""

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
