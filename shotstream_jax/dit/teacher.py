"""The bidirectional next-shot generator (docs/method.md, section 1).

Every frame sees every frame, and all share one t.
"""

from shotstream_jax.core.typing import Array, Float, typechecked
from shotstream_jax.dit.block import Block
from shotstream_jax.dit.trunk import TOKENS, Trunk
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.nn.attention import attend


class Teacher(Trunk):
    """The transformer with full attention over [context, shot]."""

    @typechecked
    def __call__(
        self,
        x: Float[Array, "b f h w c"],
        t: Float[Array, "b"],
        ids: FrameIds,
        text: Float[Array, "b slots l e"],
    ) -> Float[Array, "b f h w c"]:
        """Velocity of [context, noisy shot].

        Args:
            x: latents of context and shot, joined in time. The clean context is given the shot's t
                as well.
            t: each story's time in [0, 1000].
            ids: shot and caption of every frame.
            text: embeddings of the captions that the ids name.
        """
        grid = self.cfg.grid(*x.shape[2:4])
        rotation = self.rotations_of(0, ids, grid)
        # One time for all frames of a story, g = 1.
        e, e0 = self.embed_time(t[:, None])
        captions = self.embed_text(text)

        def layer(
            block: Block,
            tokens: Array,
            _: Array,
        ) -> tuple[Array, None]:
            """One layer: the carry goes in and comes out."""
            q, k, v = block.self_qkv(tokens, e0, rotation)
            # No mask: all queries see all keys.
            attended = attend(q, k, v)
            text_kv = block.text_kv(captions)
            tokens = block.finish(
                tokens,
                attended,
                e0,
                text_kv,
                ids.caption,
            )
            block.sow(TOKENS, "after", tokens)
            return tokens, None

        tokens = self.embed_latents(x)
        tokens = self.over_layers(layer, tokens)
        return self.velocity(tokens, e, grid)
