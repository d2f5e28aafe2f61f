"""What scores are computed from, as NumPy arrays: what NumPy would change in silence is refused.

It drops the mask of a masked array, wraps whole numbers that need more than 63 bits, reads text as
numbers and takes the real part of complex ones.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgsam_jax.errors import InputError

_LARGEST = np.iinfo(np.int64).max


def integers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    """Identities, cameras or classes as a row.

    Args:
      name: of the argument, for the error.
      values: [n] int of any width; an empty list is a row too.

    Returns:
      [n] int64.

    Raises:
      InputError: other shapes or types (floats, truth values, text, objects, masked arrays), or
        numbers that do not fit 64 bits.

    Example:
      >>> integers("labels", np.array([3, 255], np.uint8))
      array([  3, 255])
      >>> integers("labels", [0.5])
      Traceback (most recent call last):
      fgsam_jax.errors.InputError: labels must be a row of integers, but came as float64 with the \
shape (1,).
    """
    array = _array(name, values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(
            f"{name} must be a row of integers, "
            f"but came as {array.dtype} with the shape {array.shape}."
        )
    if array.size and array.max() > _LARGEST:
        raise InputError(f"{name} must fit 64 bits with a sign, but {array.max()} is among them.")
    return array.astype(np.int64)


def numbers(name: str, values: ArrayLike, axes: str) -> NDArray[Any]:
    """Embeddings or distances as they are, not copied; they may be memory-mapped.

    Args:
      name: of the argument, for the error.
      values: two axes of real numbers: float, bfloat16, int or bool.
      axes: what they are, such as "[queries, gallery]", for the error.

    Raises:
      InputError: other shapes or types (complex numbers, text, objects, masked arrays).

    Example:
      >>> numbers("distances", [[0.5, 2.0]], "[queries, gallery]").shape
      (1, 2)
      >>> numbers("distances", [["0.5", "2"]], "[queries, gallery]")
      Traceback (most recent call last):
      fgsam_jax.errors.InputError: distances must be numbers, but came as <U3.
    """
    array = _array(name, values)
    if array.ndim != 2:
        raise InputError(f"{name} must have the shape {axes}, but came with {array.shape}.")
    if not np.can_cast(array.dtype, np.float64, "same_kind"):
        raise InputError(f"{name} must be numbers, but came as {array.dtype}.")
    return array


def whole(name: str, value: int, least: int) -> int:
    """A whole number that is not below `least`. Raises InputError.

    Example:
      >>> whole("max_rank", 0, 1)
      Traceback (most recent call last):
      fgsam_jax.errors.InputError: max_rank is 0: expected a whole number from 1 on.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} is {value!r}: expected a whole number from {least} on.")
    return int(value)


def _array(name: str, values: ArrayLike) -> NDArray[Any]:
    rows = values if isinstance(values, list | tuple) else [values]
    if any(isinstance(row, np.ma.MaskedArray) for row in rows):
        raise InputError(
            f"{name} came as a masked array: take the masked images out, or give their distances "
            f"as infinity."
        )
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"{name} cannot be made an array: {error}") from None
