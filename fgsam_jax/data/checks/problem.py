"""What a check returns."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Something wrong with a set.

    Attributes:
      text: one line.
      cases: where it was found, if that helps: a line for each.
      fatal: whether it would spoil a training.
    """

    text: str
    cases: tuple[str, ...] = ()
    fatal: bool = False
