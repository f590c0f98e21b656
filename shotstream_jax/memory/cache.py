"""The dual cache: one explicit pytree that goes into every pass and comes out of it.

Keys are kept rotated. The buffer is written in place (carried through the scan over layers and donated by the
drivers): a pass puts its own chunk into its slot first, so attention is one call over a valid prefix.
"""

import functools

import flax
import jax
import jax.numpy as jnp

from shotstream_jax.core.sharding import constrain, on_own_part
from shotstream_jax.core.typing import Array, Float, Int, typechecked
from shotstream_jax.memory.window import MemoryConfig


@flax.struct.dataclass
class KV:
    """Keys and values of all layers, arrays of equal shape."""

    keys: Array
    values: Array

    def layer(self, index: int | Array) -> tuple[Array, Array]:
        take = lambda a: jax.lax.dynamic_index_in_dim(a, index, keepdims=False)  # noqa: E731
        return take(self.keys), take(self.values)


@flax.struct.dataclass
class FrameIds:
    """What tells frames of different shots apart: the rotary phase, and the text slot that the frame reads."""

    phase: Int[Array, "b f"]
    caption: Int[Array, "b f"]


@flax.struct.dataclass
class Caches:
    """frames: [layers, b, n, s, k], whose first (C + w)·tokens of s are laid out by memory/window; the others stay
    unused (see init_caches). text: [layers, b, slots, n, l, k].

    fill: frames of the current shot that are committed, [b]. It is the next chunk's first frame too.
    """

    frames: KV
    text: KV
    fill: Int[Array, "b"]


# On a mesh every device has its own stories and heads, and all their tokens.
_FRAMES, _TEXT = "_ b n s k", "_ b _ n l k"
DIMS = Caches(frames=KV(_FRAMES, _FRAMES), text=KV(_TEXT, _TEXT), fill="b")


def init_caches(
    memory: MemoryConfig,
    *,
    layers: int,
    batch: int,
    heads: int,
    head_dim: int,
    slots: int,
    text_len: int,
    dtype: jnp.dtype,
) -> Caches:
    """Empty caches. slots: tokens that a layer holds, (C + w) latent frames' or more: what lies beyond is never in the
    valid prefix, and lets an attention kernel have whole blocks without a copy."""
    pair = lambda *shape: KV(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))  # noqa: E731
    caches = Caches(
        frames=pair(layers, batch, heads, slots, head_dim),
        text=pair(layers, batch, memory.captions, heads, text_len, head_dim),
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

    def write(array: Array, new: Array, token: Array, layer: Array) -> Array:
        # One slice update a story: a vmapped one would become a scatter.
        for i in range(new.shape[0]):
            array = jax.lax.dynamic_update_slice(
                array, new[None, i : i + 1].astype(array.dtype), (layer, i, 0, token[i], 0)
            )
        return array

    place = functools.partial(on_own_part, write, dims=(_FRAMES, "b n s k", "b", ""))
    layer = jnp.asarray(layer, jnp.int32)
    return KV(place(buffer.keys, keys, token, layer), place(buffer.values, values, token, layer))


def put_text(text: KV, layer: Array, keys: Array, values: Array) -> KV:
    """Replaces one layer's text keys and values ([b, slots, n, l, k])."""

    def write(array: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_index_in_dim(array, new.astype(array.dtype), layer, 0)

    return KV(write(text.keys, keys), write(text.values, values))
