"""Sections `generator`, `critic`, `teacher`: one step of training each, one story, by recipe.

MFU is the FLOPs of the mathematics (train/flops: nothing that is computed again counts) a second,
over the data sheet's dense bfloat16 peak.
"""

import jax

from shotstream_jax import cli
from shotstream_jax.bench.survey.survey import Survey
from shotstream_jax.bench.training import training_parts
from shotstream_jax.core.sharding import part_mesh
from shotstream_jax.train.build import read_recipe


def generator_section(survey: Survey) -> None:
    """Distribution matching: a step of the student."""
    _step(survey, "dmd_intra", "generator")


def critic_section(survey: Survey) -> None:
    """Distribution matching: a step of the fake score."""
    _step(survey, "dmd_intra", "critic")


def teacher_section(survey: Survey) -> None:
    """Flow matching: a step of the teacher."""
    _step(survey, "teacher", "step")


def _step(survey: Survey, stage: str, name: str) -> None:
    """Times one program of a stage, on random arguments."""
    with survey.attempt(f"train {stage}", name):
        # The stage's own recipe, for one story and without accumulation of gradients.
        changes = [
            "--config.run.batch=1",
            f"--config.run.dtype={survey.dtype_name}",
            "--config.run.accumulate=1",
        ]
        recipe = read_recipe(cli.load_config(f"{stage}:{survey.preset.name}", changes))
        mesh = part_mesh({}, jax.devices()[:1])
        with jax.set_mesh(mesh):
            for part in training_parts(recipe, survey.preset, mesh, names=(name,)):
                survey.measure_part(part, least=2, stories=1, remat=recipe.run.remat)
