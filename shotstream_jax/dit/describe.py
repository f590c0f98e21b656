"""What a frame is like, and what a caption asks for: mean keys and queries of one layer.

A frame's keys are what later frames find it by. A clean frame passes under its caption and sees
itself only; the mean of its keys over the picture describes it. Noise that passes under a new
caption has queries by which a shot with that caption begins to look for what it needs. Their
product says how well a frame serves the shot (generate/likeness). All frames stand at one place in
time and have one phase, so that neither counts.
"""

import jax.numpy as jnp

from shotstream_jax.core.typing import Array, Float, typechecked
from shotstream_jax.dit.block import Block
from shotstream_jax.dit.trunk import Trunk
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.memory.plan import FIRST_SHOT_PHASE
from shotstream_jax.nn.attention import attend

# What is carried from layer to layer: tokens [b, 1, t, d], queries and keys [b, d].
_Carry = tuple[Array, Array, Array]


class Describer(Trunk):
    """A pass with the student's parameters over single frames, each by itself."""

    @typechecked
    def __call__(
        self, frames: Float[Array, "b h w c"], t: Float[Array, "b"], text: Float[Array, "b l e"]
    ) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
        """Mean queries and mean keys of every frame, all heads joined, in float32.

        Args:
            frames: latents, clean or noisy.
            t: each frame's time in [0, 1000], 0 for a clean one.
            text: the embedding of each frame's prompt.
        """
        stories = frames.shape[0]
        grid = self.cfg.grid(*frames.shape[1:3])
        # Each frame is a story of one frame, with one caption.
        zeros = jnp.zeros((stories, 1), jnp.int32)
        ids = FrameIds(phase=zeros + FIRST_SHOT_PHASE, caption=zeros)
        rotation = self.rotations_of(0, ids, grid)
        _, e0 = self.embed_time(t[:, None])
        captions = self.embed_text(text[:, None])
        # A third of the way up: in the miniature the layer that tells most (docs/stories.md).
        told_by = self.cfg.layers // 3

        def layer(block: Block, carry: _Carry, index: Array) -> tuple[_Carry, None]:
            """One layer: the carry goes in and comes out."""
            tokens, queries, keys = carry
            q, k, v = block.self_qkv(tokens, e0, rotation)  # [b, n, 1, t, k], [b, n, t, k] twice
            # Means over the frame's tokens, [b, n, k], of the one layer.
            of_queries = jnp.mean(q[:, :, 0], axis=2, dtype=jnp.float32)
            of_keys = jnp.mean(k, axis=2, dtype=jnp.float32)
            queries = jnp.where(index == told_by, of_queries.reshape(stories, -1), queries)
            keys = jnp.where(index == told_by, of_keys.reshape(stories, -1), keys)
            attended = attend(q, k, v)
            tokens = block.finish(tokens, attended, e0, block.text_kv(captions), ids.caption)
            return (tokens, queries, keys), None

        nothing = jnp.zeros((stories, self.cfg.dim), jnp.float32)
        tokens = self.embed_latents(frames[:, None])
        _, queries, keys = self.over_layers(layer, (tokens, nothing, nothing))
        return queries, keys
