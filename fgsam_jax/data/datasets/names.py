"""Names of people, cameras and classes as they are written: which say nothing, and which are one."""

import re
import unicodedata
from collections.abc import Mapping

from fgsam_jax.errors import InputError

# What programs for tables write where they know nothing.
_MISSING = frozenset({"", "nan", "-nan", "nat", "null", "none", "na", "n/a", "#n/a", "<na>"})
_NUMBER = re.compile(r"0*([0-9]+)(\.0*)?")


def is_missing(text: str) -> bool:
    """Whether a name or a field says that nothing is known.

    >>> is_missing("NaN"), is_missing("N/A"), is_missing("Nana")
    (True, True, False)
    """
    return text.strip().casefold() in _MISSING


def check_distinct(what: str, names: Mapping[str, str]) -> None:
    """Refuse two names that most likely are one.

    Such names differ in case, in the composition of letters with marks, in blanks, or in how a
    number is written: Anna and anna, a Mac's José and everyone else's, 1, 01 and 1.0.

    Args:
      what: they name, in the plural.
      names: {name: where it stands}.

    Raises:
      InputError: it says both names and both places.
    """
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(_folded(name), name)
        if first != name:
            alike = unicodedata.normalize("NFC", first) == unicodedata.normalize("NFC", name)
            show = ascii if alike else repr
            raise InputError(
                f"the {what} {show(first)} ({names[first]}) and {show(name)} ({names[name]}) seem "
                f"to be one, written in two ways: write both in one way, or rename one"
            )


def _folded(name: str) -> str:
    """The same for names that are one."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    text = "".join(x for x in text if unicodedata.category(x) != "Cf")  # without width, such as BOM
    text = " ".join(text.split())
    number = _NUMBER.fullmatch(text)
    return number[1] if number else text
