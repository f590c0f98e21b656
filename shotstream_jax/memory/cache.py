"""The dual cache: one explicit pytree that goes into every pass and comes out of it.

Keys are kept rotated. The buffer is written in place (carried through the scan over layers and
donated by the callers): a pass puts its own chunk into its slot first, so attention is one call
over a valid prefix.
"""

import functools
from typing import Any

import flax
import jax
import jax.numpy as jnp

from shotstream_jax.core.sharding import constrain, on_own_part
from shotstream_jax.core.typing import Array, DType, Float, Int, typechecked
from shotstream_jax.memory.window import MemoryConfig


class KV(flax.struct.PyTreeNode):
    """Keys and values of all layers, arrays of equal shape, layers first."""

    keys: Array
    values: Array

    def layer(self, index: int | Array) -> tuple[Array, Array]:
        """Keys and values of one layer."""
        keys = jax.lax.dynamic_index_in_dim(self.keys, index, keepdims=False)
        values = jax.lax.dynamic_index_in_dim(self.values, index, keepdims=False)
        return keys, values


class FrameIds(flax.struct.PyTreeNode):
    """What tells frames of different shots apart.

    phase: number of the frame's shot, for the rotary phase (nn/rope). caption: the text slot that
    the frame reads.
    """

    phase: Int[Array, "b f"]
    caption: Int[Array, "b f"]


class Caches(flax.struct.PyTreeNode):
    """The state of a stream between passes.

    frames: [layers, b, n, s, k], whose first (C + w)·tokens of s are laid out by memory/window; the
    others stay unused (see init_caches). text: [layers, b, slots, n, l, k].

    fill: frames of the current shot that are committed, [b]. It is the next chunk's first frame
    too.
    """

    frames: KV
    text: KV
    fill: Int[Array, "b"]


# Dimension letters (core/sharding), where the arrays are. On a mesh every device has its own
# stories and heads, and all their tokens.
_FRAMES: Any = "_ b n s k"
_TEXT: Any = "_ b _ n l k"
_FILL: Any = "b"
DIMS = Caches(frames=KV(_FRAMES, _FRAMES), text=KV(_TEXT, _TEXT), fill=_FILL)


def init_caches(
    memory: MemoryConfig,
    *,
    layers: int,
    batch: int,
    heads: int,
    head_dim: int,
    slots: int,
    text_len: int,
    dtype: DType,
) -> Caches:
    """Empty caches.

    slots: tokens that a layer holds, (C + w) latent frames' or more. What lies beyond is never in
    the valid prefix; it lets an attention kernel have whole blocks without a copy.
    """
    # Both kinds of keys have the layers first, as the scan over layers takes one at a time.
    frames_shape = (layers, batch, heads, slots, head_dim)
    text_shape = (layers, batch, memory.captions, heads, text_len, head_dim)
    caches = Caches(
        frames=KV(jnp.zeros(frames_shape, dtype), jnp.zeros(frames_shape, dtype)),
        text=KV(jnp.zeros(text_shape, dtype), jnp.zeros(text_shape, dtype)),
        fill=jnp.zeros(batch, jnp.int32),
    )
    return jax.tree.map(constrain, caches, DIMS)


@typechecked
def put(
    buffer: KV,
    layer: int | Int[Array, ""],
    keys: Float[Array, "b n t k"],
    values: Float[Array, "b n t k"],
    token: Int[Array, "b"],
) -> KV:
    """Writes one layer's keys and values at each story's own token offset, in place."""
    layer = jnp.asarray(layer, jnp.int32)
    # Every device writes its own stories and heads, so that nothing is sent.
    write = functools.partial(
        on_own_part,
        _write_stories,
        dims=(_FRAMES, "b n s k", "b", ""),
    )
    return KV(
        keys=write(
            buffer.keys,
            keys,
            token,
            layer,
        ),
        values=write(
            buffer.values,
            values,
            token,
            layer,
        ),
    )


def _write_stories(
    array: Array,
    new: Array,
    token: Array,
    layer: Array,
) -> Array:
    """new [b, n, t, k] into array [layers, b, n, s, k], each story from its own token on."""
    # One slice update a story: a vmapped one would become a scatter.
    for story in range(new.shape[0]):
        rows = new[None, story : story + 1].astype(array.dtype)
        array = jax.lax.dynamic_update_slice(array, rows, (layer, story, 0, token[story], 0))
    return array


def put_text(
    text: KV,
    layer: Array,
    keys: Array,
    values: Array,
) -> KV:
    """Replaces one layer's text keys and values ([b, slots, n, l, k])."""
    return KV(
        keys=_write_layer(text.keys, keys, layer),
        values=_write_layer(text.values, values, layer),
    )


def _write_layer(
    array: Array,
    new: Array,
    layer: Array,
) -> Array:
    return jax.lax.dynamic_update_index_in_dim(
        array,
        new.astype(array.dtype),
        layer,
        0,
    )
