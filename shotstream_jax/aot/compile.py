"""Ahead-of-time compilation: a program compiled for a TPU slice that is not there, and what it would need.

libtpu compiles for a topology by its name (`pip install 'shotstream-jax[aot]'`), on any processor. Nothing is loaded:
every argument is a shape with its sharding. `train --aot` and `bench --aot` are built on this.
"""

import dataclasses
import importlib.util
import os
import re
import time
from typing import Any, NamedTuple

import jax
from absl import logging

from shotstream_jax.aot.hlo import Collectives, collectives
from shotstream_jax.core.devices import HBM
from shotstream_jax.core.errors import InputError

EXAMPLES = "v5e:2x4, v5e:4x4, v5p:2x2x1, v5p:2x2x2, v5p:4x4x4, v6e:2x4"
HEAD = f"{'program':14}{'compiled':>10}{'arguments':>12}{'+ output':>10}{'+ temp':>10}{'= GiB':>8}{'model PFLOP':>14}"
GIB = 2**30


class Program(NamedTuple):
    """A jitted function and its arguments, real or abstract. flops: the model's in a call, all devices together, by
    formula; 0 where there is none."""

    name: str
    jitted: Any
    arguments: tuple[Any, ...]
    flops: float


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A program that fits. Memory in bytes a device; the output is beside the donated (aliased) arguments.

    accessed: bytes that one device reads and writes by XLA's own count, in which a loop's body counts once and Pallas
    kernels not at all.
    """

    name: str
    seconds: float
    argument: int
    output: int
    aliased: int
    temp: int
    flops: float
    accessed: float
    collectives: Collectives

    @property
    def total(self) -> int:
        return self.argument + self.output - self.aliased + self.temp

    @property
    def line(self) -> str:
        """Under HEAD."""
        sizes = self.argument, self.output - self.aliased, self.temp, self.total
        columns = (
            f"{size / GIB:>{width}.2f}" for size, width in zip(sizes, (12, 10, 10, 8), strict=True)
        )
        return f"{self.name:14}{self.seconds:8.0f} s{''.join(columns)}{self.flops / 1e15:>14.4g}"

    @property
    def sent(self) -> str:
        """The collectives, as words."""
        kinds = self.collectives.count.items()
        words = (f"{n}× {kind} {self.collectives.bytes[kind] / GIB:.3g} GiB" for kind, n in kinds)
        return ", ".join(words) or "no collectives"

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"total": self.total}


def slice_devices(name: str) -> list[Any]:
    """The devices of a TPU slice that is not there."""
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            "--aot needs the TPU compiler: pip install 'shotstream-jax[aot]' (or pip install libtpu)"
        )
    jax.config.update("jax_platforms", "cpu")  # a TPU that is there is left alone
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault(
        "ALLOW_MULTIPLE_LIBTPU_LOAD", "true"
    )  # no device is held, so none can be held twice
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=name).devices)
    except (jax.errors.JaxRuntimeError, ValueError, NotImplementedError) as error:
        reason = (str(error).splitlines() or ["?"])[0]
        raise InputError(
            f"--aot {name}: no such TPU slice ({reason}); names are like {EXAMPLES}"
        ) from None


def compile_program(program: Program, remedy: str) -> Compiled:
    """Compiles; the mesh must be set. remedy: what to do if it does not fit, which raises InputError."""
    began = time.monotonic()
    try:
        compiled = program.jitted.lower(*program.arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        raise _does_not_fit(program, error, remedy) from None
    memory = compiled.memory_analysis()
    found = Compiled(
        program.name,
        time.monotonic() - began,
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
        memory.alias_size_in_bytes,
        memory.temp_size_in_bytes,
        program.flops,
        compiled.cost_analysis()["bytes accessed"],
        collectives(compiled.as_text()),
    )
    # The compiler has been seen to accept a program whose arguments and temporary memory add up to more than there is.
    budget = _budget(program)
    if budget and found.total > budget * GIB:
        numbers = f"it needs {found.total / GIB:.2f}GiB of a device's memory, which has {budget}GiB"
        raise InputError(f"{program.name} does not fit: {numbers}. {remedy}")
    return found


def _budget(program: Program) -> float | None:
    """GiB of a device that the arguments lie on; None where it is not known."""
    placed = [
        a
        for a in jax.tree.leaves(program.arguments)
        if isinstance(a, jax.ShapeDtypeStruct) and a.sharding
    ]
    return (
        HBM.get(min(placed[0].sharding.device_set, key=lambda d: d.id).device_kind)
        if placed
        else None
    )


def _does_not_fit(program: Program, error: Exception, remedy: str) -> Exception:
    """Running out of memory as one line; anything else is a bug, and stays what it is."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text:
        return error
    logging.debug("%s", text)
    return InputError(f"{program.name} does not fit: {_numbers(text)}. {remedy}")


def _numbers(text: str) -> str:
    """The numbers of a RESOURCE_EXHAUSTED message; its beginning where it has another form."""
    forms = (
        r"Used (?P<needed>[\d.]+\w) of (?P<available>[\d.]+\w) hbm",
        r"\((?P<needed>[\d.]+\w)\) exceeds available HBM \((?P<available>[\d.]+\w)\)",
    )
    for form in forms:
        if found := re.search(form, text):
            return f"it needs {found['needed']}iB of a device's memory, which has {found['available']}iB"
    return text[:200]
