"""One optimiser step of any stage: gradients over micro-batches, then the update."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from shotstream_jax.core.sharding import constrain
from shotstream_jax.core.typing import Array, Params, PRNGKey

Metrics = dict[str, Array]
# (what moves, rows) → (loss, (metrics, anything for each row))
Loss = Callable[[Params, Any], tuple[Array, tuple[Metrics, Any]]]


def batch_gradients(
    loss: Loss, moves: Params, rows: Any, pieces: int
) -> tuple[Params, Metrics, Any]:
    """The gradient of a batch's loss, made in micro-batches one after the other.

    The result is that of all rows together; the memory is that of one micro-batch.

    Args:
      loss: of what moves and some rows.
      moves: the parameters to differentiate by.
      rows: a pytree of arrays whose first dimension is the batch; random draws are in it too, so
        the number of micro-batches changes nothing.
      pieces: the number of micro-batches.

    Returns:
      (gradients, metrics with `loss`, what the loss gave for each row).
    """
    with_grad = jax.value_and_grad(loss, has_aux=True)

    def gradient_of(rows: Any) -> tuple[Params, Metrics, Any]:
        """Gradients, metrics and outputs of some rows."""
        (value, (metrics, out)), grads = with_grad(moves, rows)
        return grads, {"loss": value} | metrics, out

    if pieces == 1:
        return gradient_of(rows)

    # 1. Deal the rows out: [b, …] → [pieces, b/pieces, …].
    dealt = jax.tree.map(lambda a: _deal(a, pieces), rows)

    # 2. Sum gradients and metrics over the pieces, keep each piece's outputs.
    def add_piece(total: Any, rows: Any) -> tuple[Any, Any]:
        """The sums with one piece more, and its outputs."""
        grads, metrics, out = gradient_of(rows)
        return jax.tree.map(jnp.add, total, (grads, metrics)), out

    first_piece = jax.tree.map(lambda a: a[0], dealt)
    grads_shape, metrics_shape, _ = jax.eval_shape(gradient_of, first_piece)
    zeros = jax.tree.map(
        lambda like: jnp.zeros(like.shape, like.dtype), (grads_shape, metrics_shape)
    )
    total, out = jax.lax.scan(add_piece, zeros, dealt)

    # 3. Means, and the outputs in the rows' own order.
    grads, metrics = jax.tree.map(lambda a: a / pieces, total)
    return grads, metrics, jax.tree.map(_gather, out)


def _deal(a: Array, pieces: int) -> Array:
    """[b, …] → [pieces, b/pieces, …].

    A micro-batch takes every pieces-th row, so each device keeps its own rows.
    """
    grouped = a.reshape(a.shape[0] // pieces, pieces, *a.shape[1:])
    return jnp.moveaxis(grouped, 1, 0)


def _gather(a: Array) -> Array:
    """The inverse of `_deal`."""
    return jnp.moveaxis(a, 0, 1).reshape(-1, *a.shape[2:])


def normal_rows(key: PRNGKey, shape: tuple[int, ...]) -> Array:
    """N(0, 1) of a shape whose first dimension is the batch: each device draws its own rows."""
    draws = jax.random.normal(key, shape, jnp.float32)
    return constrain(draws, "b" + " f" * (len(shape) - 1))
