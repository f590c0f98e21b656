"""From a recipe to what a run is made of: checked fields, opened data, and the stage."""

import dataclasses

from jax.sharding import Mesh
from ml_collections import ConfigDict

from shotstream_jax import cli
from shotstream_jax.checkpoint.load import preset_of
from shotstream_jax.core.errors import InputError
from shotstream_jax.data.records import Dataset, open_dataset
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.presets import Preset
from shotstream_jax.train.recipe import (
    RECIPES,
    AutoencoderRecipe,
    DmdRecipe,
    OdeRecipe,
    ShotRecipe,
    TeacherRecipe,
    TrainRecipe,
)
from shotstream_jax.train.setup import Setup, check_train_mesh
from shotstream_jax.train.stages.autoencoder import AutoencoderStage
from shotstream_jax.train.stages.dmd_inter import InterStage
from shotstream_jax.train.stages.dmd_intra import IntraStage
from shotstream_jax.train.stages.ode_init import OdeInitStage
from shotstream_jax.train.stages.stage import Stage, TrainingData
from shotstream_jax.train.stages.teacher import TeacherStage
from shotstream_jax.world.shots import open_world


def read_recipe(config: ConfigDict) -> TrainRecipe:
    """The recipe's fields, all checked. Raises InputError naming the field."""
    stage = config.get("stage")
    if stage not in RECIPES:
        raise InputError(
            f"config.stage {stage!r} is not known; the stages are {', '.join(RECIPES)}"
        )
    return cli.build(RECIPES[stage], config, "config")


def open_data(recipe: TrainRecipe, preset: Preset) -> TrainingData:
    """What a stage is trained on.

    Encoded clips; for the autoencoder the drawn world in the model's own format.
    """
    if isinstance(recipe, AutoencoderRecipe):
        video = preset.video
        frames = preset.vae.pixel_frames(recipe.data.frames)
        return open_world(recipe.data, video.height, video.width, video.fps, frames)
    assert isinstance(recipe, ShotRecipe)
    return open_clips(recipe, preset)


def open_clips(recipe: ShotRecipe, preset: Preset) -> Dataset:
    """A recipe's encoded clips. Raises InputError if they were made for another model."""
    path = recipe.data.path
    dataset = open_dataset(path)
    settings = dataset.settings
    if settings.preset != preset.name or settings.context != preset.memory.context:
        raise InputError(
            f"{path} was made for {settings.preset} with a context of "
            f"{settings.context} frames, the model is {preset.name} with "
            f"{preset.memory.context}: precompute again"
        )
    return dataset


def make_stage(recipe: TrainRecipe, preset: Preset, mesh: Mesh, data: TrainingData | None) -> Stage:
    """The stage of a recipe, all sizes checked against the model, the mesh and the data.

    Without data (ahead of time) no file is looked at, and the format is the preset's own.
    """
    setup = make_setup(recipe, preset, mesh, data)
    match recipe:
        case AutoencoderRecipe():
            return AutoencoderStage(recipe, setup)
        case TeacherRecipe():
            return TeacherStage(recipe, setup)
        case OdeRecipe():
            return OdeInitStage(recipe, setup)
        case DmdRecipe(stage="dmd_intra"):
            return IntraStage(recipe, setup)
        case DmdRecipe():
            return InterStage(recipe, setup)
    raise ValueError(f"there is no stage for {type(recipe).__name__}")


def make_setup(recipe: TrainRecipe, preset: Preset, mesh: Mesh, data: TrainingData | None) -> Setup:
    """The modules and sizes of a run, checked."""
    grid = preset.latent_grid(preset.video)
    if isinstance(data, Dataset):
        grid = preset.vae.grid(data.settings.height, data.settings.width)
    scores = None
    if isinstance(recipe, DmdRecipe) and data is not None:
        scores = _score_sizes(recipe, preset)
    preset.memory.check_shot(recipe.data.frames)
    check_train_mesh(preset, recipe.run, mesh, grid)
    return Setup(preset, recipe.run, mesh, grid, recipe.data.frames, scores)


def _score_sizes(recipe: DmdRecipe, preset: Preset) -> DiTConfig:
    """The sizes of a distillation's teacher: those of its student, but for the shot phase."""
    teacher = preset_of(recipe.teacher)
    dit = dataclasses.replace(preset.dit, shot_phase=teacher.dit.shot_phase)
    if teacher != dataclasses.replace(preset, dit=dit):
        raise InputError(
            f"teacher {recipe.teacher} has other sizes than {recipe.start.checkpoint}: "
            "both must agree"
        )
    return teacher.dit
