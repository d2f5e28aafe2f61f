"""The text of a compiled program, as XLA prints it: computations and their instructions."""

import math
import re
from typing import NamedTuple

_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"(ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r" ([a-z][a-z0-9\-]*)\(")
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,]*)\]")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
    r"|branch_computations=\{([^}]*)\}"
)


class Instruction(NamedTuple):
    """One line: `name = shape opcode(operands), attributes`; the root's is the result."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    root: bool

    def called(self) -> list[str]:
        """Names of the computations that it runs."""
        found = [one or several for one, several in _CALLED.findall(self.attributes)]
        return [name.strip().lstrip("%") for names in found for name in names.split(",")]


Computation = dict[str, Instruction]


def parse(text: str) -> tuple[dict[str, Computation], str]:
    """The computations of a program by name, their instructions in order, and the entry's name."""
    computations: dict[str, Computation] = {}
    entry, current = "", ""
    for line in map(str.strip, text.splitlines()):
        if head := _HEAD.match(line):
            current = head[2]
            computations[current] = {}
            entry = current if head[1] else entry
        elif current and (found := _LINE.match(line)):
            instruction = _instruction(found[2], found[3], root=bool(found[1]))
            computations[current][instruction.name] = instruction
    return computations, entry


def _instruction(name: str, rest: str, *, root: bool) -> Instruction:
    begin = _closing(rest, 0) if rest.startswith("(") else 0
    opcode = _OPCODE.search(rest, begin)
    assert opcode is not None, rest
    end = _closing(rest, opcode.end() - 1)
    operands = tuple(re.findall(r"%([\w.\-]+)", rest[opcode.end() : end]))
    shape, attributes = rest[: opcode.start()], rest[end + 1 :]
    return Instruction(name, shape, opcode[1], operands, attributes, root)


def _closing(text: str, opening: int) -> int:
    """Where the parenthesis that opens there is closed."""
    depth = 0
    for place in re.finditer(r"[()]", text[opening:]):
        depth += 1 if place[0] == "(" else -1
        if not depth:
            return opening + place.start()
    raise AssertionError(text)


def arrays(shape: str) -> list[tuple[str, tuple[int, ...]]]:
    """Type and sizes of every array of a shape: "(f32[2,3]{1,0}, u8[0]{0})" has two."""
    return [
        (kind, tuple(int(size) for size in sizes.split(",") if size))
        for kind, sizes in _ARRAY.findall(shape)
    ]


def nbytes(shape: str) -> float:
    """Bytes of all arrays of a shape."""
    return sum(math.prod(sizes) * _bits(kind) / 8 for kind, sizes in arrays(shape))


def _bits(kind: str) -> int:
    digits = re.search(r"\d+", kind)
    return int(digits[0]) if digits else 8 * (kind == "pred")
