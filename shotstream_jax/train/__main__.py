"""Train the autoencoder, or one of the four stages, on one machine or many.

  python -m shotstream_jax.train --config configs/autoencoder.py:tiny --workdir out/tiny/autoencoder
  python -m shotstream_jax.train --config configs/teacher.py:tiny --workdir out/tiny/teacher
  python -m shotstream_jax.train.ode_pairs --config configs/ode_init.py:tiny
  python -m shotstream_jax.train --config configs/ode_init.py:tiny --workdir out/tiny/ode_init
  python -m shotstream_jax.train --config configs/dmd_intra.py:tiny --workdir out/tiny/dmd_intra
  python -m shotstream_jax.train --config configs/dmd_inter.py:tiny --workdir out/tiny/dmd_inter

The same command goes on where an interrupted run stopped. SIGTERM saves, and exits with 0. WORKDIR/model is the result.
--aot compiles a recipe for a TPU slice that need not be there, and says what it would need (docs/aot.md).
"""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import jax
from absl import logging
from jax.sharding import Mesh

from shotstream_jax import cli
from shotstream_jax.checkpoint.load import preset_of
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.data.records import Dataset, open_dataset
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.presets import Preset
from shotstream_jax.train.recipe import RECIPES, AutoencoderRecipe, DmdRecipe, Recipe
from shotstream_jax.train.run.loop import Run
from shotstream_jax.train.setup import Setup, check_mesh
from shotstream_jax.train.stage import Data, Stage
from shotstream_jax.train.stages.autoencoder import AutoencoderStage
from shotstream_jax.train.stages.dmd_inter import InterStage
from shotstream_jax.train.stages.dmd_intra import IntraStage
from shotstream_jax.train.stages.ode_init import OdeInitStage
from shotstream_jax.train.stages.teacher import TeacherStage
from shotstream_jax.world.shots import open_world

STAGES = {
    "autoencoder": AutoencoderStage,
    "teacher": TeacherStage,
    "ode_init": OdeInitStage,
    "dmd_intra": IntraStage,
    "dmd_inter": InterStage,
}


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.train", __doc__)
    p.add_recipe("teacher")
    p.add_argument("--json", metavar="FILE", help="with --aot: write the report there too")
    p.add_argument("--workdir", metavar="DIR", help="the run's folder: made, or gone on with")
    p.add_argument(
        "--aot",
        metavar="SLICE",
        help="compile for a TPU slice that need not be there, e.g. v5p:2x2x2, say what it needs, and stop; no "
        "checkpoint and no data are read: the model's size is the preset after the colon of --config (default: tiny)",
    )
    add_distributed(p)
    return p


def add_distributed(p: cli.Parser) -> None:
    p.add_argument(
        "--distributed",
        metavar="HOST:PORT,N,I",
        nargs="?",
        const="auto",
        help="many processes; alone where JAX finds them itself (TPU pod, SLURM), else coordinator, number, which one",
    )


def main(argv: Sequence[str]) -> None:
    args, config = parser().parse(argv)
    recipe = read_recipe(config)
    if args.aot:
        from shotstream_jax.train.aot import report  # only there is a TPU compiler needed

        report(recipe, args.aot, args.config, args.json)
        return
    if not args.workdir:
        raise InputError("--workdir is missing: name the run's folder")
    start_processes(args.distributed)
    use_persistent_cache()
    preset = preset_of(recipe.start.checkpoint)
    dataset = open_data(recipe, preset)
    mesh = make_mesh(recipe.mesh.lengths())
    stage = make_stage(recipe, preset, mesh, dataset)
    run = Run(recipe, stage, dataset, pathlib.Path(args.workdir))
    logging.info("%s, %s on %d devices", recipe.stage, preset.name, len(jax.devices()))
    run.train()


def read_recipe(config: cli.ConfigDict) -> Recipe:
    """The recipe's fields, all checked."""
    stage = config.get("stage")
    if stage not in RECIPES:
        raise InputError(
            f"config.stage {stage!r} is not known; the stages are {', '.join(RECIPES)}"
        )
    return cli.build(RECIPES[stage], config, "config")


def open_data(recipe: Recipe, preset: Preset) -> Data:
    """What a stage is trained on: encoded clips, or for the autoencoder the drawn world in the model's own format."""
    if isinstance(recipe, AutoencoderRecipe):
        video, frames = preset.video, preset.vae.pixel_frames(recipe.data.frames)
        return open_world(recipe.data, video.height, video.width, video.fps, frames)
    dataset = open_dataset(recipe.data.path)
    check_data(recipe, preset, dataset)
    return dataset


def start_processes(distributed: str | None) -> None:
    """Joins JAX's own runtime of many processes."""
    if distributed is None:
        return
    try:
        if distributed == "auto":
            jax.distributed.initialize()
        else:
            address, count, number = distributed.split(",")
            jax.distributed.initialize(address, int(count), int(number))
    except ValueError as error:
        raise InputError(
            f"--distributed {distributed}: {error}; write HOST:PORT,number of processes,this one from 0 (alone it "
            "works on a TPU pod or under SLURM only)"
        ) from None


def make_stage(recipe: Recipe, preset: Preset, mesh: Mesh, dataset: Data | None) -> Stage:
    """The stage of a recipe, all sizes checked against the model, the mesh, and the data.

    Without a dataset (ahead of time) no file is looked at, and the format is the preset's own.
    """
    grid = preset.latent_grid(preset.video)
    scores = scores_of(recipe, preset) if dataset is not None else None
    if isinstance(dataset, Dataset):
        grid = preset.vae.grid(dataset.settings.height, dataset.settings.width)
    preset.memory.check_shot(recipe.data.frames)
    check_mesh(preset, recipe, mesh, grid)
    return STAGES[recipe.stage](
        recipe, Setup(preset, recipe.run, mesh, grid, recipe.data.frames, scores)
    )


def check_data(recipe: Recipe, preset: Preset, dataset: Dataset) -> None:
    settings = dataset.settings
    if (settings.preset, settings.context) != (preset.name, preset.memory.context):
        raise InputError(
            f"{recipe.data.path} was made for {settings.preset} with a context of {settings.context} frames, the model "
            f"is {preset.name} with {preset.memory.context}: precompute again"
        )


def scores_of(recipe: Recipe, preset: Preset) -> DiTConfig | None:
    """The sizes of a distillation's teacher: those of its student, but for the shot phase."""
    if not isinstance(recipe, DmdRecipe):
        return None
    teacher = preset_of(recipe.teacher)
    alike = dataclasses.replace(
        preset, dit=dataclasses.replace(preset.dit, shot_phase=teacher.dit.shot_phase)
    )
    if teacher != alike:
        raise InputError(
            f"teacher {recipe.teacher} has other sizes than {recipe.start.checkpoint}: both must agree"
        )
    return teacher.dit


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    cli.run(main)
