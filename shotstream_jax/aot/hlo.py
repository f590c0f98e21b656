"""An optimised HLO module read from its text (`compiled.as_text()`).

A module is a set of computations: the entry, the bodies of loops, the branches of choices and the
insides of fusions. A loop's body stands once in the text. It runs as often as the loop does: by its
known trip count, or by the constant that its condition compares the counter with (a scan counts
from 0). A loop that ends on a computed number counts once. All branches of a conditional count.
"""

import dataclasses
import math
import re
from collections import Counter
from typing import NamedTuple

# A computation's first line, "%name (arguments) -> type {"; ENTRY stands before the main one.
_HEADER = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{\s*$")
# An instruction, "  %name = type operation(operands), attributes".
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.-]+) = (.+?) ([a-z][a-z0-9-]*)\(")
# An array type, like "bf16[8,4]".
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")
# The computations that an instruction calls, but for a loop's.
_CALLED = re.compile(
    r"\b(?:calls|branch_computations|true_computation|false_computation|called_computations|to_apply)=(\{[^}]*\}|%?[\w.-]+)"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_LOOP = re.compile(r"\bcondition=%?([\w.-]+), body=%?([\w.-]+)")
_CONSTANT = re.compile(r"^\s+%?[\w.-]+ = [su]\d+\[\]\S* constant\((\d+)\)")


class ArrayType(NamedTuple):
    """The type of an array. kind: like "bf16". bits: of an element."""

    kind: str
    bits: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Its size in memory."""
        return self.size * self.bits // 8


class Loop(NamedTuple):
    """The computations of a loop by their names. trips: how often it runs, if the text says so."""

    condition: str
    body: str
    trips: int | None


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One operation.

    type: of its result, an array or a tuple, as text. operands: the names of what it reads. line:
    the whole text.
    """

    name: str
    type: str
    operation: str
    operands: tuple[str, ...]
    is_root: bool
    line: str

    @property
    def arrays(self) -> list[ArrayType]:
        """The arrays of its result."""
        return arrays_of(self.type)

    @property
    def bytes(self) -> int:
        """The bytes of its result."""
        return bytes_of(self.type)

    @property
    def calls(self) -> list[str]:
        """The computations that it calls, but for a loop's."""
        if self.operation.endswith(("-update", "-done")):
            # They name the same computation as their start.
            return []
        # One name, or a list of them in braces.
        names = []
        for called in _CALLED.findall(self.line):
            for name in called.strip("{}").split(","):
                names.append(name.strip().lstrip("%"))
        return names

    @property
    def loop(self) -> Loop | None:
        """The loop that it is, if it is one."""
        if self.operation != "while":
            return None
        loop = _LOOP.search(self.line)
        assert loop, f"a loop without its computations: {self.line}"
        trips = _TRIPS.search(self.line)
        return Loop(loop[1], loop[2], int(trips[1]) if trips else None)


@dataclasses.dataclass
class Computation:
    """A list of instructions in the order in which they run, by their names."""

    name: str
    instructions: dict[str, Instruction] = dataclasses.field(default_factory=dict)

    @property
    def root(self) -> Instruction:
        """The instruction whose result is the computation's."""
        for instruction in self.instructions.values():
            if instruction.is_root:
                return instruction
        raise ValueError(f"{self.name} has no result")

    @property
    def limit(self) -> int | None:
        """If it is a loop's condition "counter < constant", the constant."""
        constants = []
        for instruction in self.instructions.values():
            constant = _CONSTANT.match(instruction.line)
            if constant:
                constants.append(int(constant[1]))
            # Only where it is clear which constant that is.
            if instruction.operation == "compare" and "direction=LT" in instruction.line:
                return constants[0] if len(constants) == 1 else None
        return None


@dataclasses.dataclass(frozen=True)
class Module:
    """A program. computations: by their names. entry: the name of the one that it starts with."""

    computations: dict[str, Computation]
    entry: str

    def trips(self, loop: Loop) -> int | None:
        """How often a loop runs; None if its length is computed."""
        if loop.trips is not None:
            return loop.trips
        return self.computations[loop.condition].limit

    def runs(self) -> Counter[str]:
        """How often each computation runs, those inside fusions included."""
        return self._runs(into_fusions=True)

    def kernel_runs(self) -> Counter[str]:
        """How often each computation runs whose instructions are kernels of their own."""
        return self._runs(into_fusions=False)

    def _runs(self, into_fusions: bool) -> Counter[str]:
        """Follows the calls from the entry on. No computation calls itself."""
        runs: Counter[str] = Counter()

        def run(name: str, times: int) -> None:
            """Counts a computation and all that it calls."""
            runs[name] += times
            for instruction in self.computations[name].instructions.values():
                loop = instruction.loop
                if loop:
                    # A loop of unknown length counts once.
                    run(loop.body, times * (self.trips(loop) or 1))
                elif into_fusions or instruction.operation in _SEQUENTIAL:
                    for called in instruction.calls:
                        run(called, times)

        run(self.entry, 1)
        return runs


# What runs the instructions of the computations that it calls one after the other.
_SEQUENTIAL = ("call", "conditional", "async-start")


def read_module(text: str) -> Module:
    """The module whose text this is."""
    # A header begins a computation; the lines after it are its instructions.
    computations: dict[str, Computation] = {}
    entry = ""
    current = Computation("")
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            current = Computation(header[2])
            computations[current.name] = current
            if header[1]:
                entry = current.name
            continue
        matched = _INSTRUCTION.match(line)
        if matched:
            root, name, result, operation = matched.groups()
            operands = _operands(line, matched.end())
            current.instructions[name] = Instruction(
                name, result, operation, operands, root is not None, line
            )
    return Module(computations, entry)


def _operands(line: str, start: int) -> tuple[str, ...]:
    """The names of the operands in a line; start: behind the opening bracket."""
    # A constant's operand is its value, a parameter's its number: they have no names.
    # Names stand last, behind a type if the text has one.
    inside = f"({_until_bracket(line, start)})"
    names = []
    for operand in elements(inside):
        words = operand.split()
        if words and words[-1].startswith("%"):
            names.append(words[-1].lstrip("%"))
    return tuple(names)


def _until_bracket(line: str, start: int) -> str:
    """The text up to the bracket that closes the one before `start`."""
    depth = 1
    for i in range(start, len(line)):
        if line[i] == "(":
            depth += 1
        elif line[i] == ")":
            depth -= 1
        if depth == 0:
            return line[start:i]
    return line[start:]


def elements(tuple_type: str) -> list[str]:
    """The outermost elements of "(a, (b, c), …)", as text."""
    found = []
    depth = 0
    start = 1
    for i, letter in enumerate(tuple_type):
        # Brackets of all kinds nest.
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        # An element ends at a comma of the outermost tuple, the last one at its bracket.
        if (letter == "," and depth == 1) or (letter == ")" and depth == 0):
            found.append(tuple_type[start:i])
            start = i + 1
    return found


def arrays_of(type_text: str) -> list[ArrayType]:
    """All arrays in a type."""
    found = []
    for kind, digits, dims in _ARRAY.findall(type_text):
        bits = 8 if kind == "pred" else int(digits)
        shape = tuple(int(length) for length in dims.split(",") if length)
        found.append(ArrayType(kind, bits, shape))
    return found


def bytes_of(type_text: str) -> int:
    """The bytes of all arrays in a type."""
    return sum(array.bytes for array in arrays_of(type_text))
