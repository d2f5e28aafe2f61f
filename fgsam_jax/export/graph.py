"""A graph of ONNX in the making: operands are names of values, or arrays where they are known."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 17  # of June 2022
Operand = str | np.ndarray


@dataclass(frozen=True)
class Node:
    """One operator; its results are named after the first."""

    kind: str
    inputs: tuple[Operand, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


class Graph:
    """Nodes in the order they were added; what no output needs is left out at the end.

    So a node may be looked through: of a transposition the next operator takes the source, and the
    transposition stays behind for whoever else asked for it.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}  # by each of their results

    def add(self, kind: str, *inputs: Operand, results: int = 1, **attributes: Any) -> Any:
        """The name of an operator's result, or their list if it has several."""
        first = len(self._nodes)
        names = tuple(f"{kind}_{first + i}" for i in range(results))
        self._nodes |= dict.fromkeys(names, Node(kind, inputs, names, attributes))
        return names[0] if results == 1 else list(names)

    def transpose(self, x: Operand, order: tuple[int, ...]) -> Operand:
        """x with its axes in another order; two that cancel are none."""
        if isinstance(x, np.ndarray):
            return x.transpose(order)
        source, inner = self._untransposed(x)
        order = tuple(inner[axis] for axis in order) if inner else order
        if order == tuple(sorted(order)):
            return source
        return self.add("Transpose", source, perm=order)

    def elementwise(self, kind: str, *operands: Operand, **attributes: Any) -> Operand:
        """An operator on operands of one shape, or of shapes that broadcast.

        It moves before transpositions and broadcasts of what it takes, and a factor or a summand of
        each channel moves into the convolution before it.
        """
        moved, order = self._before([self._narrow(x, operands) for x in operands])
        result = self._into_convolution(kind, moved) or self.add(kind, *moved, **attributes)
        return self.transpose(result, order) if order else result

    def along(
        self, kind: str, axis: int, parts: list[Operand], *others: Operand, **how: Any
    ) -> Any:
        """An operator on one axis of its operands, but for the last, before their transposition."""
        moved, order = self._before(parts)
        if not order:
            return self.add(kind, *parts, *others, axis=axis, **how)
        found = self.add(kind, *moved, *others, axis=order[axis], **how)
        if isinstance(found, list):
            return [self.transpose(x, order) for x in found]
        return self.transpose(found, order)

    def _before(self, operands: list[Operand]) -> tuple[list[Operand], Any]:
        """Operands before a transposition that all share, and its order; None if there is none."""
        orders = {self._untransposed(x)[1] for x in operands if isinstance(x, str)}
        if len(orders) > 1 or None in orders:
            return operands, None
        (order,) = orders
        back = tuple(np.argsort(order))
        return [
            self._untransposed(x)[0] if isinstance(x, str) else x.transpose(back) if x.ndim else x
            for x in operands
        ], order

    def reduce(self, kind: str, x: str, axes: tuple[int, ...]) -> Operand:
        """The sum ("ReduceSum") or largest value ("ReduceMax") over some axes."""
        source, order = self._untransposed(x)
        if order:
            rest = [axis for place, axis in enumerate(order) if place not in axes]
            if rest == sorted(rest):
                x, axes = source, tuple(order[axis] for axis in axes)
        if kind == "ReduceSum":  # of these two only the sum takes its axes as an operand
            return self.add(kind, x, np.array(axes, np.int64), keepdims=0)
        return self.add(kind, x, axes=axes, keepdims=0)

    def _untransposed(self, x: str) -> tuple[str, Any]:
        node = self._nodes.get(x)
        if node is None or node.kind != "Transpose":
            return x, None
        return str(node.inputs[0]), node.attributes["perm"]

    def _narrow(self, x: Operand, operands: tuple[Operand, ...]) -> Operand:
        """x before it was repeated along axes, if another operand has the full shape."""
        if isinstance(x, np.ndarray):
            for axis in range(x.ndim):
                first = x.take([0], axis)
                x = first if (x == first).all() else x
            return x
        others = [y for y in operands if isinstance(y, str) and y is not x]
        wide = [y for y in others if y not in self._nodes or self._nodes[y].kind != "Expand"]
        node = self._nodes.get(x)
        return node.inputs[0] if node is not None and node.kind == "Expand" and wide else x

    def _into_convolution(self, kind: str, operands: list[Operand]) -> str | None:
        """A convolution that does what followed it, if that is possible."""
        if kind == "Sub" and isinstance(operands[1], np.ndarray):
            kind, operands = "Add", [operands[0], -operands[1]]
        constants = [x for x in operands if isinstance(x, np.ndarray)]
        names = [x for x in operands if isinstance(x, str)]
        node = self._nodes.get(names[0]) if names else None
        if kind not in ("Add", "Mul") or len(constants) != 1 or not node or node.kind != "Conv":
            return None
        x, weights, bias = node.inputs
        assert isinstance(weights, np.ndarray)
        assert isinstance(bias, np.ndarray)
        (constant,) = constants
        if constant.size > 1 and constant.shape != (1, len(weights), 1, 1):
            return None
        constant = np.broadcast_to(constant.reshape(-1), len(weights))
        if kind == "Add":
            return self.add("Conv", x, weights, bias + constant, **node.attributes)
        weights = weights * constant[:, None, None, None]
        return self.add("Conv", x, weights, bias * constant, **node.attributes)

    def model(
        self,
        inputs: list[onnx.ValueInfoProto],
        outputs: dict[str, tuple[Operand, onnx.ValueInfoProto]],
        about: dict[str, str],
    ) -> onnx.ModelProto:
        """The finished file.

        Args:
          inputs: names, types and shapes.
          outputs: by name, the value and its type and shape.
          about: what the file says of itself, by key.
        """
        for name, (value, _) in outputs.items():
            self._nodes[name] = Node("Identity", (value,), (name,), {})
        needed, kept = set(outputs), []
        for node in reversed(list({id(x): x for x in self._nodes.values()}.values())):
            if needed.intersection(node.outputs):
                needed.update(x for x in node.inputs if isinstance(x, str))
                kept.append(node)
        tables: dict[tuple, onnx.TensorProto] = {}
        nodes = [
            helper.make_node(
                node.kind,
                [x if isinstance(x, str) else _stored(x, tables) for x in node.inputs],
                node.outputs,
                **node.attributes,
            )
            for node in reversed(kept)
        ]
        graph = helper.make_graph(
            nodes, "fgsam_jax", inputs, [x for _, x in outputs.values()], list(tables.values())
        )
        opset = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(
            graph, opset_imports=opset, ir_version=8, producer_name="fgsam_jax"
        )
        helper.set_model_props(made, about)
        return made


def _stored(array: np.ndarray, tables: dict[tuple, onnx.TensorProto]) -> str:
    """The name of a constant; equal ones are stored once."""
    key = (array.dtype.str, array.shape, array.tobytes())
    if key not in tables:
        array = np.ascontiguousarray(array).reshape(array.shape)
        tables[key] = numpy_helper.from_array(array, f"constant_{len(tables)}")
    return tables[key].name
