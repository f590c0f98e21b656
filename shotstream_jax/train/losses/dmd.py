"""Stages 3 and 4: distribution matching (docs/method.md, section 4).

Two scores tell the student where its samples should move:

    x_t  = noised sample x, one t a story, clamped to [20, 980]                              (1)
    fake = x₀ by the fake score         real = guided x₀ by the teacher (generate/sampler)   (2)
    grad = (fake − real)/mean|x − real|, mean over everything but the batch, NaN → 0         (3)
    generator loss = ½·mean((x − stop(x − grad))²), so its gradient by x is grad/size(x)     (4)
    critic loss    = mean((v̂ − (ε − x))²) of the fake score, unweighted                      (5)
"""

import dataclasses
from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp

from shotstream_jax.core import rng
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, Int, Params, PRNGKey, typechecked
from shotstream_jax.dit.conditions import Conditions, Dropout, Dropped
from shotstream_jax.dit.student import Student
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import FewSteps, Schedule
from shotstream_jax.generate.sampler import Guidance, shot_velocity
from shotstream_jax.train.losses.flow_matching import velocity_error
from shotstream_jax.train.losses.rollout import Rollout, replay, rollout
from shotstream_jax.train.step import normal_rows


@dataclasses.dataclass(frozen=True)
class DmdConfig:
    """guidance: of the real score. critic_steps: critic steps after each generator step.

    least_time, most_time: the clamp of t, eq. (1).
    """

    guidance: Guidance = dataclasses.field(default_factory=lambda: Guidance(text=3.0))
    critic_steps: int = 5
    least_time: float = 20.0
    most_time: float = 980.0

    def __post_init__(self) -> None:
        if self.critic_steps < 0 or not 0 <= self.least_time < self.most_time <= 1000:
            raise InputError(
                f"{self}: expected critic_steps ≥ 0 and 0 ≤ least_time < most_time ≤ 1000"
            )

    def trains_generator(self, step: int) -> bool:
        """Step i trains the generator when i mod (critic_steps + 1) = 0, otherwise the critic."""
        return step % (self.critic_steps + 1) == 0


@dataclasses.dataclass(frozen=True)
class DmdModels:
    """The modules of a distillation step. score: the bidirectional network, in both scores."""

    student: Student
    score: Teacher
    steps: FewSteps
    schedule: Schedule
    config: DmdConfig


@flax.struct.dataclass
class DmdDraws:
    """What is random in the losses of a batch.

    rollout: noise of every chunk's steps and of its commit.
    time: of the scores, entries of the schedule's table. noise: of the scores.
    dropped: which conditions are left out.
    """

    rollout: Float[Array, "b chunks draws cf h w c"]
    time: Int[Array, "b"]
    noise: Float[Array, "b f h w c"]
    dropped: Dropped


def draw_dmd(
    key: PRNGKey, models: DmdModels, shape: tuple[int, ...], dropout: Dropout
) -> tuple[DmdDraws, Int[Array, ""]]:
    """Draws for a batch of shots [b, f, h, w, c], and the step at which all of them stop."""
    batch, frames, *latent = shape
    # One draw for the start, one for each later step, one for the commit: steps + 1 a chunk.
    chunk = models.student.memory.chunk
    steps = len(models.steps.nominal)
    rollout_shape = (batch, frames // chunk, steps + 1, chunk, *latent)
    draws = DmdDraws(
        rollout=normal_rows(rng.stream(key, "rollout"), rollout_shape),
        time=jax.random.randint(
            rng.stream(key, "time"), (batch,), 0, models.schedule.steps, jnp.int32
        ),
        noise=normal_rows(rng.stream(key, "noise"), shape),
        dropped=dropout.draw(key, batch),
    )
    last = jax.random.randint(rng.stream(key, "last"), (), 0, steps, jnp.int32)
    return draws, last


class Scores(NamedTuple):
    """Parameters of the two scores."""

    fake: Params
    real: Params


def generator_loss(
    models: DmdModels,
    student: Params,
    scores: Scores,
    conditions: Conditions,
    negative: Float[Array, "1 l e"],
    draws: DmdDraws,
    last: Int[Array, ""],
) -> tuple[Array, tuple[dict[str, Array], Rollout]]:
    """The student's loss, eq. (4); the gradient goes to the student only.

    Args:
      models: the modules.
      student: the student's parameters.
      scores: those of the scores.
      conditions: of the shots.
      negative: the embedding of the negative prompt.
      draws: what is random.
      last: the step at which the rollout stops.

    Returns:
      (loss, (metrics, the rollout)).
    """
    conditions = draws.dropped.apply(conditions)
    # 1. The student makes a shot, without gradient.
    made = _make_shot(models, student, conditions, draws, last)
    # 2. The scores say where the noised shot should move.
    t = clamped_time(models, draws.time)
    x_t = models.schedule.add_noise(made.x_0, draws.noise, t)
    scores = jax.lax.stop_gradient(scores)
    gradient = kl_gradient(models, scores, conditions, negative, made.x_0, x_t, t)
    # 3. The same shot as a function of the student's parameters carries that gradient back.
    x = replay(models.student, student, conditions, made, last, models.steps)
    metrics = {"kl_gradient": jnp.mean(jnp.abs(gradient))}
    return matching_loss(x, gradient), (metrics, made)


def critic_loss(
    models: DmdModels,
    student: Params,
    fake: Params,
    conditions: Conditions,
    draws: DmdDraws,
    last: Int[Array, ""],
) -> tuple[Array, Rollout]:
    """The fake score's loss, eq. (5), and the rollout; the gradient goes to the fake score only."""
    conditions = draws.dropped.apply(conditions)
    made = _make_shot(models, student, conditions, draws, last)
    # The fake score learns to predict what the student makes, at a noise level of its own.
    t = clamped_time(models, draws.time)
    errors = velocity_error(
        models.score, models.schedule, fake, conditions, made.x_0, draws.noise, t
    )
    return jnp.mean(errors), made


def _make_shot(
    models: DmdModels,
    student: Params,
    conditions: Conditions,
    draws: DmdDraws,
    last: Int[Array, ""],
) -> Rollout:
    """The student's rollout that both losses begin with, without gradient."""
    return rollout(
        models.student,
        student,
        conditions,
        draws.rollout,
        last,
        models.steps,
        models.schedule,
    )


@typechecked
def kl_gradient(
    models: DmdModels,
    scores: Scores,
    conditions: Conditions,
    negative: Float[Array, "1 l e"],
    x: Float[Array, "b f h w c"],
    x_t: Float[Array, "b f h w c"],
    t: Float[Array, "b"],
) -> Float[Array, "b f h w c"]:
    """Eqs. (2, 3). negative: the embedding of the negative prompt."""

    def predict_x0(params: Params, conditions: Conditions) -> Array:
        """x₀ of the noised sample by one of the scores."""
        velocity = shot_velocity(models.score, params, conditions, x_t, t)
        return models.schedule.velocity_to_x0(velocity, x_t, t)

    def predict_real(conditions: Conditions) -> Array:
        """x₀ by the teacher."""
        return predict_x0(scores.real, conditions)

    # Both x₀ predictions, [b, f, h, w, c]; only the real one is guided.
    real = models.config.guidance.apply(predict_real, conditions, negative)
    fake = predict_x0(scores.fake, conditions)
    # Normalised for each story, so that all noise levels pull with the same strength.
    scale = jnp.mean(jnp.abs(x - real), axis=(1, 2, 3, 4), keepdims=True)
    return jnp.nan_to_num((fake - real) / scale)


@typechecked
def matching_loss(
    x: Float[Array, "b f h w c"], gradient: Float[Array, "b f h w c"]
) -> Float[Array, ""]:
    """Eq.

    (4): its value, and its gradient by x without the cancellation of x − (x − grad) in float32.
    """
    value = 0.5 * jnp.mean(jnp.square(gradient))
    # The surrogate has eq. (4)'s gradient by x, grad/size(x), but another value.
    surrogate = jnp.mean(x * jax.lax.stop_gradient(gradient))
    return surrogate + jax.lax.stop_gradient(value - surrogate)


def clamped_time(models: DmdModels, entry: Int[Array, "b"]) -> Float[Array, "b"]:
    """Eq. (1): the network sees the clamped t itself, σ is the nearest table entry's."""
    t = jnp.asarray(models.schedule.times)[entry]
    return jnp.clip(t, models.config.least_time, models.config.most_time)
