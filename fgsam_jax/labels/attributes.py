"""The attributes of Table I and the body part that each one supervises.

The paper does not say which attribute belongs to which part; this assignment is ours. Every part
has at least one attribute in every data set, a sleeve's length shows on the forearm and a shoulder
bag hangs at the upper arm.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attribute:
    """One attribute of a person: its name, the part that shows it and the names of its classes."""

    name: str
    part: str
    classes: tuple[str, ...]


_NO_YES = ("no", "yes")

# Names and class order are the fields and values of market_attribute.mat; the two colours gather
# one binary field per colour.
MARKET1501 = (
    Attribute("gender", "head", ("male", "female")),
    Attribute("hair", "head", ("short", "long")),
    Attribute("hat", "head", _NO_YES),
    Attribute("age", "head", ("young", "teenager", "adult", "old")),
    Attribute("backpack", "upper_body", _NO_YES),
    Attribute(
        "upper_colour",
        "upper_body",
        ("black", "white", "red", "purple", "yellow", "gray", "blue", "green"),
    ),
    Attribute("bag", "upper_arm", _NO_YES),
    Attribute("sleeve", "lower_arm", ("long", "short")),
    Attribute("handbag", "lower_arm", _NO_YES),
    Attribute("lower_type", "upper_leg", ("dress", "pants")),
    Attribute(
        "lower_colour",
        "upper_leg",
        ("black", "white", "pink", "purple", "yellow", "gray", "blue", "green", "brown"),
    ),
    Attribute("lower_length", "lower_leg", ("long", "short")),
)

# Of duke_attribute.mat. The paper's table ticks age for this set, which the file does not have, and
# not the bag, which it has.
DUKEMTMC = (
    Attribute("gender", "head", ("male", "female")),
    Attribute("hat", "head", _NO_YES),
    Attribute("upper_length", "upper_body", ("short", "long")),
    Attribute("backpack", "upper_body", _NO_YES),
    Attribute(
        "upper_colour",
        "upper_body",
        ("black", "white", "red", "purple", "gray", "blue", "green", "brown"),
    ),
    Attribute("bag", "upper_arm", _NO_YES),
    Attribute("handbag", "lower_arm", _NO_YES),
    Attribute(
        "lower_colour",
        "upper_leg",
        ("black", "white", "red", "gray", "blue", "green", "brown"),
    ),
    Attribute("shoe_colour", "lower_leg", ("dark", "light")),
    Attribute("boots", "lower_leg", _NO_YES),
)

_PETA_COLOURS = (
    "black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow",
)  # fmt: skip

# Table I's regrouping of PETA's 61 binary and 4 multi-class labels, see `data.datasets.peta`. The
# table also ticks the length of upper clothes, of which PETA has no label; the length of lower
# clothes stands in for it.
PETA = (
    Attribute("gender", "head", ("male", "female")),
    Attribute("hair", "head", ("short", "long")),
    Attribute("hat", "head", _NO_YES),
    Attribute("age", "head", ("young", "teenager", "adult", "old")),
    Attribute("backpack", "upper_body", _NO_YES),
    Attribute("upper_colour", "upper_body", _PETA_COLOURS),
    Attribute("bag", "upper_arm", _NO_YES),
    Attribute("sleeve", "lower_arm", ("long", "short")),
    Attribute("lower_type", "upper_leg", ("skirt", "other")),
    Attribute("lower_colour", "upper_leg", _PETA_COLOURS),
    Attribute("lower_length", "lower_leg", ("long", "short")),
    Attribute("shoe_colour", "lower_leg", _PETA_COLOURS),
    Attribute("boots", "lower_leg", _NO_YES),
)

# The part of each attribute that some data set names.
PART_OF = {attribute.name: attribute.part for attribute in (*MARKET1501, *DUKEMTMC, *PETA)}
