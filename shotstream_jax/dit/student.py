"""The causal student (docs/method.md, section 1).

Two whole-sequence forms for training, `__call__` and `replay`; three cached passes for streaming:

    prefill_context   once a shot: the context's and the captions' keys and values
    denoise           a velocity for one chunk; its keys and values go into the chunk's own slot
    commit            the clean chunk's keys and values replace them, and the shot grows by a chunk
    replay            all chunks' `denoise` at once, given the keys and values that each saw: this
                      one is differentiated

All have the teacher's parameters. The cached passes equal the whole-sequence form given the same
history.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotstream_jax.core.devices import target_platform
from shotstream_jax.core.typing import Array, Float, typechecked
from shotstream_jax.dit.block import Block
from shotstream_jax.dit.groups import causal_groups, replay_groups
from shotstream_jax.dit.trunk import Trunk
from shotstream_jax.memory.cache import (
    KV,
    Caches,
    FrameIds,
    caption_kv,
    init_caches,
    put,
    put_text,
)
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.nn.attention import (
    attend,
    cache_slots,
    cache_tokens_first,
    group_attend,
)

# What the cached passes carry from layer to layer: tokens [b, f, t, d] and the caches.
_PrefillCarry = tuple[Array, KV, KV]
_ChunkCarry = tuple[Array, KV]


class Student(Trunk):
    """The transformer with block-causal attention over [context, chunk 1, chunk 2, …].

    Attributes:
        memory: sizes of the dual cache.
        cache_dtype: what frames' keys and values are kept in, of memory/cache.CACHE_DTYPES.
    """

    memory: MemoryConfig = MemoryConfig()
    cache_dtype: str = "same"

    def init_caches(
        self,
        batch: int,
        height: int,
        width: int,
    ) -> Caches:
        """Empty caches for so many stories of a latent grid."""
        rows, columns = self.cfg.grid(height, width)
        tokens = self.memory.frames * rows * columns
        return init_caches(
            self.memory,
            layers=self.cfg.layers,
            batch=batch,
            heads=self.cfg.heads,
            head_dim=self.cfg.head_dim,
            slots=cache_slots(tokens, self.cfg.head_dim),
            text_len=self.cfg.text_len,
            dtype=self.dtype,
            tokens_first=cache_tokens_first(self.cfg.head_dim, self.dtype),
            cache_dtype=self.cache_dtype,
        )

    @typechecked
    def __call__(
        self,
        x: Float[Array, "b f h w c"],
        t: Float[Array, "b f"],
        ids: FrameIds,
        text: Float[Array, "b slots l e"],
    ) -> Float[Array, "b f h w c"]:
        """Whole-sequence form: velocity of [context, chunk 1, …], each frame with its own t.

        Args:
            x: latents of context and shot, joined in time.
            t: each frame's time in [0, 1000].
            ids: shot and caption of every frame.
            text: embeddings of the captions that the ids name.
        """
        rows, columns = self.cfg.grid(*x.shape[2:4])
        shot_frames = x.shape[1] - self.memory.context
        # Which tokens each chunk sees; all of this is known when the program is traced.
        groups = causal_groups(self.memory, shot_frames, rows * columns)
        rotation = self.rotations_of(0, ids, (rows, columns))
        e, e0 = self.embed_time(t)
        captions = self.embed_text(text)

        def layer(
            block: Block,
            tokens: Array,
            _: Array,
        ) -> tuple[Array, None]:
            """One layer: the carry goes in and comes out."""
            q, k, v = block.self_qkv(tokens, e0, rotation)
            # The past of every chunk is in the same pass.
            attended = group_attend(
                q,
                (k, v),
                (k, v),
                groups,
            )
            text_kv = block.text_kv(captions)
            tokens = block.finish(
                tokens,
                attended,
                e0,
                text_kv,
                ids.caption,
            )
            return tokens, None

        tokens = self.embed_latents(x)
        tokens = self.over_layers(layer, tokens)
        return self.velocity(tokens, e, (rows, columns))

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

        The past carries no gradient: given it the chunks are independent of each other, so the
        gradient of a sum over chunks is one pass's. Text keys and values are made here, so they do
        carry it.

        Args:
            x_t: noisy latents of the shot.
            t: each story's time in [0, 1000].
            ids: shot and caption of the shot's frames.
            text: embeddings of the captions that the ids name.
            past: keys and values of the (C + f)·tokens tokens of the context and of the committed
                chunks, all of them in order.
        """
        past = jax.lax.stop_gradient(past)
        rows, columns = self.cfg.grid(*x_t.shape[2:4])
        groups = replay_groups(self.memory, x_t.shape[1], rows * columns)
        # The shot's first frame follows the context's last one.
        rotation = self.rotations_of(self.memory.context, ids, (rows, columns))
        e, e0 = self.embed_time(t[:, None])
        captions = self.embed_text(text)

        def layer(
            block: Block,
            tokens: Array,
            index: Array,
        ) -> tuple[Array, None]:
            """One layer: the carry goes in and comes out."""
            q, k, v = block.self_qkv(tokens, e0, rotation)
            # Other chunks are seen as they were committed, a chunk's own frames as they are now.
            attended = group_attend(q, (k, v), past.layer(index), groups)
            text_kv = block.text_kv(captions)
            tokens = block.finish(
                tokens,
                attended,
                e0,
                text_kv,
                ids.caption,
            )
            return tokens, None

        tokens = self.embed_latents(x_t)
        tokens = self.over_layers(layer, tokens)
        return self.velocity(tokens, e, (rows, columns))

    @typechecked
    def prefill_context(
        self,
        latents: Float[Array, "b f h w c"],
        ids: FrameIds,
        text: Float[Array, "b slots l e"],
        caches: Caches,
    ) -> Caches:
        """A new shot: the earlier shot's frames are forgotten.

        Writes keys and values of text and context.

        Args:
            latents: the C context frames, clean; at t = 0 they attend to themselves only.
            ids: shot and caption of the context's frames.
            text: embeddings of all captions, one a slot.
            caches: those of the shot before, or empty ones.
        """
        stories = latents.shape[0]
        start = jnp.zeros(stories, jnp.int32)
        rotation = self.rotations_of(0, ids, self.cfg.grid(*latents.shape[2:4]))
        # The context is clean: t = 0.
        _, e0 = self.embed_time(jnp.zeros((stories, 1)))
        captions = self.embed_text(text)

        def layer(
            block: Block,
            carry: _PrefillCarry,
            index: Array,
        ) -> tuple[_PrefillCarry, None]:
            """One layer: the carry goes in and comes out."""
            tokens, frames, texts = carry
            text_kv = block.text_kv(captions)
            q, k, v = block.self_qkv(tokens, e0, rotation)
            # The context lies at the buffer's start.
            frames = put(frames, index, k, v, start)
            texts = put_text(texts, index, *text_kv)

            def rest(block: Block, tokens: Array) -> Array:
                """What comes after the layer's keys and values."""
                return block.finish(
                    tokens,
                    attend(q, k, v),
                    e0,
                    text_kv,
                    ids.caption,
                )

            tokens = self._unless_last(rest, block, index, tokens)
            return (tokens, frames, texts), None

        # The tokens themselves are not wanted, only the keys and values that they leave behind.
        tokens = self.embed_latents(latents)
        _, frames, texts = self.over_layers(layer, (tokens, caches.frames, caches.text))
        return Caches(frames=frames, text=texts, fill=start)

    @typechecked
    def replace_captions(self, text: Float[Array, "b slots l e"], caches: Caches) -> Caches:
        """Other captions in the middle of a shot.

        The keys and values of the context and of the shot's chunks stay as they were told.

        Args:
            text: embeddings of all captions, one a slot.
            caches: those of the shot.
        """
        captions = self.embed_text(text)

        def layer(block: Block, texts: KV, index: Array) -> tuple[KV, None]:
            """One layer: the carry goes in and comes out."""
            return put_text(texts, index, *block.text_kv(captions)), None

        return caches.replace(text=self.over_layers(layer, caches.text))

    @typechecked
    def denoise(
        self,
        x_t: Float[Array, "b f h w c"],
        t: Float[Array, "b"],
        ids: FrameIds,
        caches: Caches,
    ) -> tuple[Float[Array, "b f h w c"], Caches]:
        """Velocity of the next chunk at time t. The chunk's slot is overwritten; `fill` stays."""
        e, e0 = self.embed_time(t[:, None])
        tokens, frames = self._chunk_pass(
            x_t,
            e0,
            ids,
            caches,
            output=True,
        )
        velocity = self.velocity(tokens, e, self.cfg.grid(*x_t.shape[2:4]))
        return velocity, caches.replace(frames=frames)

    @typechecked
    def commit(
        self,
        x_0: Float[Array, "b f h w c"],
        ids: FrameIds,
        caches: Caches,
    ) -> Caches:
        """A pass of the finished chunk at t = 0, for its clean keys and values.

        They take the place of the noisy ones in the chunk's slot; `fill` advances.
        """
        _, e0 = self.embed_time(jnp.zeros((x_0.shape[0], 1)))
        _, frames = self._chunk_pass(
            x_0,
            e0,
            ids,
            caches,
            output=False,
        )
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
        """All layers over the next chunk; it attends to [context, its shot so far, itself].

        All frames of a story's chunk read the caption of its first one. output: whether the tokens
        are wanted; if not, the last layer ends with its keys and values.
        """
        rows, columns = self.cfg.grid(*x.shape[2:4])
        # The chunk's first frame follows the context and what the shot has so far.
        first = self.memory.context + caches.fill
        rotation = self.rotations_of(first, ids, (rows, columns))
        # Where the chunk's keys go, and how many keys are valid once they are there, in tokens.
        token = self.memory.slot(caches.fill) * rows * columns
        length = self.memory.valid(caches.fill + self.memory.chunk) * rows * columns
        slot = ids.caption[:, 0]

        def layer(
            block: Block,
            carry: _ChunkCarry,
            index: Array,
        ) -> tuple[_ChunkCarry, None]:
            """One layer: the carry goes in and comes out."""
            tokens, frames = carry
            q, k, v = block.self_qkv(tokens, e0, rotation)
            # First into the cache, so that the chunk finds its own keys there.
            frames = put(frames, index, k, v, token)

            def rest(block: Block, tokens: Array) -> Array:
                """What comes after the layer's keys and values."""
                # The valid prefix holds the context, what is kept of the shot, and the chunk.
                keys, values = frames.layer(index)
                attended = attend(q, keys, values, length)
                # There is no choice left between captions: it is the only one.
                return block.finish(
                    tokens,
                    attended,
                    e0,
                    caption_kv(caches.text, index, slot),
                    jnp.zeros_like(ids.caption),
                )

            if output:
                tokens = rest(block, tokens)
            else:
                tokens = self._unless_last(rest, block, index, tokens)
            return (tokens, frames), None

        tokens = self.embed_latents(x)
        return self.over_layers(layer, (tokens, caches.frames))

    def _unless_last(
        self,
        rest: Callable[[Block, Array], Array],
        block: Block,
        index: Array,
        tokens: Array,
    ) -> Array:
        """rest(block, tokens), except in the last layer.

        A pass that is run for its keys and values needs nothing after the last layer's. A GPU does
        it in vain: it would wait for its host at every layer, to be told which layer it is.
        """
        if target_platform() == "gpu":
            return rest(block, tokens)
        is_before_last = index < self.cfg.layers - 1
        return nn.cond(
            is_before_last,
            rest,
            lambda block, tokens: tokens,
            block,
            tokens,
        )
