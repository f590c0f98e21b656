"""Which collectives a compiled program runs, how often, and their bytes."""

import dataclasses
from collections import Counter

from shotstream_jax.aot.hlo import Instruction, bytes_of, elements, read_module

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")


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


def count_collectives(text: str) -> Collectives:
    """The collectives of the program whose text this is (`compiled.as_text()`)."""
    module = read_module(text)
    count: Counter[str] = Counter()
    size: Counter[str] = Counter()
    unknown_loops = 0
    largest = 0
    # What each computation does by itself, times how often it runs.
    for name, times in module.runs().items():
        for instruction in module.computations[name].instructions.values():
            kind = _kind(name, instruction)
            if kind:
                received = _received(instruction)
                count[kind] += times
                size[kind] += times * received
                largest = max(largest, received)
            loop = instruction.loop
            if loop and module.trips(loop) is None:
                unknown_loops += 1
    return Collectives(_ordered(count), _ordered(size), unknown_loops, largest)


def _kind(computation: str, instruction: Instruction) -> str | None:
    """The kind of a collective; None for anything else. An asynchronous one counts at its start."""
    kind = instruction.operation.removesuffix("-start")
    if kind not in KINDS:
        return None
    if kind == "all-reduce" and computation.startswith("all-reduce-scatter"):
        # A TPU's fusion of an all-reduce with the slice that follows.
        return "reduce-scatter"
    return kind


def _received(instruction: Instruction) -> int:
    """The bytes of a collective's result."""
    result = instruction.type
    if instruction.operation.endswith("-start") and result.startswith("("):
        # The start's tuple has the operand first, the result second.
        parts = elements(result)
        result = parts[1] if len(parts) > 1 else parts[0]
    return bytes_of(result)


def _ordered(counter: Counter[str]) -> dict[str, int]:
    """The kinds that occur, in the order of KINDS."""
    return {kind: counter[kind] for kind in KINDS if counter[kind]}
