"""Shots by a causal network in training: the live stream's steps, or many of a teacher."""

import jax.numpy as jnp

from shotstream_jax.core.typing import Array, Float, Params, PRNGKey
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.flow.solver import Velocity, sample
from shotstream_jax.generate.sampler import Guidance, SamplerConfig
from shotstream_jax.generate.shot import generate_latents, prefill
from shotstream_jax.train.losses.teacher_forcing import forced_velocity
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


def sample_autoregressive(
    setup: Setup,
    params: Params,
    conditions: Conditions,
    negative: Float[Array, "1 l e"],
    sampler: SamplerConfig,
    noise: Float[Array, "b f h w c"],
) -> Float[Array, "b f h w c"]:
    """A shot by the autoregressive teacher: each chunk by guided Euler steps, behind those made."""
    schedule = Schedule(sampler.steps, setup.schedule.shift)
    chunk = setup.preset.memory.chunk
    made = noise[:, :0]
    for first in range(0, noise.shape[1], chunk):
        velocity = _velocity_behind(setup, params, conditions, negative, sampler.guidance, made)
        x_0, _ = sample(velocity, noise[:, first : first + chunk], schedule)
        made = jnp.concatenate([made, x_0], axis=1)
    return made


def _velocity_behind(
    setup: Setup,
    params: Params,
    conditions: Conditions,
    negative: Float[Array, "1 l e"],
    guidance: Guidance,
    made: Float[Array, "b past h w c"],
) -> Velocity:
    """The guided velocity of the chunk that follows what is made."""
    first = made.shape[1]

    def velocity(x_t: Array, t: Array) -> Array:
        """At x_t, a chunk."""
        shot = jnp.concatenate([made, x_t], axis=1)
        times = jnp.broadcast_to(t[:, None], shot.shape[:2])

        def predict(given: Conditions) -> Array:
            """Under given conditions; of the chunk itself only."""
            v = forced_velocity(setup.forced, params, given, shot, shot, times)
            return v[:, first:]

        return guidance.apply(predict, conditions, negative)

    return velocity
