"""The one `attend()`, and attention by static groups for the whole-sequence student.

Keys and values lie as [b, n, s, k] (batch, head, token, dim): the layout in which a cache slice is contiguous for
a head, which TPUs want as well.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from shotstream_jax.core.typing import Array, Float, Int, typechecked


@typechecked
def attend(
    q: Float[Array, "b n t k"],
    keys: Float[Array, "b n s k"],
    values: Float[Array, "b n s k"],
    length: Int[Array, "b"] | None = None,
) -> Float[Array, "b n t k"]:
    """softmax(q·keysᵀ/√k)·values, exact. Only the first `length` keys count (all of them if None).

    A cache keeps its valid keys a prefix, so a length is all the masking there is.
    """
    scores = jnp.einsum("bntk,bnsk->bnts", q, keys, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    if length is not None:
        valid = jnp.arange(keys.shape[2])[None, :] < length[:, None]
        scores = jnp.where(valid[:, None, None, :], scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
    return jnp.einsum("bnts,bnsk->bntk", weights, values)


@dataclasses.dataclass(frozen=True)
class Group:
    """One set of queries that see the same keys: token ranges into the queries, own keys and past keys."""

    queries: slice
    own: slice
    past: tuple[slice, ...]


@typechecked
def group_attend(
    q: Float[Array, "b n t k"],
    own: tuple[Float[Array, "b n t k"], Float[Array, "b n t k"]],
    past: tuple[Float[Array, "b n s k"], Float[Array, "b n s k"]],
    groups: Sequence[Group],
) -> Float[Array, "b n t k"]:
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
def split_heads(x: Float[Array, "b t d"], heads: int) -> Float[Array, "b t n k"]:
    return x.reshape(*x.shape[:2], heads, -1)


@typechecked
def join_heads(x: Float[Array, "b n t k"]) -> Float[Array, "b t d"]:
    b, n, t, k = x.shape
    return x.transpose(0, 2, 1, 3).reshape(b, t, n * k)
