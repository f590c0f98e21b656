"""Stage 1, the next-shot teacher (spec page 4): flow matching on a shot, given its clean context.

    loss = weight(t)·Σ w·(v̂ − (ε − x₀))² / Σ w over the shot's frames        (1)

w is 1, or more where a mask says that something small matters. One table time t for each story, the same for all its
frames, the clean context's included.
"""

import dataclasses
from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp

from shotstream_jax.core import rng
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Bool, Float, Int, PRNGKey, typechecked
from shotstream_jax.dit.conditions import Batch, Conditions, drop_context, drop_text
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.flow.solver import Velocity
from shotstream_jax.model import Params
from shotstream_jax.train.step import normal_rows


@dataclasses.dataclass(frozen=True)
class Dropout:
    """Probabilities that a story trains without its context, and without its captions."""

    context: float = 0.1
    text: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.context <= 1 and 0 <= self.text <= 1):
            raise InputError(
                f"dropout of context {self.context} and text {self.text} must lie in 0 … 1"
            )

    def draw(self, key: PRNGKey, batch: int) -> "Dropped":
        """Whom it hits."""
        flip = lambda name, p: jax.random.bernoulli(rng.stream(key, name), p, (batch,))  # noqa: E731
        return Dropped(flip("drop_context", self.context), flip("drop_text", self.text))


@flax.struct.dataclass
class Dropped:
    context: Bool[Array, "b"]
    text: Bool[Array, "b"]

    def apply(self, conditions: Conditions) -> Conditions:
        return drop_text(drop_context(conditions, self.context), self.text)


@flax.struct.dataclass
class Draws:
    """time: entries of the schedule's table."""

    time: Int[Array, "b"]
    noise: Float[Array, "b f h w c"]
    dropped: Dropped


def draw(key: PRNGKey, shape: tuple[int, ...], schedule: Schedule, dropout: Dropout) -> Draws:
    """Draws for a batch of shots of shape [b, f, h, w, c]."""
    rows = shape[0]
    time = jax.random.randint(rng.stream(key, "time"), (rows,), 0, schedule.steps)
    noise = normal_rows(rng.stream(key, "noise"), shape)
    return Draws(time, noise, dropout.draw(key, rows))


@typechecked
def shot_velocity(
    teacher: Teacher,
    params: Params,
    conditions: Conditions,
    x_t: Float[Array, "b f h w c"],
    t: Float[Array, "b"],
) -> Float[Array, "b f h w c"]:
    """The bidirectional network's velocity of the shot's frames, after [context, x_t] with the one t."""
    frames = conditions.frame_ids(x_t.shape[1])
    x = jnp.concatenate([conditions.context, x_t], axis=1)
    return teacher.apply({"params": params}, x, t, frames, conditions.text)[
        :, conditions.context.shape[1] :
    ]


@dataclasses.dataclass(frozen=True)
class Guidance:
    """How far a prediction is moved away from those that know less.

        v + text·(v − v under the negative prompt) + context·(v − v without the earlier shots)      (2)

    text: the spec's g of the distillation. context: 0 in the paper, and no pass is made for it; before a first shot
    there is nothing to leave out.
    """

    text: float
    context: float = 0.0

    @classmethod
    def of_sampler(cls, w: float, context: float = 0.0) -> "Guidance":
        """As the sampler counts: v_neg + w·(v − v_neg), so w = 1 is none (spec page 3)."""
        return cls(w - 1, context)

    def apply(
        self,
        predict: Callable[[Conditions], Array],
        conditions: Conditions,
        negative: Float[Array, "1 l e"],
    ) -> Array:
        """predict: of a shot under these conditions, velocity or x₀. negative: the prompt's embedding."""
        v = predict(conditions)
        guided = v + self.text * (v - predict(conditions.under_one_prompt(negative)))
        return (
            guided + self.context * (v - predict(conditions.without_context()))
            if self.context
            else guided
        )


def guided_velocity(
    teacher: Teacher,
    params: Params,
    conditions: Conditions,
    negative: Float[Array, "1 l e"],
    guidance: Guidance,
) -> Velocity:
    """For the sampler."""

    def velocity(x_t: Array, t: Array) -> Array:
        return guidance.apply(
            lambda c: shot_velocity(teacher, params, c, x_t, t), conditions, negative
        )

    return velocity


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
    """Σ w·(v̂ − (ε − x₀))² / Σ w of each story, without weight(t). w: None for 1, as in the critic's loss."""
    v = shot_velocity(teacher, params, conditions, schedule.add_noise(x_0, noise, t), t)
    errors = jnp.mean(jnp.square(v - (noise - x_0)), axis=-1)
    return jnp.mean(
        errors if w is None else errors * w / jnp.mean(w, axis=(1, 2, 3), keepdims=True),
        axis=(1, 2, 3),
    )


def flow_loss(
    teacher: Teacher,
    schedule: Schedule,
    params: Params,
    batch: Batch,
    draws: Draws,
    w: Array | None = None,
    time_weight: bool = True,
) -> Array:
    """Eq. (1), mean over the batch. w [b, f, h, w], None for 1. time_weight: False for 1 in place of weight(t)."""
    conditions, t = draws.dropped.apply(batch.conditions), jnp.asarray(schedule.times)[draws.time]
    errors = velocity_error(teacher, schedule, params, conditions, batch.target, draws.noise, t, w)
    return jnp.mean(schedule.weight(t) * errors if time_weight else errors)
