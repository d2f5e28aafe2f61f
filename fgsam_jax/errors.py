"""The one exception for what a user can mend, and the one check of arrays given to functions."""

import re
from typing import Any

import numpy as np

_NEEDED = re.compile(r"\w+ (int )?\[(.*?)\]")
_OR_ONE = " or 1"
_LONGEST = 600  # characters of a message; what a file says of itself may be a megabyte


class InputError(ValueError):
    """Something the user gave cannot be used: a folder, a field, an image, a checkpoint.

    The message is one line that says what was needed, what came and what to do. `main` prints
    it and exits with status 1; every other exception is a bug and keeps its traceback.
    """

    def __init__(self, message: object):
        super().__init__(printable(message, _LONGEST))


def printable(text: object, limit: int = 100) -> str:
    r"""Text in one line that a terminal only shows, cut in its middle to `limit` characters.

    Names and values that come from files pass through this before a person sees them: they may
    hold line ends, a terminal's commands, or a megabyte.

    >>> printable("a\nb\x1b[31m")
    'a b\\x1b[31m'
    """
    text = str(text)
    if len(text) > limit:
        begin = limit * 2 // 3
        text = f"{text[:begin]} ... {text[len(text) - (limit - begin) :]}"
    text = " ".join(text.splitlines()) if len(text.splitlines()) > 1 else text
    return "".join(x if x.isprintable() else ascii(x)[1:-1] for x in text)


def check_arrays(needed: str, *arrays: Any) -> None:
    """Refuse arrays of other shapes than needed, which would broadcast to something unmeant.

    Shapes and types are known while JAX traces a program: the check leaves nothing in it.

    Args:
      needed: name, "int" if whole numbers are, and axes of each array. Axes of one name are equally
        long, and "..." is any number of axes. A number has no axes or such of "... or 1".
      arrays: in the same order.

    Raises:
      InputError: a shape or type that does not fit, a list, or a masked array.

    Example:
      >>> check_arrays("embeddings [batch, dim], labels int [batch]", np.ones((8, 2)), np.ones(8))
      Traceback (most recent call last):
      fgsam_jax.errors.InputError: needed embeddings [batch, dim], labels int [batch]; \
got float64 [8, 2], float64 [8]
    """
    lengths: dict[str, int] = {}
    fits = [
        _fits(array, bool(whole), axes.split(", ") if axes else [], lengths)
        for (whole, axes), array in zip(_NEEDED.findall(needed), arrays, strict=True)
    ]
    if not all(fits):
        raise InputError(f"needed {needed}; got {', '.join(map(_told, arrays))}")


def _fits(array: Any, whole: bool, axes: list[str], lengths: dict[str, int]) -> bool:
    if isinstance(array, int | float):
        return all(axis.endswith(_OR_ONE) for axis in axes)
    if not hasattr(array, "shape") or isinstance(array, np.ma.MaskedArray):
        return False
    if whole and array.dtype.kind not in "iu":
        return False
    shape = array.shape
    if axes[:1] == ["..."]:
        axes = axes[1:]
        shape = shape[max(0, len(shape) - len(axes)) :]
    return len(shape) == len(axes) and all(
        (axis.endswith(_OR_ONE) and length == 1)
        or lengths.setdefault(axis.removesuffix(_OR_ONE), length) == length
        for axis, length in zip(axes, shape, strict=True)
    )


def _told(array: Any) -> str:
    masked = "masked " * isinstance(array, np.ma.MaskedArray)
    if hasattr(array, "shape"):
        return f"{masked}{array.dtype} {list(array.shape)}"
    return type(array).__name__
