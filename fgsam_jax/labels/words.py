"""Attributes in words: "woman, red top, backpack" asks for gender, upper_colour and backpack."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fgsam_jax.labels.attributes import Attribute

# What people call the things that attributes are about; an attribute's own name is known anyway.
THINGS: Mapping[str, tuple[str, ...]] = {
    "upper_colour": (
        "top", "shirt", "tshirt", "t-shirt", "jacket", "coat", "sweater", "jumper", "hoodie",
        "blouse", "pullover", "upper",
    ),
    "upper_length": ("top", "jacket", "coat"),
    "lower_colour": (
        "trousers", "pants", "jeans", "leggings", "shorts", "skirt", "bottom", "bottoms", "lower",
    ),
    "lower_length": ("trousers", "pants", "jeans", "skirt", "dress"),
    "shoe_colour": ("shoes", "shoe", "sneakers", "trainers", "footwear"),
    "sleeve": ("sleeves", "sleeved"),
    "hat": ("cap", "beanie", "helmet"),
    "backpack": ("rucksack", "knapsack"),
    "bag": ("bags",),
    "handbag": ("purse", "hand-bag"),
    "boots": ("boot",),
    "hair": ("haired",),
}  # fmt: skip

# What people call the classes of attributes, of any that has such a class.
CLASSES: Mapping[str, tuple[str, ...]] = {
    "female": ("woman", "girl", "lady", "women"),
    "male": ("man", "boy", "guy", "men"),
    "gray": ("grey", "silver"),
    "grey": ("gray", "silver"),
    "teenager": ("teen", "teenage"),
    "old": ("elderly", "senior"),
    "dress": ("skirt",),
    "skirt": ("dress",),
    "pants": ("trousers", "jeans", "leggings", "shorts"),
    "violet": ("purple",),
    "purple": ("violet",),
}

_NOT = {"no", "without", "not"}
_PASSED_OVER = {
    "a", "an", "the", "person", "people", "someone", "somebody", "wearing", "wears", "carrying",
    "carries", "has", "having", "is", "of", "who", "colour", "color", "coloured", "colored",
    "clothes", "on", "his", "her", "their",
}  # fmt: skip
_CLAUSES = re.compile(r"[,;.]|\band\b|\bwith\b|\bin\b|\bplus\b")


class Understood(NamedTuple):
    """What a text asks for.

    Attributes:
      wanted: class by attribute.
      unknown: the words that say nothing to this model, in their order.
    """

    wanted: dict[str, str]
    unknown: list[str]


def understand(text: str, attributes: Sequence[Attribute]) -> Understood:
    """The classes that a text asks for, of the attributes of a model.

    A comma, "and", "with" and "in" part the clauses. In a clause a word for a class belongs to the
    next thing that has it, or else to the last: "red top", "hair long". "no" and "without" stand
    before a thing that one has or not. The table is `THINGS` and `CLASSES`.

    Args:
      text: in English.
      attributes: of the model, such as `labels.attributes.MARKET1501`.

    Example:
      >>> from fgsam_jax.labels.attributes import MARKET1501
      >>> understand("woman in a red top, no hat, umbrella", MARKET1501)
      Understood(wanted={'gender': 'female', 'upper_colour': 'red', 'hat': 'no'}, \
unknown=['umbrella'])
    """
    found = Understood({}, [])
    for clause in _CLAUSES.split(text.casefold()):
        words = [word for word in re.findall(r"[\w-]+", clause) if word not in _PASSED_OVER]
        _read_clause(words, attributes, found)
    return found


def _read_clause(words: list[str], attributes: Sequence[Attribute], found: Understood) -> None:
    waiting: list[str] = []  # for the thing that they describe
    bare: list[str] = []  # a thing that nothing has been said of
    things: list[Attribute] = []
    negated = ""
    for word in words:
        if word in _NOT:
            negated = word
            continue
        known = _only_class(word, attributes, found) | _short(word, attributes, found)
        here = [x for x in attributes if _names(x.name, word, THINGS)]
        if here:
            # "no red top" is no class of any attribute.
            left = [x for x in waiting if negated or not _describe(x, here, found)]
            said = known or len(left) < len(waiting) or _presence(here, bool(negated), found)
            found.unknown.extend(bare + [negated] * (bool(negated) and not said) + left)
            things, waiting, bare, negated = here, [], [word] * (not said), ""
        elif bare and _describe(word, things, found):
            bare = []
        elif not known:
            waiting.append(word)
    found.unknown.extend(bare + [x for x in waiting if not _describe(x, things, found)])


def _names(name: str, word: str, table: Mapping[str, tuple[str, ...]]) -> bool:
    return word == name or word in table.get(name, ())


def _describe(word: str, things: Sequence[Attribute], found: Understood) -> bool:
    """Take a word for a class of one of the things, if it is one."""
    for attribute in things:
        for name in attribute.classes:
            if _names(name.casefold(), word, CLASSES):
                return found.wanted.setdefault(attribute.name, name) == name
    return False


def _only_class(word: str, attributes: Sequence[Attribute], found: Understood) -> bool:
    """Take a word that names the thing too: "female", "adult", "skirt"; not "red"."""
    return _describe(word, [x for x in attributes if x.name not in THINGS], found)


def _short(word: str, attributes: Sequence[Attribute], found: Understood) -> bool:
    return word == "shorts" and _describe(
        "short", [x for x in attributes if x.name == "lower_length"], found
    )


def _presence(things: Sequence[Attribute], negated: bool, found: Understood) -> bool:
    """Take a thing that one has or not."""
    for attribute in things:
        if set(attribute.classes) == {"no", "yes"}:
            found.wanted[attribute.name] = "no" if negated else "yes"
            return True
    return False
