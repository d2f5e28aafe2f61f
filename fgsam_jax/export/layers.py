"""Convolutions, pooling, products and gathers of JAX in ONNX.

Each function takes the graph, operands, and by name `shapes` of the operands and the parameters of
JAX's operation; a length that is not known, the batch, is symbolic in them.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.export import is_symbolic_dim

from fgsam_jax.export.graph import Graph, Operand


def fixed(shape: Sequence, batch: int) -> tuple:
    """A shape with a number for the length that is not known."""
    return tuple(batch if is_symbolic_dim(size) else size for size in shape)


def reshaped(graph: Graph, x: Operand, shape: Sequence) -> Operand:
    """x in another shape, of which one length may not be known."""
    return graph.add("Reshape", x, np.array(fixed(shape, -1), np.int64))


def convolution(
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


def pool(
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


def product(
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
        found if len(rows) == len(columns) == 1 else reshaped(graph, found, lead + rows + columns)
    )


def _joined(graph: Graph, x: Operand, lead: list, rows: list, columns: list) -> Operand:
    """Axes [*lead, *rows, *columns] as [*lead, rows, columns]."""
    if len(rows) == len(columns) == 1:
        return x
    shape = fixed([*lead, _length(rows), _length(columns)], -1)
    return x.reshape(shape) if isinstance(x, np.ndarray) else reshaped(graph, x, shape)


def _length(sizes: list) -> Any:
    return next(filter(is_symbolic_dim, sizes), None) or int(np.prod(sizes))


def gather(
    graph: Graph, x: str, places: np.ndarray, *, shapes: list, dimension_numbers: Any,
    slice_sizes: tuple, **how: Any,
) -> Operand:  # fmt: skip
    """A range or places of one axis; else by a table of the places of all entries of an image."""
    numbers, sizes, taken = dimension_numbers, fixed(shapes[0], 1), fixed(slice_sizes, 1)
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
    flat = reshaped(graph, x, (-1, entries.size))
    return graph.add("Gather", flat, np.asarray(table)[0], axis=1)
