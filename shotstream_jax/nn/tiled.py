"""Attention on CPUs, and GPUs without a kernel of their own: a tile of scores at a time.

The scores are made again in the backward pass. From the saved output o and L = log Σ exp(scores),
with g the gradient of o, a tile's gradients are

    p = exp(scores − L)     ds = p·(g·valuesᵀ − Σ g·o)                          (1)
    dq = ds·keys            dkeys = dsᵀ·q            dvalues = pᵀ·g             (2)

(q has been divided by √k before.)
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from shotstream_jax.core.devices import target_platform
from shotstream_jax.core.typing import Array
from shotstream_jax.nn.kernels import ATTENDED

# Scores of a tile. 2²² are 16 MB; smaller tiles cost more in calls than they save in a processor's
# caches.
_TILE = 2**22
# On a GPU that has no kernel of its own for these queries: 256 MB, large enough to keep it busy.
GPU_TILE = 2**26
_PREFIXES = 9  # of a cache: the default memory's context and window are nine chunks
_LANES = 32  # columns of neighbouring scores whose maxima are taken side by side, at most

# (q, keys, values, length) as `_tiles` takes them, and what its backward pass needs: those, the
# output and L.
_Inputs = tuple[Array, Array, Array, Array]
_Residuals = tuple[Array, Array, Array, Array, Array, Array]


def tiled(
    q: Array,
    keys: Array,
    values: Array,
    length: Array | None,
) -> Array:
    """Attention tile by tile, as nn/kernels defines it.

    A tile is some heads of some stories and some of their queries, with all their keys. Of keys
    that are many only a prefix is looked at, the shortest of a few that holds the longest story's.
    """
    s = keys.shape[2]
    scores = math.prod(q.shape[:4]) * s
    # Queries are scaled here, once: scaling the scores would be another pass over every tile.
    q = q * q.shape[-1] ** -0.5
    if length is None or scores <= _tile_scores():
        return _in_tiles(q, keys, values, length)

    def attend_prefix(
        stop: int,
        q: Array,
        keys: Array,
        values: Array,
    ) -> Array:
        """Attention to the first `stop` keys."""
        return _in_tiles(
            q,
            keys[:, :, :stop],
            values[:, :, :stop],
            length,
        )

    # Where the prefixes end; the last one is all keys.
    step = math.ceil(s / _PREFIXES)
    stops = [*range(step, s, step), s]
    taken = jnp.searchsorted(jnp.array(stops), jnp.max(length))
    branches = [functools.partial(attend_prefix, stop) for stop in stops]
    return jax.lax.switch(taken, branches, q, keys, values)


def _in_tiles(
    q: Array,
    keys: Array,
    values: Array,
    length: Array | None,
) -> Array:
    """Cuts the work into tiles of so many scores at most: first by heads, then by queries."""
    b, n, f, t, k = q.shape
    s = keys.shape[2]
    masked = length is not None
    if length is None:
        length = jnp.full(b, s, jnp.int32)

    # Every head of every story is a row of its own. A tile has `heads` rows and `tile` queries of
    # each.
    rows = b * n
    queries = f * t
    most = _tile_scores()
    heads = _largest_divisor(rows, max(1, most // (queries * s)))
    tile = _largest_divisor(queries, max(1, most // (heads * s)))
    groups = rows // heads

    # [groups of heads, tiles, heads, queries of a tile, k]
    q = q.reshape(groups, heads, queries // tile, tile, k).swapaxes(1, 2)
    # [groups of heads, heads, s, k]
    keys = keys.reshape(groups, heads, s, k)
    values = values.reshape(groups, heads, s, k)
    # A story's length holds for all its heads: [groups of heads, heads].
    length = jnp.repeat(length, n).reshape(groups, heads)
    out = _tiles(q, keys, values, length, masked)
    return out.swapaxes(1, 2).reshape(b, n, f, t, k)


def _tile_scores() -> int:
    """Scores of a tile on the device that is traced for."""
    return GPU_TILE if target_platform() == "gpu" else _TILE


def _largest_divisor(number: int, most: int) -> int:
    """The greatest divisor that is not above `most` (at least 1)."""
    divisor = min(number, most)
    while number % divisor:
        divisor -= 1
    return divisor


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _tiles(
    q: Array,
    keys: Array,
    values: Array,
    length: Array,
    masked: bool,
) -> Array:
    """Attention of all tiles, with a backward pass of its own that makes the scores again.

    q [groups, tiles, heads, queries, k], keys and values [groups, heads, s, k], length [groups,
    heads]. `masked` says whether the length leaves any keys out.
    """
    out, _ = _tiles_forward(q, keys, values, length, masked)
    return out


def _tiles_forward(
    q: Array,
    keys: Array,
    values: Array,
    length: Array,
    masked: bool,
) -> tuple[Array, _Residuals]:
    """The output, and what the backward pass needs."""
    attend_head = functools.partial(_tile, masked=masked)

    def attend_group(args: _Inputs) -> tuple[Array, Array]:
        """One group of heads, tile after tile: q [tiles, heads, queries, k]."""
        q, keys, values, length = args

        def attend_tile(q: Array) -> tuple[Array, Array]:
            """Its heads side by side: q [heads, queries, k]."""
            return _side_by_side(attend_head, (q, keys, values, length))

        return _one_by_one(attend_tile, q)

    out, log_total = _one_by_one(attend_group, (q, keys, values, length))
    # Named, so that a layer computed again for its gradient (Trunk.remat) keeps both and attends
    # only once.
    out = checkpoint_name(out, ATTENDED)
    log_total = checkpoint_name(log_total, ATTENDED)
    return out, (q, keys, values, length, out, log_total)


def _tile(
    q: Array,
    keys: Array,
    values: Array,
    length: Array,
    *,
    masked: bool,
) -> tuple[Array, Array]:
    """One head's queries [q, k], keys and values [s, k] → output [q, k] and L [q] of eq. (1)."""
    scores = _scores(q, keys, length, masked)
    # The largest score of a query goes to 0 before the exponential, so that none overflows.
    most = _row_max(scores)
    weights = jnp.exp(scores - most)
    total = jnp.sum(weights, -1, keepdims=True)
    # The division comes after the matmul: the output has fewer columns than the weights.
    out = jnp.dot(weights.astype(values.dtype), values, preferred_element_type=jnp.float32)
    log_total = most + jnp.log(total)
    return (out / total).astype(values.dtype), log_total[:, 0]


def _tiles_backward(
    masked: bool,
    residuals: _Residuals,
    grad: Array,
) -> tuple[Array, Array, Array, None]:
    """Gradients by q, keys and values; the length has none."""
    head_gradients = functools.partial(_tile_backward, masked=masked)

    def group_gradients(args: tuple[_Residuals, Array]) -> tuple[Array, Array, Array]:
        """One group of heads: all its tiles add to the gradients of the same keys and values."""
        (q, keys, values, length, out, log_total), grad = args
        # Every tile of queries adds to them, so they are summed in float32.
        by_keys = jnp.zeros(keys.shape, jnp.float32)
        by_values = jnp.zeros(values.shape, jnp.float32)

        def add_tile(sums: tuple[Array, Array], rows: Any) -> tuple[tuple[Array, Array], Array]:
            """rows: one tile's q, output, L and gradient, all [heads, queries, …]."""
            # Scores are made again from queries and keys: they were not kept.
            tile = (*rows, keys, values, length)
            to_keys, to_values, by_query = _side_by_side(head_gradients, tile)
            return (sums[0] + to_keys, sums[1] + to_values), by_query

        sums = (by_keys, by_values)
        rows = (q, out, log_total, grad)
        if q.shape[0] == 1:  # one tile: no loop
            sums, by_query = add_tile(sums, _first(rows))
            by_query = by_query[None]
        else:
            sums, by_query = jax.lax.scan(add_tile, sums, rows)
        by_keys, by_values = sums
        return by_query, by_keys.astype(keys.dtype), by_values.astype(values.dtype)

    by_query, by_keys, by_values = _one_by_one(group_gradients, (residuals, grad))
    return by_query, by_keys, by_values, None


_tiles.defvjp(_tiles_forward, _tiles_backward)


def _tile_backward(
    q: Array,
    out: Array,
    log_total: Array,
    grad: Array,
    keys: Array,
    values: Array,
    length: Array,
    *,
    masked: bool,
) -> tuple[Array, Array, Array]:
    """Eqs. (1, 2) for one head: gradients by keys [s, k], values [s, k] and queries [q, k]."""
    # Eq. (1), both [q, s].
    scores = _scores(q, keys, length, masked)
    weights = jnp.exp(scores - log_total[:, None])
    shift = jnp.sum(grad.astype(jnp.float32) * out, -1, keepdims=True)
    by_weight = jnp.dot(grad, values.T, preferred_element_type=jnp.float32)
    by_score = (weights * (by_weight - shift)).astype(q.dtype)
    # Eq. (2). Sums over queries are float32, as they go on over the other tiles.
    by_values = jnp.dot(weights.astype(grad.dtype).T, grad, preferred_element_type=jnp.float32)
    by_keys = jnp.dot(by_score.T, q, preferred_element_type=jnp.float32)
    by_query = jnp.dot(by_score, keys)
    return by_keys, by_values, by_query


def _scores(
    q: Array,
    keys: Array,
    length: Array,
    masked: bool,
) -> Array:
    """[q, k] and [s, k] → float32 [q, s]; −∞ for keys that do not count."""
    scores = jnp.dot(q, keys.T, preferred_element_type=jnp.float32)
    if not masked:
        return scores
    valid = jnp.arange(len(keys))[None] < length
    return jnp.where(valid, scores, -jnp.inf)


def _row_max(scores: Array) -> Array:
    """[q, s] → [q, 1], in two steps, of which the first leaves up to _LANES columns.

    XLA's CPU backend takes several maxima at once only where the dimension that goes is not the
    last one.
    """
    q, s = scores.shape
    lanes = _largest_divisor(s, _LANES)
    columns = jnp.max(scores.reshape(q, s // lanes, lanes), 1)
    # Without the barrier XLA would join the two steps to one again.
    columns = jax.lax.optimization_barrier(columns)
    return jnp.max(columns, -1, keepdims=True)


def _one_by_one(f: Callable[[Any], Any], rows: Any) -> Any:
    """f for every entry of the first dimension of a tree of arrays, one after the other."""
    if jax.tree.leaves(rows)[0].shape[0] == 1:
        return _single(f, rows)
    return jax.lax.map(f, rows)


def _side_by_side(f: Callable[..., Any], rows: tuple[Array, ...]) -> Any:
    """f(*entries) for every entry of the arrays' first dimension, all at once."""
    if rows[0].shape[0] == 1:
        return _single(lambda entry: f(*entry), rows)
    return jax.vmap(f)(*rows)


def _single(f: Callable[[Any], Any], rows: Any) -> Any:
    """f of the only entry, without its dimension: with it XLA would choose slower matmuls."""
    result = f(_first(rows))
    return jax.tree.map(lambda a: a[None], result)


def _first(rows: Any) -> Any:
    """The first entry of every array of a tree."""
    return jax.tree.map(lambda a: a[0], rows)
