"""The dual cache: one explicit pytree that goes into every pass and comes out of it.

Keys are kept rotated. The buffer is written in place (carried through the scan over layers and
donated by the callers): a pass puts its own chunk into its slot first, so attention is one call
over a valid prefix.

Frames' keys and values can be kept in 8 bits (CACHE_DTYPES; core/narrow), with a scale for each
token and head. A layer is widened when it is read.
"""

import functools
from typing import Any

import flax
import jax
import jax.numpy as jnp

from shotstream_jax.core.narrow import NARROW_TYPES, Narrow, narrow, widen
from shotstream_jax.core.sharding import constrain, on_own_part
from shotstream_jax.core.typing import Array, DType, Float, Int, typechecked
from shotstream_jax.memory.window import MemoryConfig

# What frames' keys and values are kept in: "same" is the type of the matmuls.
CACHE_DTYPES = ("same", *NARROW_TYPES)


class KV(flax.struct.PyTreeNode):
    """Keys and values of all layers, arrays of equal shape, layers first.

    tokens_first: whether tokens come before heads, [layers, b, …, s, n, k], as GPUs' attention
    wants them, or after them, [layers, b, …, n, s, k]. What is written and read is [b, …, n, s, k]
    in any case. dtype: of what is read.
    """

    keys: Array | Narrow
    values: Array | Narrow
    tokens_first: bool = flax.struct.field(pytree_node=False, default=False)
    dtype: DType = flax.struct.field(pytree_node=False, default=jnp.float32)

    @property
    def token_axis(self) -> int:
        """The axis of the tokens, counted from the last."""
        return -3 if self.tokens_first else -2

    def layer(self, index: int | Array) -> tuple[Array, Array]:
        """Keys and values of one layer, [b, …, n, s, k]."""
        keys = self._read(self.keys, index)
        values = self._read(self.values, index)
        return keys, values

    def plain(self) -> tuple[Array, Array]:
        """The arrays of keys and values that are not in 8 bits."""
        assert not isinstance(self.keys, Narrow) and not isinstance(self.values, Narrow)
        return self.keys, self.values

    def _read(self, arrays: Array | Narrow, index: int | Array) -> Array:
        """One layer of the keys or of the values, wide."""
        if isinstance(arrays, Narrow):
            layer = widen(Narrow(*(_take_layer(a, index) for a in arrays)), self.dtype)
        else:
            layer = _take_layer(arrays, index)
        return self.turned(layer)

    def turned(self, a: Array) -> Array:
        """From [b, …, n, s, k] to the axes of the arrays, or back."""
        return jnp.swapaxes(a, -3, -2) if self.tokens_first else a

    def part(self, start: int | Array, length: int) -> "KV":
        """All layers' keys and values of some tokens."""

        def take(a: Array) -> Array:
            """The tokens from `start` on."""
            return jax.lax.dynamic_slice_in_dim(a, start, length, axis=self.token_axis)

        return jax.tree.map(take, self)


class FrameIds(flax.struct.PyTreeNode):
    """What tells frames of different shots apart.

    phase: number of the frame's shot, for the rotary phase (nn/rope). caption: the text slot that
    the frame reads.
    """

    phase: Int[Array, "b f"]
    caption: Int[Array, "b f"]


class Caches(flax.struct.PyTreeNode):
    """The state of a stream between passes.

    frames: keys and values of s tokens, whose first (C + w)·tokens are laid out by memory/window;
    the others stay unused (see init_caches). text: those of l tokens in each of the slots.

    fill: frames of the current shot that are committed, [b]. It is the next chunk's first frame
    too.
    """

    frames: KV
    text: KV
    fill: Int[Array, "b"]


# Dimension letters (core/sharding), where the arrays are. On a mesh every device has its own
# stories and heads, and all their tokens.
_FRAMES = {False: "_ b n s k", True: "_ b s n k"}  # by KV.tokens_first
_TEXT = {False: "_ b _ n l k", True: "_ b _ l n k"}


def cache_dims(caches: Caches) -> Caches:
    """The dimension letters of every array of the caches."""
    tokens_first = caches.frames.tokens_first
    fill: Any = "b"
    return Caches(
        frames=jax.tree.map(lambda _: _FRAMES[tokens_first], caches.frames),
        text=jax.tree.map(lambda _: _TEXT[tokens_first], caches.text),
        fill=fill,
    )


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
    tokens_first: bool = False,
    cache_dtype: str = "same",
) -> Caches:
    """Empty caches.

    slots: tokens that a layer holds, (C + w) latent frames' or more. What lies beyond is never in
    the valid prefix; it lets an attention kernel have whole blocks without a copy. tokens_first: as
    in KV. cache_dtype: of CACHE_DTYPES, for the frames.
    """

    def zeros(outer: tuple[int, ...], tokens: int, kept: str) -> KV:
        """Keys and values of so many tokens for every index of the outer axes."""
        inner = (tokens, heads) if tokens_first else (heads, tokens)
        shape = (*outer, *inner)

        def empty() -> Array | Narrow:
            """The keys, or the values."""
            if kept == "same":
                return jnp.zeros((*shape, head_dim), dtype)
            numbers = jnp.zeros((*shape, head_dim), NARROW_TYPES[kept])
            return Narrow(numbers, jnp.zeros((*shape, 1), jnp.float32))

        return KV(empty(), empty(), tokens_first, dtype)

    # Both kinds of keys have the layers first, as the scan over layers takes one at a time.
    caches = Caches(
        frames=zeros((layers, batch), slots, cache_dtype),
        text=zeros((layers, batch, memory.captions), text_len, "same"),
        fill=jnp.zeros(batch, jnp.int32),
    )
    return jax.tree.map(constrain, caches, cache_dims(caches))


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
    dims = _FRAMES[buffer.tokens_first]
    # Every device writes its own stories and heads, so that nothing is sent.
    write = functools.partial(
        on_own_part,
        functools.partial(_write_stories, buffer.token_axis),
        dims=(dims, dims.removeprefix("_ "), "b", ""),
    )

    def written(arrays: Array | Narrow, new: Array) -> Array | Narrow:
        """The keys, or the values, with the new ones among them."""
        new = buffer.turned(new)
        if not isinstance(arrays, Narrow):
            return write(arrays, new, token, layer)
        # Numbers and scales are two buffers, written at the same place.
        rounded = narrow(new, arrays.numbers.dtype)
        return Narrow(
            write(arrays.numbers, rounded.numbers, token, layer),
            write(arrays.scale, rounded.scale, token, layer),
        )

    return buffer.replace(
        keys=written(buffer.keys, keys),
        values=written(buffer.values, values),
    )


def _write_stories(
    token_axis: int,
    array: Array,
    new: Array,
    token: Array,
    layer: Array,
) -> Array:
    """A layer's new tokens into the array of all layers, each story from its own token on."""
    # One slice update a story: a vmapped one would become a scatter.
    for story in range(new.shape[0]):
        rows = new[None, story : story + 1].astype(array.dtype)
        start: list[int | Array] = [layer, story, 0, 0, 0]
        start[token_axis] = token[story]
        array = jax.lax.dynamic_update_slice(array, rows, start)
    return array


def _take_layer(array: Array, layer: int | Array) -> Array:
    """One layer of an array of all layers."""
    # Never negative: with the plain number a GPU's attention can read the layer in place.
    return jax.lax.dynamic_index_in_dim(array, layer, keepdims=False, allow_negative_indices=False)


def put_text(
    text: KV,
    layer: Array,
    keys: Array,
    values: Array,
) -> KV:
    """Replaces one layer's text keys and values ([b, slots, n, l, k])."""
    old_keys, old_values = text.plain()
    return text.replace(
        keys=_write_layer(old_keys, text.turned(keys), layer),
        values=_write_layer(old_values, text.turned(values), layer),
    )


def caption_kv(
    text: KV,
    layer: int | Array,
    slot: Int[Array, "b"],
) -> tuple[Float[Array, "b 1 n l k"], Float[Array, "b 1 n l k"]]:
    """One layer's keys and values of one caption for each story, that of its slot."""
    layer = jnp.asarray(layer, jnp.int32)
    # Every device reads its own stories and heads, so that nothing is sent.
    read = functools.partial(
        on_own_part,
        _read_slots,
        dims=(_TEXT[text.tokens_first], "b", ""),
    )
    all_keys, all_values = text.plain()
    keys = read(all_keys, slot, layer)
    values = read(all_values, slot, layer)
    return text.turned(keys[0]), text.turned(values[0])


def _read_slots(
    array: Array,
    slot: Array,
    layer: Array,
) -> Array:
    """Of [layers, b, slots, …] one layer and each story's slot, [1, b, 1, …]."""
    stories = []
    for story in range(slot.shape[0]):
        start = (layer, story, slot[story], 0, 0, 0)
        size = (1, 1, 1, *array.shape[3:])
        stories.append(jax.lax.dynamic_slice(array, start, size))
    return jnp.concatenate(stories, axis=1)


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
