"""Stages 3 and 4, distribution matching (spec page 4): two scores tell the student where its samples should move.

    x_t  = noised sample x, one t a story, clamped to [20, 980]                              (1)
    fake = x₀ by the fake score         real = guided x₀ by the teacher, flow_matching (2)   (2)
    grad = (fake − real)/mean|x − real|, mean over everything but the batch, NaN → 0         (3)
    generator loss = ½·mean((x − stop(x − grad))²), so its gradient by x is grad/size(x)     (4)
    critic loss    = mean((v̂ − (ε − x))²) of the fake score, unweighted                      (5)

The spec counts this guidance from cond, g·(cond − uncond), unlike the sampler's.
"""

import dataclasses

import flax
import jax
import jax.numpy as jnp

from shotstream_jax.core import rng
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, Int, PRNGKey, typechecked
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.dit.student import Student
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import FewSteps, Schedule
from shotstream_jax.model import Params
from shotstream_jax.train.losses.flow_matching import (
    Dropout,
    Dropped,
    Guidance,
    shot_velocity,
    velocity_error,
)
from shotstream_jax.train.losses.rollout import Rollout, replay, rollout
from shotstream_jax.train.step import normal_rows


@dataclasses.dataclass(frozen=True)
class Distillation:
    """guidance, context_guidance: of the real score, text and context of flow_matching.Guidance. critic_steps: critic
    steps after each generator step. times: the clamp of t."""

    guidance: float = 3.0
    context_guidance: float = 0.0
    critic_steps: int = 5
    least_time: float = 20.0
    most_time: float = 980.0

    def __post_init__(self) -> None:
        if self.critic_steps < 0 or not 0 <= self.least_time < self.most_time <= 1000:
            raise InputError(
                f"{self}: critic_steps must be ≥ 0, and 0 ≤ least_time < most_time ≤ 1000"
            )

    def trains_generator(self, step: int) -> bool:
        """Step i trains the generator when i mod (critic_steps + 1) = 0, otherwise the critic."""
        return step % (self.critic_steps + 1) == 0


@dataclasses.dataclass(frozen=True)
class Networks:
    """The modules of a distillation step. critic: the bidirectional network, in both scores."""

    student: Student
    critic: Teacher
    steps: FewSteps
    schedule: Schedule
    distillation: Distillation


@flax.struct.dataclass
class Draws:
    """rollout: noise of every chunk's steps and commit. time, noise: of the scores, entries of the schedule's table."""

    rollout: Float[Array, "b chunks draws cf h w c"]
    time: Int[Array, "b"]
    noise: Float[Array, "b f h w c"]
    dropped: Dropped


def draw(
    key: PRNGKey, networks: Networks, shape: tuple[int, ...], dropout: Dropout
) -> tuple[Draws, Int[Array, ""]]:
    """Draws for a batch of shots of shape [b, f, h, w, c], and the step at which all of them stop."""
    b, frames, *latent = shape
    chunk, nominal = networks.student.memory.chunk, len(networks.steps.nominal)
    noise = normal_rows(
        rng.stream(key, "rollout"), (b, frames // chunk, nominal + 1, chunk, *latent)
    )
    time = jax.random.randint(rng.stream(key, "time"), (b,), 0, networks.schedule.steps)
    draws = Draws(noise, time, normal_rows(rng.stream(key, "noise"), shape), dropout.draw(key, b))
    return draws, jax.random.randint(rng.stream(key, "last"), (), 0, nominal)


@typechecked
def kl_gradient(
    networks: Networks,
    fake: Params,
    real: Params,
    conditions: Conditions,
    negative: Float[Array, "1 l e"],
    x: Float[Array, "b f h w c"],
    x_t: Float[Array, "b f h w c"],
    t: Float[Array, "b"],
) -> Float[Array, "b f h w c"]:
    """Eqs. (2, 3). negative: the prompt's embedding."""

    def x_0(params: Params, conditions: Conditions) -> Array:
        return networks.schedule.velocity_to_x0(
            shot_velocity(networks.critic, params, conditions, x_t, t), x_t, t
        )

    d = networks.distillation
    guidance = Guidance(d.guidance, d.context_guidance)
    target = guidance.apply(lambda c: x_0(real, c), conditions, negative)
    scale = jnp.mean(jnp.abs(x - target), axis=(1, 2, 3, 4), keepdims=True)
    return jnp.nan_to_num((x_0(fake, conditions) - target) / scale)


@typechecked
def matching_loss(
    x: Float[Array, "b f h w c"], gradient: Float[Array, "b f h w c"]
) -> Float[Array, ""]:
    """Eq. (4): its value, and its gradient by x without the cancellation of x − (x − grad) in float32."""
    value, surrogate = (
        0.5 * jnp.mean(jnp.square(gradient)),
        jnp.mean(x * jax.lax.stop_gradient(gradient)),
    )
    return surrogate + jax.lax.stop_gradient(value - surrogate)


def clamped_time(networks: Networks, entry: Int[Array, "b"]) -> Float[Array, "b"]:
    """Eq. (1): the network sees the clamped t itself, σ is the nearest table entry's."""
    d = networks.distillation
    return jnp.clip(jnp.asarray(networks.schedule.times)[entry], d.least_time, d.most_time)


def generator_loss(
    networks: Networks,
    student: Params,
    fake: Params,
    real: Params,
    conditions: Conditions,
    negative_text: Float[Array, "1 l e"],
    draws: Draws,
    last: Array,
) -> tuple[Array, tuple[dict[str, Array], Rollout]]:
    """(loss, (metrics, the rollout)); the gradient goes to the student only."""
    conditions = draws.dropped.apply(conditions)
    made = rollout(
        networks.student,
        student,
        conditions,
        draws.rollout,
        last,
        networks.steps,
        networks.schedule,
    )
    t = clamped_time(networks, draws.time)
    x_t = networks.schedule.add_noise(made.x_0, draws.noise, t)
    scores = jax.lax.stop_gradient((fake, real))
    gradient = kl_gradient(networks, *scores, conditions, negative_text, made.x_0, x_t, t)
    x = replay(networks.student, student, conditions, made, last, networks.steps)
    return matching_loss(x, gradient), ({"kl_gradient": jnp.mean(jnp.abs(gradient))}, made)


def critic_loss(
    networks: Networks,
    student: Params,
    fake: Params,
    conditions: Conditions,
    draws: Draws,
    last: Array,
) -> tuple[Array, Rollout]:
    """Eq. (5), and the rollout; the gradient goes to the fake score only."""
    conditions = draws.dropped.apply(conditions)
    made = rollout(
        networks.student,
        student,
        conditions,
        draws.rollout,
        last,
        networks.steps,
        networks.schedule,
    )
    t = clamped_time(networks, draws.time)
    errors = velocity_error(
        networks.critic, networks.schedule, fake, conditions, made.x_0, draws.noise, t
    )
    return jnp.mean(errors), made
