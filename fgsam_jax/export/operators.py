"""JAX's operations in ONNX: a traced program, operation by operation.

What depends on no input is computed here, so that the file holds results and not their making: of
the sketch tables, for one, the places that they gather from.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import is_symbolic_dim
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from fgsam_jax.export.graph import Graph, Operand


def inline(graph: Graph, jaxpr: Jaxpr, constants: Sequence, operands: Sequence) -> list[Operand]:
    """Add a program to a graph.

    Args:
      graph: to add to.
      jaxpr: the program; sizes that are not known are symbolic.
      constants: values of its constants.
      operands: values of its arguments.

    Returns:
      Values of its results. A known value has 1 where an axis is as long as the batch.

    Raises:
      NotImplementedError: an operation that no model here has.
    """
    known = [np.asarray(x) for x in constants]
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*known, *operands), strict=True))

    def value(x: Any) -> Operand:
        return np.asarray(x.val, jax.typeof(x.val).dtype) if isinstance(x, Literal) else values[x]

    for equation in jaxpr.eqns:
        found = _equation(graph, equation, [value(x) for x in equation.invars])
        values.update(zip(equation.outvars, found, strict=True))
    return [value(x) for x in jaxpr.outvars]


def _equation(graph: Graph, equation: JaxprEqn, operands: list[Operand]) -> list[Operand]:
    name, how = equation.primitive.name, equation.params
    if name == "platform_index":  # no CPU's form: a runtime has kernels for the plain one
        return [np.array(how["platforms"].index(None), np.int32)]
    if name == "cond":
        return _closed(graph, how["branches"][int(operands[0])], operands[1:])
    if name == "scan":
        return _scan(graph, how, operands)
    inner = how.get("jaxpr", how.get("call_jaxpr"))
    if inner is not None:
        return _closed(graph, inner, operands)
    if name in _SAME:
        return operands
    if all(isinstance(x, np.ndarray) for x in operands):
        return _computed(equation, operands)
    if name in _ELEMENTWISE:
        return [graph.elementwise(_ELEMENTWISE[name], *operands)]
    if name not in _OPERATORS:
        raise NotImplementedError(f"the operation {name} has no form in ONNX here")
    found = _OPERATORS[name](graph, *operands, shapes=[_shape(x) for x in equation.invars], **how)
    return found if isinstance(found, list) else [found]


def _shape(x: Any) -> tuple:
    return x.aval.shape


def _closed(graph: Graph, inner: ClosedJaxpr | Jaxpr, operands: list[Operand]) -> list[Operand]:
    if isinstance(inner, ClosedJaxpr):
        return inline(graph, inner.jaxpr, inner.consts, operands)
    return inline(graph, inner, [], operands)


def _scan(graph: Graph, how: dict[str, Any], operands: list[Operand]) -> list[Operand]:
    """A loop of known length, unrolled; what it carries alone, no series."""
    fixed, carried = operands[: how["num_consts"]], operands[how["num_consts"] :]
    if len(carried) != how["num_carry"]:
        raise NotImplementedError("a scan over series has no form in ONNX here")
    for _ in range(how["length"]):
        carried = _closed(graph, how["jaxpr"], [*fixed, *carried])
    return carried


def _computed(equation: JaxprEqn, operands: list[Operand]) -> list[Operand]:
    how = {
        name: _sizes(x, 1) if isinstance(x, tuple) and any(map(is_symbolic_dim, x)) else x
        for name, x in equation.params.items()
    }
    found = equation.primitive.bind(*map(jnp.asarray, operands), **how)
    return [np.asarray(x) for x in (found if equation.primitive.multiple_results else [found])]


def _sizes(shape: Sequence, batch: int) -> tuple:
    return tuple(batch if is_symbolic_dim(size) else size for size in shape)


def _reshaped(graph: Graph, x: Operand, shape: Sequence) -> Operand:
    return graph.add("Reshape", x, np.array(_sizes(shape, -1), np.int64))


def _reshape(graph: Graph, x: str, *, new_sizes: tuple, **_: Any) -> Operand:
    return _reshaped(graph, x, new_sizes)


def _squeeze(graph: Graph, x: str, *, dimensions: tuple, **_: Any) -> Operand:
    return graph.add("Squeeze", x, np.array(dimensions, np.int64))


def _broadcast(
    graph: Graph, x: str, *, shapes: list, shape: tuple, broadcast_dimensions: tuple, **_: Any
) -> Operand:
    (given,) = shapes
    narrow: list = [1] * len(shape)
    for size, axis in zip(given, broadcast_dimensions, strict=True):
        narrow[axis] = size
    y = x if narrow == list(given) else _reshaped(graph, x, narrow)
    return y if narrow == list(shape) else graph.add("Expand", y, np.array(_sizes(shape, 1)))


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


def _split(graph: Graph, x: str, *, sizes: tuple, axis: int, **_: Any) -> Operand:
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


def _convolution(
    graph: Graph, x: str, kernel: np.ndarray, *, window_strides: tuple, padding: tuple,
    rhs_dilation: tuple, dimension_numbers: Any, feature_group_count: int, **_: Any,
) -> Operand:  # fmt: skip
    spec = dimension_numbers
    weights = kernel.transpose(spec.rhs_spec)
    y = graph.add(
        "Conv",
        graph.transpose(x, tuple(spec.lhs_spec)),
        weights,
        np.zeros(len(weights), weights.dtype),
        strides=window_strides,
        pads=[edge for edges in zip(*padding, strict=True) for edge in edges],
        dilations=rhs_dilation,
        group=feature_group_count,
    )
    return graph.transpose(y, tuple(np.argsort(spec.out_spec)))


def _pool(
    kind: str, graph: Graph, x: str, *, window_dimensions: tuple, window_strides: tuple,
    padding: tuple, **_: Any,
) -> Operand:  # fmt: skip
    """Pooling of [batch, height, width, channels]; the sum is a mean times the size."""
    window = window_dimensions[1:3]
    if kind == "AveragePool" and np.prod(window) == 1:
        return x
    y = graph.add(
        kind,
        graph.transpose(x, (0, 3, 1, 2)),
        kernel_shape=window,
        strides=window_strides[1:3],
        pads=[edge for edges in zip(*padding[1:3], strict=True) for edge in edges],
    )
    if kind == "AveragePool":
        y = graph.add("Mul", y, np.array(np.prod(window), np.float32))
    return graph.transpose(y, (0, 2, 3, 1))


def _product(
    graph: Graph, x: Operand, y: Operand, *, shapes: list, dimension_numbers: tuple, **_: Any
) -> Operand:
    """Matrices of every entry of the batch axes, the free and the summed axes joined."""
    (sums_x, sums_y), (batch_x, batch_y) = dimension_numbers
    sizes_x, sizes_y = shapes
    free_x, free_y = (
        tuple(axis for axis in range(len(sizes)) if axis not in (*sums, *batch))
        for sizes, sums, batch in zip(shapes, (sums_x, sums_y), (batch_x, batch_y), strict=True)
    )
    lead = [sizes_x[axis] for axis in batch_x]
    wide = [sizes_x[axis] for axis in sums_x]
    rows, columns = [sizes_x[a] for a in free_x], [sizes_y[a] for a in free_y]
    x = graph.transpose(x, (*batch_x, *free_x, *sums_x))
    y = graph.transpose(y, (*batch_y, *sums_y, *free_y))
    x = _joined(graph, x, lead, rows, wide)
    y = _joined(graph, y, lead, wide, columns)
    found = graph.add("MatMul", x, y)
    return (
        found if len(rows) == len(columns) == 1 else _reshaped(graph, found, lead + rows + columns)
    )


def _joined(graph: Graph, x: Operand, lead: list, rows: list, columns: list) -> Operand:
    """Axes [*lead, *rows, *columns] as [*lead, rows, columns]."""
    if len(rows) == len(columns) == 1:
        return x
    shape = _sizes([*lead, _length(rows), _length(columns)], -1)
    return x.reshape(shape) if isinstance(x, np.ndarray) else _reshaped(graph, x, shape)


def _length(sizes: list) -> Any:
    return next(filter(is_symbolic_dim, sizes), None) or int(np.prod(sizes))


def _gather(
    graph: Graph, x: str, places: np.ndarray, *, shapes: list, dimension_numbers: Any,
    slice_sizes: tuple, **how: Any,
) -> Operand:  # fmt: skip
    """A range or places of one axis; else by a table of the places of all entries of an image."""
    numbers, sizes, taken = dimension_numbers, _sizes(shapes[0], 1), _sizes(slice_sizes, 1)
    axes = numbers.start_index_map
    one = places.ndim == 2 and len(axes) == 1 and numbers.collapsed_slice_dims == axes
    if one and axes[0] not in numbers.offset_dims:
        (axis,), last = axes, len(sizes) - 1
        kept = np.clip(places[:, 0], 0, sizes[axis] - 1)
        if axis != last:
            return graph.along("Gather", axis, [x], kept)
        # From the last axis runtimes fetch number by number, from one before it whole rows.
        front = (0, last, *range(1, last))
        rows = graph.add("Gather", graph.transpose(x, front), kept, axis=1)
        return graph.transpose(rows, tuple(np.argsort(front)))
    if places.ndim == 1 and not numbers.collapsed_slice_dims:
        for axis, first in zip(axes, places, strict=True):
            x = graph.along("Gather", axis, [x], first + np.arange(taken[axis], dtype=np.int32))
        return x
    entries = np.arange(np.prod(sizes), dtype=np.int32).reshape(sizes)
    how = {name: how[name] for name in ("unique_indices", "indices_are_sorted", "mode")}
    table = jax.lax.gather(entries, places, numbers, taken, **how)
    flat = _reshaped(graph, x, (-1, entries.size))
    return graph.add("Gather", flat, np.asarray(table)[0], axis=1)


_SAME = ("name", "stop_gradient", "optimization_barrier", "copy", "copy_p")
_TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9}  # numbers of ONNX
_ELEMENTWISE = {
    "abs": "Abs", "and": "And", "div": "Div", "eq": "Equal", "exp": "Exp",
    "log": "Log", "logistic": "Sigmoid", "lt": "Less", "min": "Min", "mul": "Mul", "neg": "Neg",
    "sign": "Sign", "sqrt": "Sqrt", "sub": "Sub", "tanh": "Tanh",
}  # fmt: skip
_OPERATORS: dict[str, Callable] = {
    "add": _add,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolution,
    "convert_element_type": _cast,
    "dot_general": _product,
    "gather": _gather,
    "is_finite": _is_finite,
    "max": _maximum,
    "ne": _unequal,
    "reduce_max": partial(_reduce, "ReduceMax"),
    "reduce_sum": partial(_reduce, "ReduceSum"),
    "reduce_window_max": partial(_pool, "MaxPool"),
    "reduce_window_sum": partial(_pool, "AveragePool"),
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
}
