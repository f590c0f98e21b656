"""Stage 2, causal initialisation (spec page 4): the student learns the teacher's trajectories.

A trajectory has the teacher's inputs at the student's four times, and the x₀ that they lead to. For every chunk one of
the five is drawn (the fifth is x₀ itself, at t = 0); the student sees all chunks in whole-sequence form, predicting x₀:

    loss = mean((x̂₀ − x₀)²) over the frames with t > 0                         (1)
"""

import flax
import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core import rng
from shotstream_jax.core.typing import Array, Float, Int, PRNGKey, typechecked
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.dit.student import Student
from shotstream_jax.flow.schedule import FewSteps, Schedule, lift
from shotstream_jax.model import Params
from shotstream_jax.train.losses.flow_matching import Dropout, Dropped


@flax.struct.dataclass
class PairBatch:
    """trajectory: the inputs of the student's steps, then x₀."""

    trajectory: Float[Array, "b kept f h w c"]
    conditions: Conditions


@flax.struct.dataclass
class Draws:
    """entry: which of the trajectory each chunk sees."""

    entry: Int[Array, "b chunks"]
    dropped: Dropped


def draw(key: PRNGKey, batch: PairBatch, chunk: int, dropout: Dropout) -> Draws:
    rows, kept, frames = batch.trajectory.shape[:3]
    entry = jax.random.randint(rng.stream(key, "entry"), (rows, frames // chunk), 0, kept)
    return Draws(entry, dropout.draw(key, rows))


@typechecked
def student_x0(
    student: Student,
    schedule: Schedule,
    params: Params,
    conditions: Conditions,
    x_t: Float[Array, "b f h w c"],
    t: Float[Array, "b f"],
) -> Float[Array, "b f h w c"]:
    """The whole-sequence student's x₀ of the shot's frames; the context is at t = 0."""
    context = conditions.context.shape[1]
    x = jnp.concatenate([conditions.context, x_t], axis=1)
    times = jnp.pad(t, ((0, 0), (context, 0)))
    v = student.apply(
        {"params": params}, x, times, conditions.frame_ids(x_t.shape[1]), conditions.text
    )[:, context:]
    return schedule.velocity_to_x0(v, x_t, t)


def regression_loss(
    student: Student,
    steps: FewSteps,
    schedule: Schedule,
    params: Params,
    batch: PairBatch,
    draws: Draws,
) -> Array:
    """Eq. (1); 0 if every chunk drew x₀."""
    conditions = draws.dropped.apply(batch.conditions)
    entry = jnp.repeat(draws.entry, student.memory.chunk, axis=1)
    t = jnp.asarray(np.append(steps.table[0], np.float32(0)))[entry]
    x_t = jnp.take_along_axis(batch.trajectory, entry[:, None, :, None, None, None], axis=1)[:, 0]
    x_0 = student_x0(student, schedule, params, conditions, x_t, t)
    noisy = lift(t > 0, x_0)
    total = jnp.sum(jnp.square(x_0 - batch.trajectory[:, -1]) * noisy)
    return total / jnp.maximum(jnp.sum(noisy) * np.prod(x_0.shape[2:]), 1)
