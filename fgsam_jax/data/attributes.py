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

# The attributes of each data set, by the name of its builder.
ATTRIBUTES = {"market1501": MARKET1501}
