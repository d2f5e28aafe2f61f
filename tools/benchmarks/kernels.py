"""What a compiled program runs on a GPU: its kernels, their arithmetic and their traffic."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.hlo import Computation, Instruction, arrays, nbytes, parse

# These name memory, or wait for what was started before.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "domain"),
    *("opt-barrier", "partition-id", "replica-id", "add-dependency"),
}
_SLICES = {"slice", "dynamic-slice", "gather"}
_MIB = 2**20
Program = dict[str, Computation]


class Kernel(NamedTuple):
    """One launch, or several equal ones.

    Attributes:
      name: of the instruction.
      kind: "convolution", "product" or "other".
      type: of the numbers multiplied, "tf32" for float32 that may be rounded, "" without any.
      flop: of its convolutions and products, two for a multiplication and an addition.
      bytes: read and written.
      times: how often it runs.
    """

    name: str
    kind: str
    type: str
    flop: float
    bytes: float
    times: int


def counted(
    text: str, peaks: dict[str, float], bandwidth: float, updates: int = 1
) -> dict[str, Any]:
    """The figures of a compiled program for a card, see `benchmarks.cuda`.

    Args:
      text: of the program.
      peaks: of the card, FLOP/s by type.
      bandwidth: of its memory, bytes/s.
      updates: how often a loop of unknown length goes round; the figures are those of one round,
        with its share of what runs once.
    """
    program, entry = parse(text)
    found = list(kernels(program, entry, updates))
    if "tf32" not in peaks:
        found = [x._replace(type="f32") if x.type == "tf32" else x for x in found]
    row: dict[str, Any] = {
        "gflop": sum(x.times * x.flop for x in found) / 1e9 / updates,
        "gb": sum(x.times * x.bytes for x in found) / 1e9 / updates,
        "bound_ms": 1e3 * sum(x.times * _seconds(x, peaks, bandwidth) for x in found) / updates,
        "kernels": round(sum(x.times for x in found) / updates),
        "below_a_mib": round(sum(x.times for x in found if x.bytes < _MIB) / updates),
    }
    for kind in ("convolution", "product"):
        for name in sorted({x.type for x in found if x.kind == kind}):
            those = [x for x in found if (x.kind, x.type) == (kind, name)]
            row[f"{kind}s_{name}"] = round(sum(x.times for x in those) / updates)
            row[f"{kind}s_{name}_gflop"] = sum(x.times * x.flop for x in those) / 1e9 / updates
    steps = [step for body in program.values() for step in body.values()]
    large = [x for x in steps if x.opcode == "transpose" and nbytes(x.shape) > _MIB]
    row |= {"transposes": len(large), "transposes_mib": sum(nbytes(x.shape) for x in large) / _MIB}
    scatters = [x for x in steps if x.opcode in ("scatter", "select-and-scatter")]
    row["scatters"] = len(scatters)
    row["unordered"] = sum("unique_indices=true" not in x.attributes for x in scatters)
    row["waits"] = sum(_waits(x) for x in steps)
    return row


def _seconds(kernel: Kernel, peaks: dict[str, float], bandwidth: float) -> float:
    peak = peaks.get(kernel.type, peaks["f32"])
    return max(kernel.flop / peak, kernel.bytes / bandwidth)


def kernels(program: Program, name: str, updates: int = 1, times: int = 1) -> Iterator[Kernel]:
    """The kernels of a computation and of those that it runs.

    A loop counts as often as it is known to go round, any other `updates` times; of branches the
    one that moves the least.
    """
    for step in program[name].values():
        called = step.called()
        if step.opcode == "conditional":
            branches = [list(kernels(program, branch, updates, times)) for branch in called]
            yield from min(branches, key=lambda found: sum(x.bytes for x in found))
        elif step.opcode in ("while", "call", "async-start"):
            often = times * (rounds(step) or updates)
            for inner in called:
                yield from kernels(program, inner, updates, often)
        elif step.opcode not in _FREE and not step.opcode.endswith("-done"):
            yield _kernel(program, program[name], step, times)


def rounds(step: Instruction) -> int:
    """How often a loop goes round, 0 where that is not known beforehand."""
    found = re.search(r'"known_trip_count":\{"n":"(\d+)"', step.attributes)
    return int(found[1]) if found else 0


def _waits(step: Instruction) -> bool:
    """Whether the host must see a number before it goes on."""
    return step.opcode == "conditional" or (step.opcode == "while" and not rounds(step))


def _kernel(program: Program, where: Computation, step: Instruction, times: int) -> Kernel:
    kind, type_, flop = "other", "", 0.0
    for place, inner in [(where, step), *_inside(program, step)]:
        if work := _work(place, inner):
            kind, type_, flop = work[0], work[1], flop + work[2]
    return Kernel(step.name, kind, type_, flop, _traffic(program, where, step), times)


def _inside(program: Program, step: Instruction) -> Iterator[tuple[Computation, Instruction]]:
    """The instructions of a fusion, and of the fusions in it, each with its computation."""
    for called in step.called() if step.opcode == "fusion" else ():
        for inner in program[called].values():
            yield program[called], inner
            yield from _inside(program, inner)


def _work(where: Computation, step: Instruction) -> tuple[str, str, float] | None:
    """Kind, type and FLOP of a convolution or a product."""
    if step.opcode == "convolution" or "__cudnn$conv" in step.attributes:
        kind, flop = "convolution", _convolution(where, step)
    elif step.opcode == "dot" or "__cublas$" in step.attributes:
        kind, flop = "product", _product(where, step)
    else:
        return None
    type_ = arrays(where[step.operands[0]].shape)[0][0]
    rounded = type_ == "f32" and "highest" not in step.attributes.lower()
    return kind, "tf32" if rounded else type_, flop


def _convolution(where: Computation, step: Instruction) -> float:
    """Twice the forward convolution's results times what each of them sums."""
    given = [arrays(where[name].shape)[0][1] for name in step.operands[:2]]
    result = arrays(step.shape)[0][1]
    # Both gradients have the shapes of the forward convolution, in other roles.
    forward, kernel = result, given[1]
    if "convBackwardInput" in step.attributes:
        forward = given[0]
    elif "convBackwardFilter" in step.attributes:
        forward, kernel = given[1], result
    labels = re.search(r"dim_labels=\w+_(\w+)->", step.attributes)
    assert labels is not None, step
    return 2.0 * math.prod(forward) * math.prod(kernel) / kernel[labels[1].index("o")]


def _product(where: Computation, step: Instruction) -> float:
    if step.opcode == "dot":
        named = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", step.attributes)
        axes = [int(axis) for axis in named[1].split(",") if axis] if named else []
    else:
        config = json.loads(step.attributes.split("backend_config=")[1])["gemm_backend_config"]
        axes = [int(axis) for axis in config["dot_dimension_numbers"]["lhs_contracting_dimensions"]]
    given = arrays(where[step.operands[0]].shape)[0][1]
    summed = math.prod(given[axis] for axis in axes)
    return 2.0 * summed * math.prod(arrays(step.shape)[0][1])


def _traffic(program: Program, where: Computation, step: Instruction) -> float:
    """Bytes read and written; of what is sliced, or updated in place, that part alone."""
    if step.opcode in _SLICES:
        return 2 * nbytes(step.shape)
    if step.opcode == "dynamic-update-slice":
        return 2 * nbytes(where[step.operands[1]].shape)
    if step.opcode != "fusion":
        return nbytes(step.shape) + sum(nbytes(where[name].shape) for name in step.operands)
    body = program[step.called()[0]]
    root = next(x for x in body.values() if x.root)
    given = [x for x in body.values() if x.opcode == "parameter"]
    return sum(_read(body, x) for x in given) + _written(body, root)


def _read(body: Computation, given: Instruction) -> float:
    """Bytes that a fusion reads of its parameter."""
    total = 0.0
    for user in (x for x in body.values() if given.name in x.operands):
        if user.opcode == "bitcast":
            total += _read(body, user)
        elif user.opcode in _SLICES and user.operands[0] == given.name:
            total += nbytes(user.shape)
        elif user.opcode != "dynamic-update-slice" or given.name in user.operands[1:]:
            return nbytes(given.shape)
    return min(total, nbytes(given.shape))


def _written(body: Computation, root: Instruction) -> float:
    """Bytes that a fusion writes of its result."""
    if root.opcode == "tuple":
        return sum(_written(body, body[name]) for name in root.operands)
    if root.opcode == "bitcast":
        return _written(body, body[root.operands[0]])
    updated = root.opcode == "dynamic-update-slice"
    return nbytes(body[root.operands[1]].shape if updated else root.shape)
