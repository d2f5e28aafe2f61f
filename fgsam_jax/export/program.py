"""A traced program of JAX as a graph of ONNX, operation by operation.

What depends on no input is computed here, so that the file holds results and not their making: of
the sketch tables, for one, the places that they gather from.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import is_symbolic_dim
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from fgsam_jax.export.graph import Graph, Operand
from fgsam_jax.export.layers import fixed
from fgsam_jax.export.operators import ELEMENTWISE, OPERATORS

_SAME = ("name", "stop_gradient", "optimization_barrier", "copy", "copy_p")


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
        return _scan(graph, equation, operands)
    inner = how.get("jaxpr", how.get("call_jaxpr"))
    if inner is not None:
        return _closed(graph, inner, operands)
    if name in _SAME:
        return operands
    if all(isinstance(x, np.ndarray) for x in operands):
        return _computed(equation, operands)
    if name in ELEMENTWISE:
        return [graph.elementwise(ELEMENTWISE[name], *operands)]
    if name not in OPERATORS:
        raise NotImplementedError(f"the operation {name} has no form in ONNX here")
    found = OPERATORS[name](graph, *operands, shapes=[_shape(x) for x in equation.invars], **how)
    return found if isinstance(found, list) else [found]


def _shape(x: Any) -> tuple:
    return x.aval.shape


def _closed(graph: Graph, inner: ClosedJaxpr | Jaxpr, operands: list[Operand]) -> list[Operand]:
    if isinstance(inner, ClosedJaxpr):
        return inline(graph, inner.jaxpr, inner.consts, operands)
    return inline(graph, inner, [], operands)


def _scan(graph: Graph, equation: JaxprEqn, operands: list[Operand]) -> list[Operand]:
    """A loop of known length, unrolled; of what it carries alone, and no series."""
    body = equation.params["jaxpr"]
    outside, inside = ((*x.invars, *x.outvars) for x in (equation, body.jaxpr))
    if any(_shape(x) != _shape(y) for x, y in zip(outside, inside, strict=True)):
        raise NotImplementedError("a scan over series has no form in ONNX here")
    same = len(operands) - len(equation.outvars)
    carried = operands[same:]
    for _ in range(equation.params["length"]):
        carried = _closed(graph, body, [*operands[:same], *carried])
    return carried


def _computed(equation: JaxprEqn, operands: list[Operand]) -> list[Operand]:
    how = {
        name: fixed(x, 1) if isinstance(x, tuple) and any(map(is_symbolic_dim, x)) else x
        for name, x in equation.params.items()
    }
    found = equation.primitive.bind(*map(jnp.asarray, operands), **how)
    return [np.asarray(x) for x in (found if equation.primitive.multiple_results else [found])]
