"""Stage 1: flow matching on a shot, given its clean context (docs/method.md, section 4).

    loss = weight(t)·Σ w·(v̂ − (ε − x₀))² / Σ w over the shot's frames        (1)

w is 1, or more where a mask says that something small matters. Each story has one table time t, the
same for all its frames, those of the clean context included.
"""

import flax
import jax
import jax.numpy as jnp

from shotstream_jax.core import rng
from shotstream_jax.core.typing import Array, Float, Int, Params, PRNGKey, typechecked
from shotstream_jax.dit.conditions import Conditions, Dropout, Dropped
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.dit.trunk import TOKENS, tokens_after
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.generate.sampler import shot_velocity
from shotstream_jax.nn.apply import apply_and_collect
from shotstream_jax.train.step import normal_rows


@flax.struct.dataclass
class FlowDraws:
    """What is random in the loss of a batch.

    time: entries of the schedule's table. noise: ε. dropped: which conditions are left out.
    """

    time: Int[Array, "b"]
    noise: Float[Array, "b f h w c"]
    dropped: Dropped


def draw_flow(
    key: PRNGKey, shape: tuple[int, ...], schedule: Schedule, dropout: Dropout
) -> FlowDraws:
    """Draws for a batch of shots of shape [b, f, h, w, c]."""
    batch = shape[0]
    time = jax.random.randint(rng.stream(key, "time"), (batch,), 0, schedule.steps, jnp.int32)
    noise = normal_rows(rng.stream(key, "noise"), shape)
    return FlowDraws(time, noise, dropout.draw(key, batch))


def flow_loss(
    teacher: Teacher,
    schedule: Schedule,
    params: Params,
    target: Float[Array, "b f h w c"],
    conditions: Conditions,
    draws: FlowDraws,
    w: Float[Array, "b f h w"] | None = None,
    time_weight: bool = True,
) -> Float[Array, ""]:
    """Eq. (1), mean over the batch.

    w: None for 1. time_weight: False for 1 in place of weight(t).
    """
    conditions = draws.dropped.apply(conditions)
    t = jnp.asarray(schedule.times)[draws.time]  # [b]
    errors = velocity_error(teacher, schedule, params, conditions, target, draws.noise, t, w)
    return _mean_over_levels(schedule, errors, t, time_weight)


def flow_loss_and_tokens(
    teacher: Teacher,
    schedule: Schedule,
    params: Params,
    target: Float[Array, "b f h w c"],
    conditions: Conditions,
    draws: FlowDraws,
    layer: int,
    w: Float[Array, "b f h w"] | None = None,
    time_weight: bool = True,
) -> tuple[Float[Array, ""], Float[Array, "b frames t d"]]:
    """`flow_loss`, and the tokens of [context, noisy shot] after layer `layer`, from 1."""
    conditions = draws.dropped.apply(conditions)
    t = jnp.asarray(schedule.times)[draws.time]  # [b]
    x_t = schedule.add_noise(target, draws.noise, t)
    # As generate/sampler.shot_velocity, keeping the tokens.
    ids = conditions.frame_ids(x_t.shape[1])
    x = jnp.concatenate([conditions.context, x_t], axis=1)  # [b, C + f, h, w, c]
    velocity, collected = apply_and_collect(teacher, params, TOKENS, x, t, ids, conditions.text)
    v = velocity[:, conditions.context.shape[1] :]
    errors = _error_of(v, target, draws.noise, w)
    loss = _mean_over_levels(schedule, errors, t, time_weight)
    return loss, tokens_after(collected, layer)


@typechecked
def velocity_error(
    teacher: Teacher,
    schedule: Schedule,
    params: Params,
    conditions: Conditions,
    x_0: Float[Array, "b f h w c"],
    noise: Float[Array, "b f h w c"],
    t: Float[Array, "b"],
    w: Float[Array, "b f h w"] | None = None,
) -> Float[Array, "b"]:
    """Σ w·(v̂ − (ε − x₀))² / Σ w of each story, without weight(t). w: None for 1."""
    # Predict the velocity of the noised shot, and compare it with the true one, ε − x₀.
    x_t = schedule.add_noise(x_0, noise, t)
    v = shot_velocity(teacher, params, conditions, x_t, t)
    return _error_of(v, x_0, noise, w)


def _error_of(v: Array, x_0: Array, noise: Array, w: Array | None) -> Float[Array, "b"]:
    """The error of a velocity as in `velocity_error`."""
    errors = jnp.mean(jnp.square(v - (noise - x_0)), axis=-1)  # [b, f, h, w]
    if w is not None:
        # Weights of mean 1 in each story: a story with much to weigh counts no more than others.
        errors = errors * w / jnp.mean(w, axis=(1, 2, 3), keepdims=True)
    return jnp.mean(errors, axis=(1, 2, 3))


def _mean_over_levels(
    schedule: Schedule, errors: Float[Array, "b"], t: Float[Array, "b"], time_weight: bool
) -> Float[Array, ""]:
    """Eq. (1) from each story's error."""
    if time_weight:
        # The paper's bell over noise levels: pure noise and clean latents teach little.
        errors = schedule.weight(t) * errors
    return jnp.mean(errors)
