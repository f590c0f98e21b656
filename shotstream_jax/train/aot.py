"""Ahead-of-time compilation: what a recipe needs on a TPU slice, found without the slice.

  python -m shotstream_jax.train --config configs/dmd_intra.py:wan-1.3b --aot v5p:2x2x2 --config.mesh.sequence=2

libtpu compiles for a topology by its name (`pip install 'shotstream-jax[aot]'`), on any processor. Nothing is loaded:
the sizes are those of the preset after the colon of --config, and every argument is a shape with its sharding. What is
told: whether it fits, memory a device, the model's FLOPs by formula (train/flops) and the collectives (train/hlo). How
long a step takes is not known before one runs.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import re
import time
from typing import Any

import jax
from absl import logging

from shotstream_jax import cli
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.presets import find_preset
from shotstream_jax.train.begin import abstract_frozen, abstract_state
from shotstream_jax.train.hlo import Collectives, collectives
from shotstream_jax.train.recipe import Recipe
from shotstream_jax.train.stage import Program

# What the compiler lets a program have, in GiB a device, by `device_kind`. A device of v4 and v7x is half a chip.
HBM = {"TPU v4": 15.25, "TPU v5 lite": 15.75, "TPU v5": 95.74, "TPU v6 lite": 31.25, "TPU7x": 94.75}
EXAMPLES = "v5e:2x4, v5e:4x4, v5p:2x2x1, v5p:2x2x2, v5p:4x4x4, v6e:2x4"
GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A program that fits. Memory in bytes a device; the output is beside the donated (aliased) arguments."""

    name: str
    seconds: float
    argument: int
    output: int
    aliased: int
    temp: int
    flops: float
    collectives: Collectives

    @property
    def total(self) -> int:
        return self.argument + self.output - self.aliased + self.temp


def report(recipe: Recipe, slice_name: str, config_name: str, path: str | None = None) -> None:
    """Prints what each program of the recipe needs on the slice; path: a JSON file for the same.

    Raises InputError if a program does not fit.
    """
    from shotstream_jax.train.__main__ import make_stage  # which imports this module only when it is asked for

    devices = slice_devices(slice_name)
    mesh = make_mesh(recipe.mesh.lengths(), devices)
    preset = find_preset(config_name.partition(":")[2] or "tiny")
    stage = make_stage(recipe, preset, mesh, dataset=None)
    lengths = " ".join(f"{axis}={n}" for axis, n in mesh.shape.items() if n > 1)
    cli.say(
        f"{recipe.stage}, {preset.name}, {recipe.run.batch} stories a step in {recipe.run.accumulate} pieces, "
        f"{recipe.run.dtype}, remat {recipe.run.remat}; {slice_name}: {len(devices)} devices, {lengths or 'no split'}"
    )
    cli.say(
        f"{'program':14}{'compiled':>10}{'arguments':>12}{'+ output':>10}{'+ temp':>10}{'= GiB':>8}{'model PFLOP':>14}"
    )
    # Shapes first: under a mesh of devices that are not there nothing can be computed, not even a key.
    programs = list(stage.programs(abstract_state(stage), abstract_frozen(stage)))
    with jax.set_mesh(mesh):
        made = [compile_program(program) for program in programs]
    budget = HBM.get(devices[0].device_kind)
    cli.say(f"a device has {budget or '?'} GiB; collectives are what one device receives in one run of the program")
    if unknown := max(c.collectives.unknown_loops for c in made):
        cli.say(
            f"{unknown} loop(s) end on a drawn number (the rollout's denoising steps, 1 to 4): their bodies count once"
        )
    if path:
        found = {"slice": slice_name, "mesh": dict(mesh.shape), "hbm_gib": budget, "recipe": dataclasses.asdict(recipe)}
        found["programs"] = [dataclasses.asdict(c) | {"total": c.total} for c in made]
        pathlib.Path(path).write_text(json.dumps(found, indent=1) + "\n")


def slice_devices(name: str) -> list[Any]:
    """The devices of a TPU slice that is not there."""
    if importlib.util.find_spec("libtpu") is None:
        raise InputError("--aot needs the TPU compiler: pip install 'shotstream-jax[aot]' (or pip install libtpu)")
    jax.config.update("jax_platforms", "cpu")  # a TPU that is there is left alone
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=name).devices)
    except (jax.errors.JaxRuntimeError, ValueError, NotImplementedError) as error:
        reason = (str(error).splitlines() or ["?"])[0]
        raise InputError(f"--aot {name}: no such TPU slice ({reason}); names are like {EXAMPLES}") from None


def compile_program(program: Program) -> Compiled:
    """Compiles, and prints the program's line of the report."""
    began = time.monotonic()
    try:
        compiled = program.jitted.lower(*program.arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        raise _does_not_fit(program, error) from None
    memory = compiled.memory_analysis()
    found = Compiled(
        program.name,
        time.monotonic() - began,
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
        memory.alias_size_in_bytes,
        memory.temp_size_in_bytes,
        program.flops,
        collectives(compiled.as_text()),
    )
    _say(found)
    return found


def _say(c: Compiled) -> None:
    gib = lambda size: f"{size / GIB:.2f}"  # noqa: E731
    cli.say(
        f"{c.name:14}{c.seconds:8.0f} s{gib(c.argument):>12}{gib(c.output - c.aliased):>10}{gib(c.temp):>10}"
        f"{gib(c.total):>8}{c.flops / 1e15:>10.4g}"
    )
    kinds = [f"{n}× {kind} {gib(c.collectives.bytes[kind])} GiB" for kind, n in c.collectives.count.items()]
    cli.say(f"{'':4}{', '.join(kinds) or 'no collectives'}")


def _does_not_fit(program: Program, error: Exception) -> Exception:
    """Running out of memory as one line; anything else is a bug, and stays what it is."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text:
        return error
    logging.debug("%s", text)
    return InputError(
        f"{program.name} does not fit: {_numbers(text)}. Raise mesh.sequence (a frame's tokens over more devices), "
        "lower run.batch or raise run.accumulate, set run.remat=full, or take a larger slice"
    )


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
