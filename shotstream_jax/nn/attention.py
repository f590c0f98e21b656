"""The one `attend()`, and attention by static groups for the whole-sequence student.

Keys and values lie as [b, n, s, k] (batch, head, token, dim): the layout in which a cache slice is contiguous for
a head, which TPUs want as well. Queries stay grouped by frame, [b, n, f, t, k]: the tokens of a frame can be split over
devices (sequence parallelism), where every device has all keys.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from shotstream_jax.core.sharding import constrain
from shotstream_jax.core.typing import Array, Float, Int, typechecked

# Above so many scores a story (2²⁷ are 512 MB), queries go frame by frame.
_MOST_SCORES = 2**27


@typechecked
def attend(
    q: Float[Array, "b n f t k"],
    keys: Float[Array, "b n s k"],
    values: Float[Array, "b n s k"],
    length: Int[Array, "b"] | None = None,
) -> Float[Array, "b n f t k"]:
    """softmax(q·keysᵀ/√k)·values, exact. Only the first `length` keys count (all of them if None).

    A cache keeps its valid keys a prefix, so a length is all the masking there is. Where the scores are many, only one
    frame's are alive at a time, in the backward pass too.
    """
    if math.prod(q.shape[1:4]) * keys.shape[2] <= _MOST_SCORES or q.shape[2] == 1:
        return _attend(q, keys, values, length)
    frame = jax.checkpoint(lambda q: _attend(q[:, :, None], keys, values, length)[:, :, 0])
    return jnp.moveaxis(jax.lax.map(frame, jnp.moveaxis(q, 2, 0)), 0, 2)


def _attend(q: Array, keys: Array, values: Array, length: Array | None) -> Array:
    scores = jnp.einsum("bnftk,bnsk->bnfts", q, keys, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    if length is not None:
        valid = jnp.arange(keys.shape[2])[None, :] < length[:, None]
        scores = jnp.where(valid[:, None, None, None, :], scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
    return jnp.einsum("bnfts,bnsk->bnftk", weights, values)


@dataclasses.dataclass(frozen=True)
class Group:
    """Queries that see the same keys: a range of frames of the queries, token ranges of own keys and past keys."""

    queries: slice
    own: slice
    past: tuple[slice, ...]


@typechecked
def group_attend(
    q: Float[Array, "b n f t k"],
    own: tuple[Float[Array, "b n own k"], Float[Array, "b n own k"]],
    past: tuple[Float[Array, "b n s k"], Float[Array, "b n s k"]],
    groups: Sequence[Group],
) -> Float[Array, "b n f t k"]:
    """Block-causal attention as a static loop of unmasked ones; no mask is ever made.

    The whole-sequence student passes its own keys as the past; a gradient replay passes stopped caches.
    The groups' queries must tile q in order.
    """

    def visible(group: Group, side: int) -> Array:
        pieces = [past[side][:, :, part] for part in group.past] + [own[side][:, :, group.own]]
        return jnp.concatenate(pieces, axis=2)

    outputs = [attend(q[:, :, g.queries], visible(g, 0), visible(g, 1)) for g in groups]
    return jnp.concatenate(outputs, axis=2)


@typechecked
def split_heads(x: Float[Array, "b f t d"], heads: int) -> Float[Array, "b n f t k"]:
    return x.reshape(*x.shape[:3], heads, -1).transpose(0, 3, 1, 2, 4)


@typechecked
def join_heads(x: Float[Array, "b n f t k"]) -> Float[Array, "b f t d"]:
    b, n, f, t, k = x.shape
    return x.transpose(0, 2, 3, 1, 4).reshape(b, f, t, n * k)


@typechecked
def flat_tokens(x: Float[Array, "b n f t k"]) -> Float[Array, "b n s k"]:
    """All frames' tokens as one sequence, as keys and values are kept; gathered from the devices that share it."""
    b, n, f, t, k = x.shape
    return constrain(x.reshape(b, n, f * t, k), "b n s k")
