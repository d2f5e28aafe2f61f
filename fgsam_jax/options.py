"""Types of options that have bounds, and the one check of all options against their types."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints


class Bound(NamedTuple):
    """What an option must be, in words and as a test."""

    need: str
    holds: Callable[[float], bool]


Count = Annotated[int, Bound("1 or more", lambda x: x >= 1)]
Natural = Annotated[int, Bound("0 or more", lambda x: x >= 0)]
Seed = Annotated[int, Bound("0 or more and below 2**32", lambda x: 0 <= x < 2**32)]
Eights = Annotated[int, Bound("0 or a multiple of 8", lambda x: x >= 0 and x % 8 == 0)]
Positive = Annotated[float, Bound("above 0", lambda x: x > 0)]
NonNegative = Annotated[float, Bound("0 or more", lambda x: x >= 0)]
Share = Annotated[float, Bound("0 or more and below 1", lambda x: 0 <= x < 1)]
Probability = Annotated[float, Bound("0 to 1", lambda x: 0 <= x <= 1)]


def misfits(options: Any, where: str) -> Iterator[str]:
    """Say of every option that does not fit its type what is needed and what came.

    Args:
      options: a dataclass; dataclasses in its fields, and in tuples there, are looked through too.
      where: its name in the messages.
    """
    for name, kind in get_type_hints(type(options), include_extras=True).items():
        value = getattr(options, name)
        parts = enumerate(value) if isinstance(value, tuple) else ()
        inner = {f"{where}.{name}[{index}]": part for index, part in parts}
        for place, part in (inner or {f"{where}.{name}": value}).items():
            if dataclasses.is_dataclass(part):
                yield from misfits(part, place)
            elif complaint := _complaint(part, kind):
                yield f"{place} {complaint}"


def _complaint(value: Any, kind: Any) -> str:
    """Empty where the value is one of a `Literal`, within its bounds and finite."""
    if get_origin(kind) is Literal and value not in get_args(kind):
        return f"is one of {', '.join(get_args(kind))}; got {value!r}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be finite, got {value}"
    for bound in getattr(kind, "__metadata__", ()):
        if not bound.holds(value):
            return f"must be {bound.need}, got {value}"
    return ""
