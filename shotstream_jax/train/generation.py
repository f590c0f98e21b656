"""Shots made by the student in training, for sample videos: the live stream's steps on a whole batch."""

import jax.numpy as jnp

from shotstream_jax.core.typing import Array, PRNGKey
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.generate.shot import generate_latents, prefill
from shotstream_jax.model import Params
from shotstream_jax.train.setup import Setup
from shotstream_jax.train.step import normal_rows


def make_shot(setup: Setup, params: Params, conditions: Conditions, key: PRNGKey) -> Array:
    """Latents [b, f, h, w, c] of a shot, as inference makes it: all steps, clean commits."""
    student, b, chunk = setup.student, conditions.context.shape[0], setup.preset.memory.chunk
    shape = (b, setup.frames // chunk, len(setup.steps.nominal), chunk, *setup.latent)
    noise = jnp.moveaxis(normal_rows(key, shape), 0, 2)
    caches = student.init_caches(b, *setup.grid)
    caches = prefill(
        student, params, conditions.context, conditions.context_ids(), conditions.text, caches
    )
    return generate_latents(student, params, noise, conditions.shot_ids(chunk), caches, setup.steps)
