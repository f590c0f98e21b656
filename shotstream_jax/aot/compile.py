"""Ahead-of-time compilation: a program compiled for an absent device, and what it would need.

libtpu compiles for a topology by its name (`pip install 'shotstream-jax[aot]'`), jax's CUDA plugin
for a GPU by its description (aot/gpu), both on any processor. Nothing is loaded: every argument is
a shape with its sharding. `train --aot` and `bench --aot` are built on this.
"""

import dataclasses
import importlib.util
import os
import re
import time
from typing import Any, NamedTuple

import jax
from absl import logging

from shotstream_jax.aot.collectives import Collectives, count_collectives
from shotstream_jax.aot.gpu import compiler_options, gpu_devices, traced_for
from shotstream_jax.aot.hlo import read_module
from shotstream_jax.aot.kernels import Kernel, read_kernels
from shotstream_jax.core.devices import GPUS, program_memory
from shotstream_jax.core.errors import InputError

EXAMPLES = "v5e:2x4, v5e:4x4, v5p:2x2x1, v5p:2x2x2, v5p:4x4x4, v6e:2x4"
# The columns of Compiled.line.
HEAD = (
    f"{'program':14}{'compiled':>10}{'arguments':>12}{'+ output':>10}{'+ temp':>10}{'= GiB':>8}"
    f"{'model PFLOP':>14}"
)
GIB = 2**30


class Program(NamedTuple):
    """A jitted function and its arguments, real or abstract.

    flops: the model's in one call, all devices together, by formula; 0 where there is none.
    """

    name: str
    jitted: Any
    arguments: tuple[Any, ...]
    flops: float


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A program that fits its devices.

    seconds: of the compilation. argument, output, aliased, temp: bytes of memory on each device;
    donated arguments (aliased) are in argument and in output. flops: as Program's. accessed: bytes
    that one device reads and writes: on a GPU those of all its kernels; on a TPU XLA's own count,
    in which a loop's body counts once and Pallas kernels not at all. kernels: of a program for a
    GPU.
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
    kernels: tuple[Kernel, ...] = ()

    @property
    def total(self) -> int:
        """Bytes of memory that a device needs."""
        return self.argument + self.output - self.aliased + self.temp

    @property
    def line(self) -> str:
        """A row of the table under HEAD."""
        new_output = self.output - self.aliased
        return (
            f"{self.name:14}{self.seconds:8.0f} s"
            f"{self.argument / GIB:>12.2f}"
            f"{new_output / GIB:>10.2f}"
            f"{self.temp / GIB:>10.2f}"
            f"{self.total / GIB:>8.2f}"
            f"{self.flops / 1e15:>14.4g}"
        )

    @property
    def sent(self) -> str:
        """The collectives in words, like "2× all-gather 0.5 GiB"."""
        kinds = []
        for kind, count in self.collectives.count.items():
            size = self.collectives.bytes[kind] / GIB
            kinds.append(f"{count}× {kind} {size:.3g} GiB")
        if not kinds:
            return "no collectives"
        return ", ".join(kinds)

    def as_dict(self) -> dict[str, Any]:
        """The fields and the total, for a report; not the single kernels."""
        fields = dataclasses.asdict(self) | {"total": self.total}
        del fields["kernels"]
        return fields


def aot_devices(name: str) -> list[Any]:
    """The devices, which need not be there, that a name like "v5e:2x4", "h100" or "h100:4" means.

    Raises InputError if there are no such devices or if their compiler is missing.
    """
    kind, _, count = name.partition(":")
    if kind in GPUS:
        return gpu_devices(kind, count or "1")
    return _slice_devices(name)


def _slice_devices(name: str) -> list[Any]:
    """The devices of a TPU slice that need not be there, by its name, like "v5e:2x4".

    Raises InputError if libtpu is missing or if there is no such slice.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise InputError("--aot needs the TPU compiler: pip install 'shotstream-jax[aot]'")
    # A TPU that is there is not used.
    jax.config.update("jax_platforms", "cpu")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    # Several processes may compile at a time: none of them holds a device.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "true")
    from jax.experimental import topologies

    try:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=name)
        return list(topology.devices)
    except (jax.errors.JaxRuntimeError, ValueError, NotImplementedError) as error:
        lines = str(error).splitlines()
        reason = lines[0] if lines else "?"
        raise InputError(
            f"--aot {name}: no such TPU slice ({reason}); names are like {EXAMPLES}; "
            f"GPUs are {', '.join(GPUS)}"
        ) from None


def compile_program(program: Program, remedy: str) -> Compiled:
    """Compiles a program; its mesh must be set (jax.set_mesh).

    Raises InputError if it does not fit its devices; remedy: what this error advises.
    """
    # Tracing and lowering count as well.
    began = time.monotonic()
    device = _device(program)
    try:
        with traced_for(device):
            lowered = program.jitted.lower(*program.arguments)
            compiled = lowered.compile(compiler_options(device))
    except jax.errors.JaxRuntimeError as error:
        raise _does_not_fit(program, error, remedy) from None
    seconds = time.monotonic() - began
    memory = compiled.memory_analysis()
    # What runs in it, from its text.
    text = compiled.as_text()
    kernels: tuple[Kernel, ...] = ()
    if device is not None and device.platform in ("gpu", "cuda"):
        # XLA does not count a GPU's bytes.
        kernels = tuple(read_kernels(read_module(text)))
        accessed = float(sum(kernel.times * kernel.bytes for kernel in kernels))
    else:
        accessed = compiled.cost_analysis()["bytes accessed"]
    found = Compiled(
        name=program.name,
        seconds=seconds,
        argument=memory.argument_size_in_bytes,
        output=memory.output_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        temp=memory.temp_size_in_bytes,
        flops=program.flops,
        accessed=accessed,
        collectives=count_collectives(text),
        kernels=kernels,
    )
    # The compiler has been seen to accept programs whose arguments and temporary memory add up to
    # more than a device has.
    budget = program_memory(device) if device else None
    if budget and found.total > budget * GIB:
        numbers = f"it needs {found.total / GIB:.2f}GiB of a device's memory, which has {budget}GiB"
        raise InputError(f"{program.name} does not fit: {numbers}. {remedy}")
    return found


def _device(program: Program) -> Any:
    """The first of the devices that the arguments lie on; None where that is not said."""
    for argument in jax.tree.leaves(program.arguments):
        if isinstance(argument, jax.ShapeDtypeStruct) and argument.sharding:
            devices = argument.sharding.device_set
            return min(devices, key=lambda device: device.id)
    return None


def _does_not_fit(program: Program, error: Exception, remedy: str) -> Exception:
    """The compiler's error: running out of memory as one line, anything else (a bug) as it is."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text:
        return error
    # The whole message lists the largest buffers, over many lines.
    logging.debug("%s", text)
    return InputError(f"{program.name} does not fit: {_numbers(text)}. {remedy}")


def _numbers(text: str) -> str:
    """The numbers of a RESOURCE_EXHAUSTED message; its beginning if it has another form."""
    # XLA words it in two ways.
    forms = (
        r"Used (?P<needed>[\d.]+\w) of (?P<available>[\d.]+\w) hbm",
        r"\((?P<needed>[\d.]+\w)\) exceeds available HBM \((?P<available>[\d.]+\w)\)",
    )
    for form in forms:
        found = re.search(form, text)
        if found:
            needed = f"it needs {found['needed']}iB of a device's memory"
            return f"{needed}, which has {found['available']}iB"
    return text[:200]
