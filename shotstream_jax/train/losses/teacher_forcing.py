"""Stage 1, causal: flow matching on each chunk behind the true ones (docs/method.md, section 4).

    loss = weight(t)·Σ w·(v̂ − (ε − x₀))² / Σ w over the shot's frames        (1)

as the teacher's (flow_matching), but v̂ is the causal student's, with the clean context and the
clean earlier chunks at t = 0, and every chunk has a time of its own.
"""

from typing import Any

import flax
import jax
import jax.numpy as jnp

from shotstream_jax.core import rng
from shotstream_jax.core.typing import Array, Float, Int, Params, PRNGKey, typechecked
from shotstream_jax.dit.conditions import Conditions, Dropout, Dropped
from shotstream_jax.dit.forcing import Forced
from shotstream_jax.dit.trunk import TOKENS, tokens_after
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.nn.apply import apply, apply_and_collect
from shotstream_jax.train.step import normal_rows


@flax.struct.dataclass
class ForcingDraws:
    """What is random in the loss of a batch.

    entry: of a table of noise levels, for each chunk. noise: ε. dropped: which conditions are left
    out.
    """

    entry: Int[Array, "b chunks"]
    noise: Float[Array, "b f h w c"]
    dropped: Dropped


def draw_forcing(
    key: PRNGKey, shape: tuple[int, ...], chunk: int, entries: int, dropout: Dropout
) -> ForcingDraws:
    """Draws for a batch of shots of shape [b, f, h, w, c]. entries: of the table."""
    batch, frames = shape[:2]
    entry = jax.random.randint(
        rng.stream(key, "time"), (batch, frames // chunk), 0, entries, jnp.int32
    )
    noise = normal_rows(rng.stream(key, "noise"), shape)
    return ForcingDraws(entry, noise, dropout.draw(key, batch))


@typechecked
def forced_velocity(
    forced: Forced,
    params: Params,
    conditions: Conditions,
    x_0: Float[Array, "b f h w c"],
    x_t: Float[Array, "b f h w c"],
    t: Float[Array, "b f"],
) -> Float[Array, "b f h w c"]:
    """The causal network's velocity of a shot's chunks, each behind the true ones of x_0."""
    return apply(forced, params, *_pass_of(forced, conditions, x_0, x_t, t))


def _pass_of(
    forced: Forced, conditions: Conditions, x_0: Array, x_t: Array, t: Array
) -> tuple[Any, ...]:
    """The arguments of the network's pass in `forced_velocity`."""
    # The true past: the context, and every chunk that a later one follows.
    before_last = x_0[:, : -forced.memory.chunk]
    history = jnp.concatenate([conditions.context, before_last], axis=1)
    ids = conditions.frame_ids(x_t.shape[1])
    return history, x_t, t, ids, conditions.text


def forcing_loss(
    forced: Forced,
    schedule: Schedule,
    params: Params,
    target: Float[Array, "b f h w c"],
    conditions: Conditions,
    draws: ForcingDraws,
    w: Float[Array, "b f h w"] | None = None,
    time_weight: bool = True,
) -> Float[Array, ""]:
    """Eq. (1), mean over the batch.

    w: None for 1. time_weight: False for 1 in place of weight(t).
    """
    conditions = draws.dropped.apply(conditions)
    t = _frame_times(forced, schedule, draws)
    x_t = schedule.add_noise(target, draws.noise, t)
    v = forced_velocity(forced, params, conditions, target, x_t, t)
    return _loss_of(v, schedule, target, draws.noise, t, w, time_weight)


def forcing_loss_and_tokens(
    forced: Forced,
    schedule: Schedule,
    params: Params,
    target: Float[Array, "b f h w c"],
    conditions: Conditions,
    draws: ForcingDraws,
    layer: int,
    w: Float[Array, "b f h w"] | None = None,
    time_weight: bool = True,
) -> tuple[Float[Array, ""], Float[Array, "b frames t d"]]:
    """`forcing_loss`, and the tokens of [context, noisy shot] after layer `layer`, from 1."""
    conditions = draws.dropped.apply(conditions)
    t = _frame_times(forced, schedule, draws)
    x_t = schedule.add_noise(target, draws.noise, t)
    arguments = _pass_of(forced, conditions, target, x_t, t)
    v, collected = apply_and_collect(forced, params, TOKENS, *arguments)
    # The clean chunks in between say nothing that the noisy ones must not say themselves.
    tokens = tokens_after(collected, layer)
    context = tokens[:, : forced.memory.context]
    noisy = tokens[:, -target.shape[1] :]
    loss = _loss_of(v, schedule, target, draws.noise, t, w, time_weight)
    return loss, jnp.concatenate([context, noisy], axis=1)


def _frame_times(forced: Forced, schedule: Schedule, draws: ForcingDraws) -> Float[Array, "b f"]:
    """A time for each chunk, the same for its frames."""
    entry = jnp.repeat(draws.entry, forced.memory.chunk, axis=1)
    return jnp.asarray(schedule.times)[entry]


def _loss_of(
    v: Array,
    schedule: Schedule,
    target: Array,
    noise: Array,
    t: Array,
    w: Array | None,
    time_weight: bool,
) -> Float[Array, ""]:
    """Eq. (1) from the velocity of a shot."""
    errors = jnp.mean(jnp.square(v - (noise - target)), axis=-1)  # [b, f, h, w]
    if w is not None:
        # Weights of mean 1 in each story: a story with much to weigh counts no more than others.
        errors = errors * w / jnp.mean(w, axis=(1, 2, 3), keepdims=True)
    if time_weight:
        errors = errors * schedule.weight(t)[:, :, None, None]
    return jnp.mean(errors)
