"""Shots by the student in training: the live stream's steps on a whole batch."""

import jax.numpy as jnp

from shotstream_jax.core.typing import Array, Float, Params, PRNGKey
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.generate.shot import generate_latents, prefill
from shotstream_jax.train.setup import Setup
from shotstream_jax.train.step import normal_rows


def sample_student(
    setup: Setup, params: Params, conditions: Conditions, key: PRNGKey
) -> Float[Array, "b f h w c"]:
    """Latents of a shot as inference makes it: all denoising steps, clean commits."""
    student = setup.student
    batch = conditions.context.shape[0]
    chunk = setup.preset.memory.chunk
    # Noise of every chunk's steps, [chunks, steps, b, cf, h, w, c].
    shape = (
        batch,
        setup.frames // chunk,
        len(setup.steps.nominal),
        chunk,
        *setup.latent_shape,
    )
    noise = jnp.moveaxis(normal_rows(key, shape), 0, 2)
    # The context and the captions into fresh caches, then all chunks in one scan.
    caches = student.init_caches(batch, *setup.grid)
    context_ids = conditions.context_ids()
    caches = prefill(student, params, conditions.context, context_ids, conditions.text, caches)
    ids = conditions.shot_ids(chunk)
    return generate_latents(student, params, noise, ids, caches, setup.steps)
