"""Types of options that have bounds, and the one check of all options against their types."""

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints


class Bound(NamedTuple):
    """What an option must be, in words and as a test."""

    need: str
    holds: Callable[[Any], bool]


# Upper bounds lie far above any use: they catch a slip before it is an array of terabytes.
_MOST = 2**20
_NAME = re.compile(r"\w[\w .+-]{0,59}")

Count = Annotated[int, Bound(f"1 to {_MOST}", lambda x: 1 <= x <= _MOST)]
Natural = Annotated[int, Bound(f"0 to {_MOST}", lambda x: 0 <= x <= _MOST)]
Batch = Annotated[int, Bound("1 to 65536", lambda x: 1 <= x <= 65536)]
Border = Annotated[int, Bound("0 to 256", lambda x: 0 <= x <= 256)]
Pixels = Annotated[int, Bound("1 to 8192", lambda x: 1 <= x <= 8192)]
Eights = Annotated[
    int, Bound("0 or a multiple of 8 up to 8192", lambda x: 0 <= x <= 8192 and x % 8 == 0)
]
Seed = Annotated[int, Bound("0 or more and below 2**32", lambda x: 0 <= x < 2**32)]
Odd = Annotated[int, Bound("an odd number from 1 to 63", lambda x: 1 <= x <= 63 and x % 2)]
OneOrTwo = Annotated[int, Bound("1 or 2", lambda x: x in (1, 2))]
Factor = Annotated[float, Bound("above 0 and at most 64", lambda x: 0 < x <= 64)]
Rate = Annotated[float, Bound("above 0 and at most 100", lambda x: 0 < x <= 100)]
Spread = Annotated[float, Bound("0.1 to 1000", lambda x: 0.1 <= x <= 1000)]
Exponent = Annotated[float, Bound("0 to 16", lambda x: 0 <= x <= 16)]
NonNegative = Annotated[float, Bound("0 to 1000000", lambda x: 0 <= x <= 1e6)]
Share = Annotated[float, Bound("0 or more and below 1", lambda x: 0 <= x < 1)]
Probability = Annotated[float, Bound("0 to 1", lambda x: 0 <= x <= 1)]
Name = Annotated[
    str,
    Bound(
        "a name of at most 60 letters, digits, blanks and ._+- that begins with a letter or digit",
        lambda x: _NAME.fullmatch(x) and len(x.encode()) < 200,
    ),
]
Line = Annotated[
    str, Bound("one line of at most 100 characters", lambda x: len(x) <= 100 and x.isprintable())
]

_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "True or False"}


def misfits(value: Any, kind: Any, where: str) -> Iterator[str]:
    """Say of every option that does not fit its type what is needed and what came.

    Args:
      value: an option, or a dataclass of options; dataclasses and tuples are looked through.
      kind: its type.
      where: its name in the messages.
    """
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, kind):
        kinds = get_type_hints(type(value), include_extras=True)
        for name, inner in kinds.items():
            yield from misfits(getattr(value, name), inner, f"{where}.{name}")
        for name in vars(value).keys() - kinds.keys():  # a dataclass takes any attribute
            yield f"{where} has no option {name}: it has {', '.join(kinds)}"
    elif get_origin(kind) is tuple and isinstance(value, tuple):
        for index, part in enumerate(value):
            yield from misfits(part, get_args(kind)[0], f"{where}[{index}]")
    elif complaint := _complaint(value, kind):
        yield f"{where} {complaint}"


def _complaint(value: Any, kind: Any) -> str:
    """Empty where the value is one of a `Literal`, or of its type, finite and within bounds."""
    if get_origin(kind) is Literal:
        fits = isinstance(value, str) and value in get_args(kind)
        return "" if fits else f"is one of {', '.join(get_args(kind))}; got {value!r}"
    base, *bounds = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    base = get_origin(base) or base
    fits = isinstance(value, int | float if base is float else base)
    if not fits or isinstance(value, bool) != (base is bool):  # True is an int
        return f"must be {_KINDS.get(base, f'a {base.__name__}')}, got {value!r}"
    if base is float and not abs(value) <= sys.float_info.max:
        return f"must be finite, got {value}"
    if base is str and "\0" in value:
        return f"cannot hold a zero byte, got {value!r}"
    for bound in bounds:
        if not bound.holds(value):
            return f"must be {bound.need}, got {value!r}"
    return ""
