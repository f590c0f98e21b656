"""What a recipe needs on a TPU slice, found without the slice (aot/compile compiles).

  python -m shotstream_jax.train --config configs/dmd_intra.py:wan-1.3b --aot v5p:2x2x2 --config.mesh.sequence=2

The sizes are those of the preset after the colon of --config. What is told: whether it fits, memory a device, the
model's FLOPs by formula (train/flops) and the collectives (aot/hlo). How long a step takes is not known before one
runs.
"""

import dataclasses
import json
import pathlib

import jax

from shotstream_jax import cli
from shotstream_jax.aot.compile import HEAD, Compiled, Program, compile_program, slice_devices
from shotstream_jax.core.devices import HBM
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.presets import find_preset
from shotstream_jax.train.recipe import Recipe
from shotstream_jax.train.run.start import abstract_frozen, abstract_state

REMEDY = (
    "Raise mesh.sequence (a frame's tokens over more devices), lower run.batch or raise run.accumulate, set "
    "run.remat=full, or take a larger slice"
)


def report(recipe: Recipe, slice_name: str, config_name: str, path: str | None = None) -> None:
    """Prints what each program of the recipe needs on the slice; path: a JSON file for the same.

    Raises InputError if a program does not fit.
    """
    from shotstream_jax.train.__main__ import (
        make_stage,
    )  # which imports this module only when it is asked for

    devices = slice_devices(slice_name)
    mesh = make_mesh(recipe.mesh.lengths(), devices)
    preset = find_preset(config_name.partition(":")[2] or "tiny")
    stage = make_stage(recipe, preset, mesh, dataset=None)
    lengths = " ".join(f"{axis}={n}" for axis, n in mesh.shape.items() if n > 1)
    cli.say(
        f"{recipe.stage}, {preset.name}, {recipe.run.batch} stories a step in {recipe.run.accumulate} pieces, "
        f"{recipe.run.dtype}, remat {recipe.run.remat}; {slice_name}: {len(devices)} devices, {lengths or 'no split'}"
    )
    cli.say(HEAD)
    # Shapes first: under a mesh of devices that are not there nothing can be computed, not even a key.
    programs = list(stage.programs(abstract_state(stage), abstract_frozen(stage)))
    with jax.set_mesh(mesh):
        made = [_compile(program) for program in programs]
    budget = HBM.get(devices[0].device_kind)
    cli.say(
        f"a device has {budget or '?'} GiB; collectives are what one device receives in one run of the program"
    )
    if unknown := max(c.collectives.unknown_loops for c in made):
        cli.say(
            f"{unknown} loop(s) end on a drawn number (the rollout's denoising steps, 1 to 4): their bodies count once"
        )
    if path:
        found = {
            "slice": slice_name,
            "mesh": dict(mesh.shape),
            "hbm_gib": budget,
            "recipe": dataclasses.asdict(recipe),
        }
        found["programs"] = [c.as_dict() for c in made]
        pathlib.Path(path).write_text(json.dumps(found, indent=1) + "\n")


def _compile(program: Program) -> Compiled:
    """Prints the program's lines of the report too."""
    made = compile_program(program, REMEDY)
    cli.say(made.line)
    cli.say(f"    {made.sent}")
    return made
