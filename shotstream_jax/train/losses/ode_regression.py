"""Stage 2: the student learns the teacher's trajectories (docs/method.md, section 4).

A trajectory has the teacher's inputs at the student's four times, and the x₀ that they lead to. For
every chunk one of the five is drawn (the fifth is x₀ itself, at t = 0); the student sees all chunks
in its whole-sequence form and predicts x₀:

    loss = mean((x̂₀ − x₀)²) over the frames with t > 0                         (1)
"""

import flax
import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core import rng
from shotstream_jax.core.typing import Array, Float, Int, Params, PRNGKey, typechecked
from shotstream_jax.dit.conditions import Conditions, Dropout, Dropped
from shotstream_jax.dit.student import Student
from shotstream_jax.flow.schedule import FewSteps, Schedule, lift
from shotstream_jax.nn.apply import apply


@flax.struct.dataclass
class PairBatch:
    """Trajectories with their conditions.

    Trajectory: the inputs of the student's steps, then x₀.
    """

    trajectory: Float[Array, "b kept f h w c"]
    conditions: Conditions


@flax.struct.dataclass
class RegressionDraws:
    """What is random in the loss of a batch.

    entry: which point of the trajectory each chunk sees. dropped: which conditions are left out.
    """

    entry: Int[Array, "b chunks"]
    dropped: Dropped


def draw_regression(
    key: PRNGKey, batch: PairBatch, chunk: int, dropout: Dropout
) -> RegressionDraws:
    """Draws for a batch. chunk: latent frames of a chunk."""
    rows, kept, frames = batch.trajectory.shape[:3]
    entry = jax.random.randint(
        rng.stream(key, "entry"), (rows, frames // chunk), 0, kept, jnp.int32
    )
    return RegressionDraws(entry, dropout.draw(key, rows))


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
    # The clean context in front, as in inference.
    context = conditions.context.shape[1]
    x = jnp.concatenate([conditions.context, x_t], axis=1)  # [b, C + f, h, w, c]
    times = jnp.pad(t, ((0, 0), (context, 0)))  # [b, C + f]
    ids = conditions.frame_ids(x_t.shape[1])
    v = apply(student, params, x, times, ids, conditions.text)
    return schedule.velocity_to_x0(v[:, context:], x_t, t)


def regression_loss(
    student: Student,
    steps: FewSteps,
    schedule: Schedule,
    params: Params,
    batch: PairBatch,
    draws: RegressionDraws,
) -> Float[Array, ""]:
    """Eq. (1); 0 if every chunk drew x₀."""
    conditions = draws.dropped.apply(batch.conditions)
    # Each frame's point of the trajectory, and its time: [b, f].
    entry = jnp.repeat(draws.entry, student.memory.chunk, axis=1)
    step_times, _ = steps.table
    times = jnp.asarray(np.append(step_times, np.float32(0)))
    t = times[entry]
    # What each frame looks like at its time, [b, f, h, w, c].
    x_t = jnp.take_along_axis(batch.trajectory, entry[:, None, :, None, None, None], axis=1)[:, 0]
    x_0 = student_x0(student, schedule, params, conditions, x_t, t)
    # Mean over the frames that are noisy.
    is_noisy = lift(t > 0, x_0)
    total = jnp.sum(jnp.square(x_0 - batch.trajectory[:, -1]) * is_noisy)
    count = jnp.sum(is_noisy) * np.prod(x_0.shape[2:])
    return total / jnp.maximum(count, 1)
