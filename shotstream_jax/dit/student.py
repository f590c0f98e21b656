"""The causal student (spec page 1): two whole-sequence forms for training, and three cached passes for streaming.

    prefill_context   once a shot: the context's and the captions' keys and values
    denoise           a velocity for one chunk; its keys and values go into the chunk's own slot
    commit            the clean chunk's keys and values replace them, and the shot grows by a chunk
    replay            all chunks' `denoise` at once, given the keys and values that each saw: the one to differentiate

All have the teacher's parameters. The cached passes equal the whole-sequence form given the same history.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotstream_jax.core.typing import Array, Float, typechecked
from shotstream_jax.dit.block import Block
from shotstream_jax.dit.trunk import Trunk
from shotstream_jax.memory.cache import KV, Caches, FrameIds, init_caches, put, put_text
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.nn.attention import Group, attend, cache_slots, group_attend


class Student(Trunk):
    memory: MemoryConfig = MemoryConfig()

    def init_caches(self, batch: int, height: int, width: int) -> Caches:
        """Empty caches for a latent grid."""
        rows, columns = self.cfg.grid(height, width)
        return init_caches(
            self.memory,
            layers=self.cfg.layers,
            batch=batch,
            heads=self.cfg.heads,
            head_dim=self.cfg.head_dim,
            slots=cache_slots(self.memory.frames * rows * columns, self.cfg.head_dim),
            text_len=self.cfg.text_len,
            dtype=self.dtype,
        )

    @typechecked
    def __call__(
        self,
        x: Float[Array, "b f h w c"],
        t: Float[Array, "b f"],
        ids: FrameIds,
        text: Float[Array, "b slots l e"],
    ) -> Float[Array, "b f h w c"]:
        """Whole-sequence form: velocity of [context, chunk 1, chunk 2, …], each frame with its own t."""
        grid = self.cfg.grid(*x.shape[2:4])
        groups = causal_groups(self.memory, x.shape[1] - self.memory.context, grid[0] * grid[1])
        rotation = self.rotations(0, ids, grid)
        e, e0 = self.embed_time(t)
        text = self.embed_text(text)

        def layer(block: Block, x: Array, _: Array) -> tuple[Array, None]:
            q, k, v = block.self_qkv(x, e0, rotation)
            attended = group_attend(q, (k, v), (k, v), groups)
            return block.finish(x, attended, e0, block.text_kv(text), ids.caption), None

        return self.velocity(self.over_layers(layer, self.embed_latents(x)), e, grid)

    @typechecked
    def replay(
        self,
        x_t: Float[Array, "b f h w c"],
        t: Float[Array, "b"],
        ids: FrameIds,
        text: Float[Array, "b slots l e"],
        past: KV,
    ) -> Float[Array, "b f h w c"]:
        """Velocity of every chunk of a shot at time t, all in one pass.

        past: keys and values [layers, b, n, (C + f)·tokens, k] of the context and of the committed chunks, all of them
        in order. They carry no gradient: given them the chunks are independent of each other, so the gradient of a
        sum over chunks is one pass's. ids: the shot's frames. Text keys and values are made here, so they do carry it.
        """
        past = jax.lax.stop_gradient(past)
        grid = self.cfg.grid(*x_t.shape[2:4])
        groups = replay_groups(self.memory, x_t.shape[1], grid[0] * grid[1])
        rotation = self.rotations(self.memory.context, ids, grid)
        e, e0 = self.embed_time(t[:, None])
        text = self.embed_text(text)

        def layer(block: Block, x: Array, index: Array) -> tuple[Array, None]:
            q, k, v = block.self_qkv(x, e0, rotation)
            attended = group_attend(q, (k, v), past.layer(index), groups)
            return block.finish(x, attended, e0, block.text_kv(text), ids.caption), None

        return self.velocity(self.over_layers(layer, self.embed_latents(x_t)), e, grid)

    @typechecked
    def prefill_context(
        self,
        latents: Float[Array, "b f h w c"],
        ids: FrameIds,
        text: Float[Array, "b slots l e"],
        caches: Caches,
    ) -> Caches:
        """A new shot: text and context keys and values are written, the earlier shot's frames forgotten.

        The C context latents, at t = 0, attend to themselves only.
        """
        start = jnp.zeros(latents.shape[0], jnp.int32)
        rotation = self.rotations(0, ids, self.cfg.grid(*latents.shape[2:4]))
        _, e0 = self.embed_time(jnp.zeros((latents.shape[0], 1)))
        text = self.embed_text(text)

        def layer(
            block: Block, carry: tuple[Array, KV, KV], index: Array
        ) -> tuple[tuple[Array, KV, KV], None]:
            x, frames, texts = carry
            text_kv = block.text_kv(text)
            q, k, v = block.self_qkv(x, e0, rotation)
            frames, texts = put(frames, index, k, v, start), put_text(texts, index, *text_kv)
            rest = lambda block, x: block.finish(x, attend(q, k, v), e0, text_kv, ids.caption)  # noqa: E731
            return (self._unless_last(rest, block, index, x), frames, texts), None

        _, frames, texts = self.over_layers(
            layer, (self.embed_latents(latents), caches.frames, caches.text)
        )
        return Caches(frames=frames, text=texts, fill=start)

    @typechecked
    def denoise(
        self, x_t: Float[Array, "b f h w c"], t: Float[Array, "b"], ids: FrameIds, caches: Caches
    ) -> tuple[Float[Array, "b f h w c"], Caches]:
        """Velocity of the next chunk at time t. The chunk's slot is overwritten; `fill` stays."""
        e, e0 = self.embed_time(t[:, None])
        x, frames = self._chunk_pass(x_t, e0, ids, caches, output=True)
        return self.velocity(x, e, self.cfg.grid(*x_t.shape[2:4])), caches.replace(frames=frames)

    @typechecked
    def commit(self, x_0: Float[Array, "b f h w c"], ids: FrameIds, caches: Caches) -> Caches:
        """Puts the finished chunk's clean keys and values (a pass at t = 0) into its slot; `fill` advances."""
        _, e0 = self.embed_time(jnp.zeros((x_0.shape[0], 1)))
        _, frames = self._chunk_pass(x_0, e0, ids, caches, output=False)
        return caches.replace(frames=frames, fill=caches.fill + self.memory.chunk)

    def _chunk_pass(
        self,
        x: Float[Array, "b f h w c"],
        e0: Array,
        ids: FrameIds,
        caches: Caches,
        *,
        output: bool,
    ) -> tuple[Float[Array, "b f t d"], KV]:
        """All layers over the next chunk; it attends to [context, its shot so far, itself]."""
        rows, columns = self.cfg.grid(*x.shape[2:4])
        rotation = self.rotations(self.memory.context + caches.fill, ids, (rows, columns))
        token = self.memory.slot(caches.fill) * rows * columns
        length = self.memory.valid(caches.fill + self.memory.chunk) * rows * columns

        def layer(
            block: Block, carry: tuple[Array, KV], index: Array
        ) -> tuple[tuple[Array, KV], None]:
            x, frames = carry
            q, k, v = block.self_qkv(x, e0, rotation)
            frames = put(frames, index, k, v, token)

            def rest(block: Block, x: Array) -> Array:
                attended = attend(q, *frames.layer(index), length)
                return block.finish(x, attended, e0, caches.text.layer(index), ids.caption)

            return (
                rest(block, x) if output else self._unless_last(rest, block, index, x),
                frames,
            ), None

        return self.over_layers(layer, (self.embed_latents(x), caches.frames))

    def _unless_last(
        self, rest: Callable[[Block, Array], Array], block: Block, index: Array, x: Array
    ) -> Array:
        """A pass that is run for its keys and values needs nothing after the last layer's."""
        return nn.cond(index < self.cfg.layers - 1, rest, lambda block, x: x, block, x)


def causal_groups(memory: MemoryConfig, frames: int, tokens: int) -> list[Group]:
    """Who sees whom in [context, chunk, chunk, …] of a shot of `frames` frames: context = the first group.

    The past is the pass itself.
    """
    c = memory.context
    chunks = replay_groups(memory, frames, tokens)
    shifted = [Group(_moved(g.queries, c), _moved(g.own, c * tokens), g.past) for g in chunks]
    return [Group(slice(0, c), own=slice(0, c * tokens), past=()), *shifted]


def replay_groups(memory: MemoryConfig, frames: int, tokens: int) -> list[Group]:
    """The same for queries [chunk, chunk, …], with a past of [context, chunk, chunk, …] of their own."""
    memory.check_shot(frames)
    groups = []
    for first in range(0, frames, memory.chunk):
        queries = slice(first, first + memory.chunk)
        past = (
            slice(0, memory.context),
            *(_moved(r, memory.context) for r in memory.visible_past(first)),
        )
        groups.append(
            Group(
                queries, own=_tokens(queries, tokens), past=tuple(_tokens(r, tokens) for r in past)
            )
        )
    return groups


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _tokens(frames: slice, tokens: int) -> slice:
    return slice(frames.start * tokens, frames.stop * tokens)
