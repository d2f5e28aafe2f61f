"""JAX's operations on entries and axes in ONNX, and the table of all that are known.

Their arguments are as in `layers`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fgsam_jax.export.graph import Graph, Operand
from fgsam_jax.export.layers import convolution, fixed, gather, pool, product, reshaped


def _reshape(graph: Graph, x: str, *, new_sizes: tuple, **_: Any) -> Operand:
    return reshaped(graph, x, new_sizes)


def _squeeze(graph: Graph, x: str, *, dimensions: tuple, **_: Any) -> Operand:
    return graph.add("Squeeze", x, np.array(dimensions, np.int64))


def _broadcast(
    graph: Graph, x: str, *, shapes: list, shape: tuple, broadcast_dimensions: tuple, **_: Any
) -> Operand:
    (given,) = shapes
    narrow: list = [1] * len(shape)
    for size, axis in zip(given, broadcast_dimensions, strict=True):
        narrow[axis] = size
    y = x if narrow == list(given) else reshaped(graph, x, narrow)
    return y if narrow == list(shape) else graph.add("Expand", y, np.array(fixed(shape, 1)))


def _transpose(graph: Graph, x: str, *, permutation: tuple, **_: Any) -> Operand:
    return graph.transpose(x, tuple(permutation))


def _cast(graph: Graph, x: str, *, new_dtype: Any, **_: Any) -> Operand:
    return graph.elementwise("Cast", x, to=_TYPES[np.dtype(new_dtype).name])


def _rsqrt(graph: Graph, x: str, **_: Any) -> Operand:
    return graph.elementwise("Reciprocal", graph.elementwise("Sqrt", x))


def _square(graph: Graph, x: str, **_: Any) -> Operand:
    return graph.elementwise("Mul", x, x)


def _is_finite(graph: Graph, x: str, **_: Any) -> Operand:
    return graph.elementwise("Less", graph.elementwise("Abs", x), np.array(np.inf, np.float32))


def _unequal(graph: Graph, x: Operand, y: Operand, **_: Any) -> Operand:
    return graph.elementwise("Not", graph.elementwise("Equal", x, y))


def _maximum(graph: Graph, x: Operand, y: Operand, **_: Any) -> Operand:
    if isinstance(x, str) and isinstance(y, np.ndarray) and not y.any():
        return graph.elementwise("Relu", x)
    return graph.elementwise("Max", x, y)


def _add(graph: Graph, x: Operand, y: Operand, **_: Any) -> Operand:
    if isinstance(x, np.ndarray):
        x, y = y, x
    nothing = isinstance(y, np.ndarray) and not y.any()
    return x if nothing else graph.elementwise("Add", x, y)


def _select(graph: Graph, which: Operand, no: Operand, yes: Operand, **_: Any) -> Operand:
    if isinstance(which, np.ndarray) and isinstance(no, np.ndarray) and not no.any():
        # What was chosen before the file is a factor, which runtimes are quicker with.
        return graph.elementwise("Mul", yes, which.astype(no.dtype)) if which.any() else no
    return graph.elementwise("Where", which, yes, no)


def _reduce(kind: str, graph: Graph, x: str, *, axes: tuple, **_: Any) -> Operand:
    return graph.reduce(kind, x, tuple(axes))


def _concatenate(graph: Graph, *parts: Operand, dimension: int, **_: Any) -> Operand:
    return graph.along("Concat", dimension, list(parts))


def _stack(graph: Graph, *parts: Operand, axis: int, **_: Any) -> Operand:
    place = np.array([axis])
    return graph.add("Concat", *(graph.add("Unsqueeze", x, place) for x in parts), axis=axis)


def _unstack(graph: Graph, x: str, *, shapes: list, axis: int, **_: Any) -> list[Operand]:
    count = shapes[0][axis]
    parts = _split(graph, x, sizes=(1,) * count, axis=axis)
    return [graph.add("Squeeze", part, np.array([axis])) for part in parts]


def _split(graph: Graph, x: str, *, sizes: tuple, axis: int, **_: Any) -> list[Operand]:
    if len(sizes) == 1:
        return [x]
    return graph.along("Split", axis, [x], np.array(sizes, np.int64), results=len(sizes))


def _slice(
    graph: Graph, x: str, *, shapes: list, start_indices: tuple, limit_indices: tuple,
    strides: tuple | None, **_: Any,
) -> Operand:  # fmt: skip
    strides = strides or (1,) * len(start_indices)
    whole = [(0, size, 1) for size in shapes[0]]
    cuts = zip(start_indices, limit_indices, strides, strict=True)
    axes = {axis: cut for axis, cut in enumerate(cuts) if cut != whole[axis]}
    if not axes:
        return x
    starts, ends, steps = (np.array(x, np.int64) for x in zip(*axes.values(), strict=True))
    return graph.add("Slice", x, starts, ends, np.array(list(axes)), steps)


def _reverse(graph: Graph, x: str, *, dimensions: tuple, **_: Any) -> Operand:
    ones = np.ones(len(dimensions), np.int64)
    end = np.iinfo(np.int64).min
    return graph.add("Slice", x, -ones, end * ones, np.array(dimensions, np.int64), -ones)


_TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9}  # numbers of ONNX
ELEMENTWISE = {
    "abs": "Abs", "and": "And", "div": "Div", "eq": "Equal", "exp": "Exp",
    "log": "Log", "logistic": "Sigmoid", "lt": "Less", "min": "Min", "mul": "Mul", "neg": "Neg",
    "sign": "Sign", "sqrt": "Sqrt", "sub": "Sub", "tanh": "Tanh",
}  # fmt: skip
OPERATORS: dict[str, Callable] = {
    "add": _add,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": convolution,
    "convert_element_type": _cast,
    "dot_general": product,
    "gather": gather,
    "is_finite": _is_finite,
    "max": _maximum,
    "ne": _unequal,
    "reduce_max": partial(_reduce, "ReduceMax"),
    "reduce_sum": partial(_reduce, "ReduceSum"),
    "reduce_window_max": partial(pool, "MaxPool"),
    "reduce_window_sum": partial(pool, "AveragePool"),
    "reshape": _reshape,
    "rev": _reverse,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "slice": _slice,
    "split": _split,
    "square": _square,
    "squeeze": _squeeze,
    "stack": _stack,
    "transpose": _transpose,
    "unstack": _unstack,  # of JAX 0.12
}
