"""One optimiser step of any stage: gradients over micro-batches, then the update."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from shotstream_jax.core.sharding import constrain
from shotstream_jax.core.typing import Array
from shotstream_jax.model import Params
from shotstream_jax.train.state import Trained, TrainState, update

Metrics = dict[str, Array]
# (what moves, rows) → (loss, (metrics, anything for each row))
Loss = Callable[[Params, Any], tuple[Array, tuple[Metrics, Any]]]


def train_step(
    state: TrainState,
    rows: Any,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    trained: Trained,
    pieces: int,
) -> tuple[TrainState, Metrics, Any]:
    """(new state, metrics with `loss` and `grad_norm`, what the loss gave for each row)."""
    grads, metrics, out = gradients(loss, state.moves, rows, pieces)
    state, norm = update(state, grads, optimizer, trained.ema)
    return state, metrics | {"grad_norm": norm}, out


def gradients(loss: Loss, moves: Params, rows: Any, pieces: int) -> tuple[Params, Metrics, Any]:
    """Means over `pieces` micro-batches, one after the other: the memory of one, the result of all rows together.

    rows: a pytree of arrays whose first dimension is the batch (draws included, so pieces change nothing).
    """
    with_grad = jax.value_and_grad(loss, has_aux=True)

    def one(rows: Any) -> tuple[Params, Metrics, Any]:
        (value, (metrics, out)), grads = with_grad(moves, rows)
        return grads, {"loss": value} | metrics, out

    if pieces == 1:
        return one(rows)

    def add(total: Any, rows: Any) -> tuple[Any, Any]:
        grads, metrics, out = one(rows)
        return jax.tree.map(jnp.add, total, (grads, metrics)), out

    rows = jax.tree.map(lambda a: _deal(a, pieces), rows)
    shapes = jax.eval_shape(one, jax.tree.map(lambda a: a[0], rows))[:2]
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, out = jax.lax.scan(add, zeros, rows)
    grads, metrics = jax.tree.map(lambda a: a / pieces, total)
    return grads, metrics, jax.tree.map(_gather, out)


def _deal(a: Array, pieces: int) -> Array:
    """[b, …] → [pieces, b/pieces, …]; a micro-batch takes every pieces-th row, so each device keeps its own rows."""
    return jnp.moveaxis(a.reshape(a.shape[0] // pieces, pieces, *a.shape[1:]), 1, 0)


def _gather(a: Array) -> Array:
    """The inverse of `_deal`."""
    return jnp.moveaxis(a, 0, 1).reshape(-1, *a.shape[2:])


def normal_rows(key: jax.Array, shape: tuple[int, ...]) -> Array:
    """N(0, 1) whose first dimension is the batch: each device draws its own rows."""
    draws = jax.random.normal(key, shape)
    return constrain(draws, "b" + " f" * (len(shape) - 1))
