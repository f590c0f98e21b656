"""Reads an optimised HLO module's text: which collectives run, how often, and how many bytes they bring.

A loop's body stands once in the text. It counts as often as the loop runs: by its known trip count, or by the constant
that its condition compares the counter with (a scan counts from 0). A loop that ends on a computed number counts once,
and `unknown_loops` says how many such there are. Both sides of a conditional count.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")

_HEADER = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.-]+ = (.+?) ([a-z][a-z0-9-]*)\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]")
_CALLED = re.compile(
    r"\b(?:calls|branch_computations|called_computations|to_apply)=(\{[^}]*\}|%?[\w.-]+)"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_LOOP = re.compile(r"\bcondition=%?([\w.-]+), body=%?([\w.-]+)")
_CONSTANT = re.compile(r" = [su]\d+\[\]\S* constant\((\d+)\)")


@dataclasses.dataclass(frozen=True)
class Collectives:
    """count, bytes: of each kind in one run of the program, on one device. bytes: of the results (where a TPU fuses an
    all-reduce with the slice that follows, of the whole). largest: the bytes of the largest one, run once."""

    count: dict[str, int]
    bytes: dict[str, int]
    unknown_loops: int
    largest: int


@dataclasses.dataclass
class _Computation:
    name: str = ""
    count: Counter = dataclasses.field(default_factory=Counter)
    bytes: Counter = dataclasses.field(default_factory=Counter)
    largest: int = 0
    calls: list[str] = dataclasses.field(default_factory=list)
    loops: list[tuple[str, str, int | None]] = dataclasses.field(
        default_factory=list
    )  # condition, body, trips
    limit: int | None = None  # of a loop's condition "counter < constant"


def collectives(text: str) -> Collectives:
    """Of the program whose text this is (`compiled.as_text()`)."""
    parts, entry = _computations(text)
    runs = _runs(parts, entry)
    count, size = Counter(), Counter()
    for name, times in runs.items():
        for kind in parts[name].count:
            count[kind] += times * parts[name].count[kind]
            size[kind] += times * parts[name].bytes[kind]
    ordered = lambda c: {kind: c[kind] for kind in KINDS if c[kind]}  # noqa: E731
    endless = [loop for name in runs for loop in parts[name].loops if _trips(parts, loop) is None]
    return Collectives(
        ordered(count), ordered(size), len(endless), max(parts[name].largest for name in runs)
    )


def _computations(text: str) -> tuple[dict[str, _Computation], str]:
    parts: dict[str, _Computation] = {}
    entry, now = "", _Computation()
    for line in text.splitlines():
        if header := _HEADER.match(line):
            now = parts[header[2]] = _Computation(header[2])
            entry = header[2] if header[1] else entry
            constants: list[int] = []
        elif found := _INSTRUCTION.match(line):
            _read(now, line, found[1], found[2])
            constants += [int(n) for n in _CONSTANT.findall(line)]
            if found[2] == "compare" and "direction=LT" in line and len(constants) == 1:
                now.limit = constants[0]
    return parts, entry


def _read(now: _Computation, line: str, result: str, op: str) -> None:
    """One instruction. An asynchronous one is counted at its start."""
    kind = op.removesuffix("-start")
    if kind in KINDS:
        # The start's tuple has the operand first, the result second.
        pieces = _elements(result) if op != kind and result.startswith("(") else [result]
        if kind == "all-reduce" and now.name.startswith(
            "all-reduce-scatter"
        ):  # a TPU's fusion with the slice
            kind = "reduce-scatter"
        size = _bytes(pieces[1] if len(pieces) > 1 else pieces[0])
        now.count[kind] += 1
        now.bytes[kind] += size
        now.largest = max(now.largest, size)
    if op in ("async-update", "async-done"):  # the same computation as their async-start
        return
    if op == "while":
        trips, (condition, body) = _TRIPS.search(line), _LOOP.search(line).groups()
        now.loops.append((condition, body, int(trips[1]) if trips else None))
        return
    for called in _CALLED.findall(line):
        now.calls += [name.strip().lstrip("%") for name in called.strip("{}").split(",")]


def _trips(parts: dict[str, _Computation], loop: tuple[str, str, int | None]) -> int | None:
    condition, _, trips = loop
    return trips if trips is not None else parts[condition].limit


def _runs(parts: dict[str, _Computation], entry: str) -> Counter:
    """How often each computation runs. No computation calls itself."""
    runs = Counter()

    def walk(name: str, times: int) -> None:
        runs[name] += times
        for called in parts[name].calls:
            walk(called, times)
        for loop in parts[name].loops:
            walk(loop[1], times * (_trips(parts, loop) or 1))

    walk(entry, 1)
    return runs


def _elements(tuple_type: str) -> list[str]:
    """The outermost elements of "(a, (b, c), …)"."""
    found, depth, start = [], 0, 1
    for i, letter in enumerate(tuple_type):
        depth += (letter in "([{") - (letter in ")]}")
        if (letter == "," and depth == 1) or (letter == ")" and depth == 0):
            found.append(tuple_type[start:i])
            start = i + 1
    return found


def _bytes(shapes: str) -> int:
    return sum(_sizes(shapes))


def _sizes(shapes: str) -> Iterator[int]:
    for kind, dims in _ARRAY.findall(shapes):
        bits = 8 if kind == "pred" else int(re.search(r"\d+", kind)[0])
        items = 1
        for n in filter(None, dims.split(",")):
            items *= int(n)
        yield items * bits // 8
