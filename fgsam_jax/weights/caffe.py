"""Caffe's weights: a .caffemodel read off its bytes, or the blobs of one as a folder of .npy.

A .caffemodel is a protocol buffer. Of its messages only names, shapes and numbers are read, by the
field numbers of caffe.proto (BSD): NetParameter.layer = 100 and its older form layers = 2, their
name = 1 and 4, their blobs = 7 and 6; BlobProto.shape = 7 or num, channels, height, width = 1..4,
data = 5, double_data = 8.
"""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fgsam_jax.errors import InputError
from fgsam_jax.runtime.files import read_bytes, regular_file

_MOST_AXES = 32  # Caffe's own bound
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
_LAYER, _OLD_LAYER = 100, 2


def read_model(path: Path) -> dict[str, np.ndarray]:
    """The blobs of a .caffemodel by `<layer>_<number>`. Raises InputError if it is broken."""
    blobs: dict[str, np.ndarray] = {}
    try:
        for field, _, layer in _fields(memoryview(read_bytes(path))):
            if field in (_LAYER, _OLD_LAYER):
                name_field, blob_field = (1, 7) if field == _LAYER else (4, 6)
                name = _text([value for f, _, value in _fields(layer) if f == name_field])
                values = [value for f, _, value in _fields(layer) if f == blob_field]
                for number, value in enumerate(values):
                    if f"{name}_{number}" in blobs:
                        raise _BrokenError(f"{name} has its blob {number} twice")
                    blobs[f"{name}_{number}"] = _blob(value, f"{name}, blob {number}")
    except (_BrokenError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is no whole .caffemodel: {error}") from None
    return blobs


def read_folder(path: Path) -> dict[str, np.ndarray]:
    """Every .npy of a folder by its name. Raises InputError if one is broken or holds objects."""
    arrays = {}
    for file in sorted(path.glob("*.npy")):
        regular_file(file)
        try:
            # A mapped file cannot declare more than it has.
            arrays[file.stem] = np.array(np.load(file, mmap_mode="r", allow_pickle=False))
        except Exception as error:  # a broken header makes NumPy raise almost anything
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{file} is no whole array of numbers: {reason}") from None
    if not arrays:
        raise InputError(f"{path} holds no .npy: needed the blobs of a Caffe model, one in a file")
    return arrays


class _BrokenError(Exception):
    """The bytes are no message, or end too early."""


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Number, wire type and bytes of each field; a varint's bytes are those it is written in."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            _, end = _varint(message, at)
        elif kind == _BYTES:
            size, at = _varint(message, at)
            end = at + size
        elif kind in (_DOUBLE, _FLOAT):
            end = at + (8 if kind == _DOUBLE else 4)
        else:
            raise _BrokenError(f"byte {at} begins no field")
        if end > len(message):
            raise _BrokenError(f"{end - at} bytes are declared and {len(message) - at} are left")
        yield field, kind, message[at:end]
        at = end


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at a place, and the place after it."""
    value = 0
    for index in range(10):
        if at + index >= len(message):
            raise _BrokenError("it ends inside a number")
        byte = message[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise _BrokenError(f"byte {at} begins no number")


def _text(values: list[memoryview]) -> str:
    return bytes(values[-1]).decode() if values else ""


def _blob(message: memoryview, name: str) -> np.ndarray:
    """A BlobProto as an array of its shape."""
    old = {}
    shape: list[int] | None = None
    pieces = {5: bytearray(), 8: bytearray()}
    for field, kind, value in _fields(message):
        if field in (1, 2, 3, 4) and kind == _VARINT:
            old[field] = _varint(value, 0)[0]
        elif field == 7:
            sizes = (size for f, _, v in _fields(value) if f == 1 for size in _varints(v))
            shape = list(itertools.islice(sizes, _MOST_AXES + 1))
            if len(shape) > _MOST_AXES:
                raise _BrokenError(f"{name} declares more than {_MOST_AXES} axes")
        elif field in pieces:
            pieces[field] += value
    numbers = np.dtype("<f8" if pieces[8] else "<f4")
    data = pieces[8] or pieces[5]
    if shape is None:
        # The old form has always four sizes, and ones before those that count.
        shape = [old.get(field, 1) for field in (1, 2, 3, 4)]
        while len(shape) > 1 and shape[0] == 1:
            shape.pop(0)
    if len(data) != numbers.itemsize * math.prod(shape):
        raise _BrokenError(
            f"{name} declares {tuple(shape)} and has {len(data) // numbers.itemsize} numbers"
        )
    return np.frombuffer(data, numbers).reshape(shape)


def _varints(value: memoryview) -> Iterator[int]:
    """The numbers of a repeated field, packed or one by one."""
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield number
