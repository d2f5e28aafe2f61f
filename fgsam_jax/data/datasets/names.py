"""Names of people, cameras and classes as people write them: no name at all, or one name twice."""

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
      what: they name, with the file or folder that has them.
      names: {name: where it stands there}.

    Raises:
      InputError: it says both names.
    """
    seen: dict[str, str] = {}
    for name, where in names.items():
        first = seen.setdefault(_folded(name), name)
        if first != name:
            alike = unicodedata.normalize("NFC", first) == unicodedata.normalize("NFC", name)
            show = ascii if alike else repr
            raise InputError(
                f"{what} {show(first)}{names[first]} and {show(name)}{where} seem to be one, "
                f"written in two ways: write both in one way, or rename one."
            )


def _folded(name: str) -> str:
    """The same for names that are one."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    text = "".join(x for x in text if unicodedata.category(x) != "Cf")  # without width, such as BOM
    text = " ".join(text.split())
    number = _NUMBER.fullmatch(text)
    return number[1] if number else text
