"""How attention is computed. All forms are exact, softmax(q·keysᵀ/√k)·values; they differ in what they keep in memory.

    exact   all scores at once, or one frame of queries at a time where they are many
    tiled   for processors: a tile of scores that stays in the cache, made again in the backward pass
    cudnn   for NVIDIA GPUs: cuDNN's flash attention; keys beyond the length are not looked at
    splash  for TPUs, in a file of its own

The backward pass of a tile, from the saved output o and L = log Σ exp(scores), with g the gradient of o:

    p = exp(scores − L)     ds = p·(g·valuesᵀ − Σ g·o)                          (1)
    dq = ds·keys            dkeys = dsᵀ·q            dvalues = pᵀ·g             (2)

(q has been divided by √k before.)
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from shotstream_jax.core.typing import Array

# Above so many scores a story (2²⁷ are 512 MB), `exact` takes the queries frame by frame.
_MOST_SCORES = 2**27
# Scores of a tile. 2²² are 16 MB; smaller tiles cost more in calls than they save in a processor's caches.
_TILE = 2**22
_PREFIXES = 9  # of a cache: the default memory's context and window are nine chunks
_LANES = 32  # columns of neighbouring scores whose maxima are taken side by side, at most


def exact(q: Array, keys: Array, values: Array, length: Array | None) -> Array:
    """q [b, n, f, t, k], keys and values [b, n, s, k], length [b]: only so many keys count."""
    if math.prod(q.shape[1:4]) * keys.shape[2] <= _MOST_SCORES or q.shape[2] == 1:
        return _exact(q, keys, values, length)
    frame = jax.checkpoint(lambda q: _exact(q[:, :, None], keys, values, length)[:, :, 0])
    return jnp.moveaxis(jax.lax.map(frame, jnp.moveaxis(q, 2, 0)), 0, 2)


def _exact(q: Array, keys: Array, values: Array, length: Array | None) -> Array:
    scores = (
        jnp.einsum("bnftk,bnsk->bnfts", q, keys, preferred_element_type=jnp.float32)
        * q.shape[-1] ** -0.5
    )
    if length is not None:
        valid = jnp.arange(keys.shape[2])[None, :] < length[:, None]
        scores = jnp.where(valid[:, None, None, None, :], scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
    return jnp.einsum("bnfts,bnsk->bnftk", weights, values)


def cudnn_fits(q: Array) -> bool:
    """Whether this machine's GPU has the kernel for such queries."""
    if jax.default_backend() != "gpu" or q.dtype not in (jnp.bfloat16, jnp.float16):
        return False
    if q.shape[-1] % 8 or q.shape[-1] > 128:
        return False
    try:
        return float(jax.devices()[0].compute_capability) >= 8
    except (AttributeError, ValueError):  # not NVIDIA's
        return False


def cudnn(q: Array, keys: Array, values: Array, length: Array | None) -> Array:
    """jax's interface to it has the heads after the tokens."""
    b, n, f, t, k = q.shape
    turned = (jnp.moveaxis(a, 1, 2) for a in (q.reshape(b, n, f * t, k), keys, values))
    out = jax.nn.dot_product_attention(
        *turned, key_value_seq_lengths=length, implementation="cudnn"
    )
    return jnp.moveaxis(out, 2, 1).reshape(b, n, f, t, k)


def tiled(q: Array, keys: Array, values: Array, length: Array | None) -> Array:
    """The same, tile by tile: some heads of some stories, and some of their queries.

    Of keys that are many only a prefix is looked at, the shortest of a few that holds the longest story's.
    """
    s, scores = keys.shape[2], math.prod(q.shape[:4]) * keys.shape[2]
    q = (
        q * q.shape[-1] ** -0.5
    )  # here, once: on the scores it would be another pass over every tile
    if length is None or scores <= _TILE:
        return _in_tiles(q, keys, values, length)
    step = -(-s // _PREFIXES)
    stops = [*range(step, s, step), s]
    prefix = lambda stop: lambda q, *kv: _in_tiles(q, *(a[:, :, :stop] for a in kv), length)  # noqa: E731
    taken = jnp.searchsorted(jnp.array(stops), jnp.max(length))
    return jax.lax.switch(taken, [prefix(stop) for stop in stops], q, keys, values)


def _in_tiles(q: Array, keys: Array, values: Array, length: Array | None) -> Array:
    b, n, f, t, k = q.shape
    whole = jnp.full(b, keys.shape[2], jnp.int32) if length is None else length
    rows, queries, s = b * n, f * t, keys.shape[2]
    heads = _divisor(rows, max(1, _TILE // (queries * s)))
    tile = _divisor(queries, max(1, _TILE // (heads * s)))
    # [groups of heads, tiles, heads, queries of a tile, k]
    q = q.reshape(rows // heads, heads, queries // tile, tile, k).swapaxes(1, 2)
    keys, values = (a.reshape(rows // heads, heads, s, k) for a in (keys, values))
    out = _tiles(
        q, keys, values, jnp.repeat(whole, n).reshape(rows // heads, heads), length is not None
    )
    return out.swapaxes(1, 2).reshape(b, n, f, t, k)


def _divisor(number: int, most: int) -> int:
    """The greatest divisor that is not above `most`."""
    return next(d for d in range(min(number, most), 0, -1) if number % d == 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _tiles(q: Array, keys: Array, values: Array, length: Array, masked: bool) -> Array:
    return _tiles_forward(q, keys, values, length, masked)[0]


def _tiles_forward(
    q: Array, keys: Array, values: Array, length: Array, masked: bool
) -> tuple[Array, Any]:
    def group(args: Any) -> Any:
        q, *rest = args
        return _each(lambda q: _at_once(functools.partial(_tile, masked=masked), (q, *rest)), q)

    out, log_total = (
        checkpoint_name(a, "attended") for a in _each(group, (q, keys, values, length))
    )
    return out, (q, keys, values, length, out, log_total)


def _tile(
    q: Array, keys: Array, values: Array, length: Array, *, masked: bool
) -> tuple[Array, Array]:
    """One head's queries [q, k], keys and values [s, k] → output and L, eq. (1)."""
    scores = _scores(q, keys, length, masked)
    most = _row_max(scores)
    weights = jnp.exp(scores - most)
    total = jnp.sum(weights, -1, keepdims=True)
    out = jnp.dot(weights.astype(values.dtype), values, preferred_element_type=jnp.float32)
    return (out / total).astype(values.dtype), (most + jnp.log(total))[:, 0]


def _tiles_backward(masked: bool, kept: Any, grad: Array) -> tuple[Array, Array, Array, None]:
    def group(args: Any) -> Any:
        (q, keys, values, length, out, log_total), grad = args
        zeros = jnp.zeros(keys.shape, jnp.float32), jnp.zeros(values.shape, jnp.float32)

        def tile(sums: Any, rows: Any) -> Any:
            *added, by_query = _at_once(
                functools.partial(_tile_backward, masked=masked), (*rows, keys, values, length)
            )
            return jax.tree.map(jnp.add, sums, tuple(added)), by_query

        rows = q, out, log_total, grad
        if q.shape[0] == 1:
            sums, by_query = tile(zeros, jax.tree.map(lambda a: a[0], rows))
            by_query = by_query[None]
        else:
            sums, by_query = jax.lax.scan(tile, zeros, rows)
        return by_query, sums[0].astype(keys.dtype), sums[1].astype(values.dtype)

    return *_each(group, (kept, grad)), None


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
    """Eqs. (1, 2) for one head: by keys, by values, by queries."""
    wide = {"preferred_element_type": jnp.float32}
    weights = jnp.exp(_scores(q, keys, length, masked) - log_total[:, None])
    shift = jnp.sum(grad.astype(jnp.float32) * out, -1, keepdims=True)
    by_score = (weights * (jnp.dot(grad, values.T, **wide) - shift)).astype(q.dtype)
    by_value = jnp.dot(weights.astype(grad.dtype).T, grad, **wide)
    return jnp.dot(by_score.T, q, **wide), by_value, jnp.dot(by_score, keys)


def _scores(q: Array, keys: Array, length: Array, masked: bool) -> Array:
    scores = jnp.dot(q, keys.T, preferred_element_type=jnp.float32)
    return jnp.where(jnp.arange(len(keys))[None] < length, scores, -jnp.inf) if masked else scores


def _row_max(scores: Array) -> Array:
    """[q, s] → [q, 1], first over columns of neighbours: XLA's processor backend takes several maxima at once only
    where the dimension that goes is not the last. The barrier keeps it from joining the two."""
    q, s = scores.shape
    lanes = _divisor(s, _LANES)
    columns = jax.lax.optimization_barrier(jnp.max(scores.reshape(q, s // lanes, lanes), 1))
    return jnp.max(columns, -1, keepdims=True)


def _each(f: Any, rows: Any) -> Any:
    """f for every entry of the first dimension, one after the other."""
    return _alone(f, rows) if jax.tree.leaves(rows)[0].shape[0] == 1 else jax.lax.map(f, rows)


def _at_once(f: Any, rows: Any) -> Any:
    """The same side by side."""
    return _alone(lambda rows: f(*rows), rows) if rows[0].shape[0] == 1 else jax.vmap(f)(*rows)


def _alone(f: Any, rows: Any) -> Any:
    """Of one entry: without the dimension, which would make other matmuls of XLA's, slower ones."""
    return jax.tree.map(lambda a: a[None], f(jax.tree.map(lambda a: a[0], rows)))
