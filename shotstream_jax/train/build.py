"""From a recipe to what a run is made of: checked fields, opened data, and the stage."""

import dataclasses
from typing import TYPE_CHECKING

from jax.sharding import Mesh

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import Checkpoint, open_checkpoint
from shotstream_jax.checkpoint.checksum import part_checksum
from shotstream_jax.core.errors import InputError
from shotstream_jax.data.dataset import (
    Dataset,
    Settings,
    check_made_by,
    open_dataset,
)
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.presets import Preset
from shotstream_jax.train.network import Checkpoints
from shotstream_jax.train.recipe import (
    RECIPES,
    AutoencoderRecipe,
    ConsistencyRecipe,
    DmdRecipe,
    OdeRecipe,
    ShotRecipe,
    TeacherRecipe,
    TrainRecipe,
)
from shotstream_jax.train.setup import Setup, check_train_mesh
from shotstream_jax.train.stages.autoencoder import AutoencoderStage
from shotstream_jax.train.stages.consistency import ConsistencyStage
from shotstream_jax.train.stages.dmd_inter import InterStage
from shotstream_jax.train.stages.dmd_intra import IntraStage
from shotstream_jax.train.stages.ode_init import OdeInitStage
from shotstream_jax.train.stages.stage import Stage, TrainingData
from shotstream_jax.train.stages.teacher import TeacherStage
from shotstream_jax.train.stages.truth import check_truth_layer
from shotstream_jax.world.shots import open_world

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def read_recipe(config: "ConfigDict") -> TrainRecipe:
    """The recipe's fields, all checked. Raises InputError naming the field."""
    stage = config.get("stage")
    if stage not in RECIPES:
        raise InputError(
            f"config.stage {stage!r} is not known; the stages are {', '.join(RECIPES)}"
        )
    return cli.build(RECIPES[stage], config, "config")


def open_checkpoints(recipe: TrainRecipe) -> Checkpoints:
    """The checkpoints that a recipe names."""
    teacher = open_checkpoint(recipe.teacher) if isinstance(recipe, DmdRecipe) else None
    return Checkpoints(open_checkpoint(recipe.start.checkpoint), teacher)


def open_data(recipe: TrainRecipe, checkpoint: Checkpoint) -> TrainingData:
    """What a stage is trained on.

    Encoded clips; for the autoencoder the drawn world in the model's own format.
    """
    if isinstance(recipe, AutoencoderRecipe):
        preset = checkpoint.preset
        video = preset.video
        frames = preset.vae.pixel_frames(recipe.data.frames)
        return open_world(recipe.data, video.height, video.width, video.fps, frames)
    assert isinstance(recipe, ShotRecipe)
    return open_clips(recipe, checkpoint)


def open_clips(recipe: ShotRecipe, checkpoint: Checkpoint) -> Dataset:
    """A recipe's encoded clips. Raises InputError if they were made for or by another model."""
    preset = checkpoint.preset
    path = recipe.data.path
    dataset = open_dataset(path)
    settings = dataset.settings
    if settings.preset != preset.name or settings.context != preset.memory.context:
        raise InputError(
            f"{path} was made for {settings.preset} with a context of "
            f"{settings.context} frames, the model is {preset.name} with "
            f"{preset.memory.context}: precompute again"
        )
    _check_encoders(recipe, settings, checkpoint)
    return dataset


def _check_encoders(recipe: ShotRecipe, settings: Settings, checkpoint: Checkpoint) -> None:
    """Refuses data that another autoencoder or text encoder has made than the run's own.

    A teacher that trains its text encoder reads tokens, so the data's embeddings do not matter to
    it.
    """
    trains_text = isinstance(recipe, TeacherRecipe) and recipe.text_lr > 0
    # Reading a part to compare it takes a moment, so only what the data names is read.
    made_by = {"text": settings.text_sha256, "vae": settings.vae_sha256}
    if trains_text:
        del made_by["text"]
    checksums = {}
    for part, checksum in made_by.items():
        if checksum and part in checkpoint.parts:
            checksums[part] = part_checksum(checkpoint, part)
    check_made_by(settings, checkpoint.name, checksums)


def make_stage(
    recipe: TrainRecipe,
    preset: Preset,
    mesh: Mesh,
    data: TrainingData | None,
    checkpoints: Checkpoints | None = None,
) -> Stage:
    """The stage of a recipe, all sizes checked against the model, the mesh and the data.

    Without data and checkpoints (ahead of time) no file is looked at, and the format is the
    preset's own.
    """
    setup = make_setup(recipe, preset, mesh, data, checkpoints)
    match recipe:
        case AutoencoderRecipe():
            return AutoencoderStage(recipe, setup)
        case TeacherRecipe():
            check_truth_layer(recipe.truth, preset.dit.layers)
            return TeacherStage(recipe, setup)
        case OdeRecipe():
            return OdeInitStage(recipe, setup)
        case ConsistencyRecipe():
            return ConsistencyStage(recipe, setup)
        case DmdRecipe(stage="dmd_intra"):
            return IntraStage(recipe, setup)
        case DmdRecipe():
            return InterStage(recipe, setup)
    raise ValueError(f"there is no stage for {type(recipe).__name__}")


def make_setup(
    recipe: TrainRecipe,
    preset: Preset,
    mesh: Mesh,
    data: TrainingData | None,
    checkpoints: Checkpoints | None = None,
) -> Setup:
    """The modules and sizes of a run, checked."""
    # The pictures' size is that of the data, where there is any.
    grid = preset.latent_grid(preset.video)
    if isinstance(data, Dataset):
        grid = preset.vae.grid(data.settings.height, data.settings.width)
    # A distillation's teacher may differ from its student in the shot phase alone.
    scores = None
    if checkpoints is not None and checkpoints.teacher is not None:
        scores = _score_sizes(checkpoints, preset)
    preset.memory.check_shot(recipe.data.frames)
    check_train_mesh(preset, recipe.run, mesh, grid)
    return Setup(preset, recipe.run, mesh, grid, recipe.data.frames, scores)


def _score_sizes(checkpoints: Checkpoints, preset: Preset) -> DiTConfig:
    """The sizes of a distillation's teacher: those of its student, but for the shot phase."""
    assert checkpoints.teacher is not None
    teacher = checkpoints.teacher.preset
    dit = dataclasses.replace(preset.dit, shot_phase=teacher.dit.shot_phase)
    if teacher != dataclasses.replace(preset, dit=dit):
        raise InputError(
            f"teacher {checkpoints.teacher.name} has other sizes than {checkpoints.start.name}: "
            "both must agree"
        )
    return teacher.dit
