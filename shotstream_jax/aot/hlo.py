"""Reads an optimised HLO module's text: which collectives run, how often, and their bytes.

A loop's body stands once in the text. It counts as often as the loop runs: by its known trip count,
or by the constant that its condition compares the counter with (a scan counts from 0). A loop that
ends on a computed number counts once, and `unknown_loops` says how many such there are. Both sides
of a conditional count.
"""

import dataclasses
import re
from collections import Counter
from typing import NamedTuple

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")

# A computation's first line, "%name (arguments) -> type {"; ENTRY stands before the main one.
_HEADER = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{\s*$")
# An instruction, "  %name = type operation(operands), attributes".
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.-]+ = (.+?) ([a-z][a-z0-9-]*)\(")
# An array type, like "bf16[8,4]".
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")
# The computations that an instruction calls, but for a loop's.
_CALLED = re.compile(
    r"\b(?:calls|branch_computations|called_computations|to_apply)=(\{[^}]*\}|%?[\w.-]+)"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_LOOP = re.compile(r"\bcondition=%?([\w.-]+), body=%?([\w.-]+)")
_CONSTANT = re.compile(r" = [su]\d+\[\]\S* constant\((\d+)\)")


@dataclasses.dataclass(frozen=True)
class Collectives:
    """The collectives of one run of a program, on one device.

    count: how many run, of each kind. bytes: of their results, of each kind (where a TPU fuses an
    all-reduce with the slice that follows, of the whole). unknown_loops: loops that were counted
    once because their length is computed. largest: the bytes of the largest collective, run once.
    """

    count: dict[str, int]
    bytes: dict[str, int]
    unknown_loops: int
    largest: int


class _Loop(NamedTuple):
    """The computations of a loop by their names. trips: how often it runs, if the text says so."""

    condition: str
    body: str
    trips: int | None


@dataclasses.dataclass
class _Computation:
    """What one run of a computation does by itself, without the computations that it calls.

    limit: if it is a loop's condition "counter < constant", the constant.
    """

    name: str = ""
    count: Counter[str] = dataclasses.field(default_factory=Counter)
    bytes: Counter[str] = dataclasses.field(default_factory=Counter)
    largest: int = 0
    calls: list[str] = dataclasses.field(default_factory=list)
    loops: list[_Loop] = dataclasses.field(default_factory=list)
    limit: int | None = None


def count_collectives(text: str) -> Collectives:
    """The collectives of the program whose text this is (`compiled.as_text()`)."""
    computations, entry = _read_computations(text)
    count: Counter[str] = Counter()
    size: Counter[str] = Counter()
    unknown_loops = 0
    largest = 0
    # What each computation does by itself, times how often it runs.
    for name, times in _runs(computations, entry).items():
        computation = computations[name]
        for kind in computation.count:
            count[kind] += times * computation.count[kind]
            size[kind] += times * computation.bytes[kind]
        for loop in computation.loops:
            if _trips(computations, loop) is None:
                unknown_loops += 1
        largest = max(largest, computation.largest)
    return Collectives(_ordered(count), _ordered(size), unknown_loops, largest)


def _ordered(counter: Counter[str]) -> dict[str, int]:
    """The kinds that occur, in the order of KINDS."""
    return {kind: counter[kind] for kind in KINDS if counter[kind]}


def _read_computations(text: str) -> tuple[dict[str, _Computation], str]:
    """All computations by their names, and the name of the one that the program starts with."""
    computations: dict[str, _Computation] = {}
    entry = ""
    current = _Computation()
    constants: list[int] = []  # integer constants of the current computation
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            current = _Computation(header[2])
            computations[current.name] = current
            if header[1]:
                entry = current.name
            constants = []
            continue
        instruction = _INSTRUCTION.match(line)
        if instruction is None:
            continue
        result, operation = instruction.groups()
        _add_collective(current, result, operation)
        _add_calls(current, line, operation)
        for constant in _CONSTANT.findall(line):
            constants.append(int(constant))
        # "counter < constant", where it is clear which constant that is.
        if operation == "compare" and "direction=LT" in line and len(constants) == 1:
            current.limit = constants[0]
    return computations, entry


def _add_collective(computation: _Computation, result: str, operation: str) -> None:
    """Counts an instruction, if it is a collective. An asynchronous one is counted at its start.

    result: its type.
    """
    kind = operation.removesuffix("-start")
    if kind not in KINDS:
        return
    if operation != kind and result.startswith("("):
        # The start's tuple has the operand first, the result second.
        elements = _elements(result)
        result = elements[1] if len(elements) > 1 else elements[0]
    if kind == "all-reduce" and computation.name.startswith("all-reduce-scatter"):
        # A TPU's fusion of an all-reduce with the slice that follows.
        kind = "reduce-scatter"
    size = _bytes(result)
    computation.count[kind] += 1
    computation.bytes[kind] += size
    computation.largest = max(computation.largest, size)


def _add_calls(computation: _Computation, line: str, operation: str) -> None:
    """Notes the computations that an instruction calls."""
    if operation in ("async-update", "async-done"):
        # They name the same computation as their async-start.
        return
    if operation == "while":
        loop = _LOOP.search(line)
        assert loop, f"a loop without its computations: {line}"
        trips = _TRIPS.search(line)
        known = int(trips[1]) if trips else None
        computation.loops.append(_Loop(loop[1], loop[2], known))
        return
    for called in _CALLED.findall(line):
        for name in called.strip("{}").split(","):
            computation.calls.append(name.strip().lstrip("%"))


def _trips(computations: dict[str, _Computation], loop: _Loop) -> int | None:
    """How often a loop runs; None if its length is computed."""
    if loop.trips is not None:
        return loop.trips
    return computations[loop.condition].limit


def _runs(computations: dict[str, _Computation], entry: str) -> Counter[str]:
    """How often each computation runs. No computation calls itself."""
    runs: Counter[str] = Counter()

    def run(name: str, times: int) -> None:
        """Counts a computation and all that it calls."""
        runs[name] += times
        for called in computations[name].calls:
            run(called, times)
        # A loop of unknown length counts once.
        for loop in computations[name].loops:
            trips = _trips(computations, loop) or 1
            run(loop.body, times * trips)

    run(entry, 1)
    return runs


def _elements(tuple_type: str) -> list[str]:
    """The outermost elements of "(a, (b, c), …)", as text."""
    found = []
    depth = 0
    start = 1
    for i, letter in enumerate(tuple_type):
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        # An element ends at a comma of the outermost tuple, the last one at its bracket.
        if (letter == "," and depth == 1) or (letter == ")" and depth == 0):
            found.append(tuple_type[start:i])
            start = i + 1
    return found


def _bytes(shapes: str) -> int:
    """The bytes of all arrays in a type."""
    total = 0
    for kind, digits, dims in _ARRAY.findall(shapes):
        bits = 8 if kind == "pred" else int(digits)
        items = 1
        for length in filter(None, dims.split(",")):
            items *= int(length)
        total += items * bits // 8
    return total
