"""What a recipe needs on a TPU slice or GPUs, found without them (aot/compile compiles).

  shotstream train --config dmd_intra:wan-1.3b --aot v5p:2x2x2
  --config.mesh.sequence=2

The sizes are those of the preset after the colon of --config. What is told: whether it fits, memory
a device, the model's FLOPs by formula (train/flops) and the collectives (aot/collectives). On a TPU
how long a step takes is not known before one runs; for a GPU it is forecast (aot/prices).
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax

from shotstream_jax import cli
from shotstream_jax.aot.compile import HEAD, Compiled, Program, aot_devices, compile_program
from shotstream_jax.aot.prices import assumed_rates, forecast
from shotstream_jax.core.devices import device_peak, program_memory
from shotstream_jax.core.files import write_json
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.presets import find_preset
from shotstream_jax.train.build import make_stage
from shotstream_jax.train.recipe import TrainRecipe
from shotstream_jax.train.stages.stage import abstract_start

REMEDY = (
    "Raise mesh.sequence (a frame's tokens over more devices), lower run.batch or raise "
    "run.accumulate, set run.remat=full, or take a larger slice"
)


def report_training(
    recipe: TrainRecipe, slice_name: str, config_name: str, path: str | None = None
) -> None:
    """Prints what each program of the recipe needs on the slice; path: a JSON file for the same.

    Raises InputError if a program does not fit.
    """
    devices = aot_devices(slice_name)
    mesh = make_mesh(recipe.mesh.lengths(), devices)
    preset = find_preset(config_name.partition(":")[2] or "tiny")
    stage = make_stage(recipe, preset, mesh, data=None)
    split = " ".join(f"{axis}={n}" for axis, n in mesh.shape.items() if n > 1)
    run = recipe.run
    cli.print_line(
        f"{recipe.stage}, {preset.name}, {run.batch} stories a step in {run.accumulate} pieces, "
        f"{run.dtype}, remat {run.remat}; {slice_name}: {len(devices)} devices, "
        f"{split or 'no split'}"
    )
    cli.print_line(HEAD)
    # Shapes first: under a mesh of devices that are not there nothing can be computed.
    programs = list(stage.programs(*abstract_start(stage)))
    with jax.set_mesh(mesh):
        made = [_compile(program, devices) for program in programs]
    memory = program_memory(devices[0])
    cli.print_line(
        f"a device has {memory or '?'} GiB; collectives are what one device receives in one run "
        "of the program"
    )
    unknown = max(compiled.collectives.unknown_loops for compiled in made)
    if unknown:
        cli.print_line(
            f"{unknown} loop(s) end on a drawn number (the rollout's denoising steps, 1 to 4): "
            "their bodies count once"
        )
    if path:
        found = {
            "slice": slice_name,
            "mesh": dict(mesh.shape),
            "hbm_gib": memory,
            "recipe": dataclasses.asdict(recipe),
            "programs": [compiled.as_dict() for compiled in made],
        }
        write_json(pathlib.Path(path), found)


def _compile(program: Program, devices: Sequence[jax.Device]) -> Compiled:
    """Compiles a program, and prints its lines of the report."""
    made = compile_program(program, REMEDY)
    cli.print_line(made.line)
    cli.print_line(f"    {made.sent}")
    peak = device_peak(devices[0])
    # Only programs for GPUs are read kernel by kernel.
    if made.kernels and peak:
        seconds = forecast(made.kernels, assumed_rates(peak)).total_seconds
        line = f"    {made.accessed / 1e9:.0f} GB moved; forecast {seconds:.2f} s"
        if len(devices) > 1:
            line += ", without the exchange between GPUs"
        if made.collectives.unknown_loops:
            # Its time is not known, and so no share of anything.
            line += " and what a loop of drawn length takes beyond its first round"
        else:
            # The model's FLOPs only: what is computed again for the gradient does not count.
            share = made.flops / seconds / (peak.flops * len(devices))
            line += f": {100 * share:.0f} % of {peak.flops / 1e12:.0f} TFLOP/s (MFU)"
        cli.print_line(line)
    return made
