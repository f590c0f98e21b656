"""The causal student under teacher forcing (docs/method.md, section 4).

Every noisy chunk of a shot is predicted in one pass, each behind the **true** chunks before it:

    [context, clean chunk 1, …, clean chunk n − 1, noisy chunk 1, …, noisy chunk n]

A clean chunk sees what a commit sees, a noisy one what a denoising pass sees: the context, the
clean chunks before it that the window leaves, and itself. So the velocities equal the stream's with
true history. Keys and values of the history carry gradient; nobody reads the last clean chunk, so
it is left out.
"""

import jax
import jax.numpy as jnp

from shotstream_jax.core.typing import Array, Float, typechecked
from shotstream_jax.dit.block import Block
from shotstream_jax.dit.groups import forcing_groups
from shotstream_jax.dit.trunk import TOKENS, Trunk
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.nn.attention import group_attend


class Forced(Trunk):
    """The transformer with the student's attention over true history.

    Attributes:
        memory: sizes of the dual cache that a stream would have.
    """

    memory: MemoryConfig = MemoryConfig()

    @typechecked
    def __call__(
        self,
        history: Float[Array, "b past h w c"],
        x_t: Float[Array, "b f h w c"],
        t: Float[Array, "b f"],
        ids: FrameIds,
        text: Float[Array, "b slots l e"],
    ) -> Float[Array, "b f h w c"]:
        """Velocity of every chunk of a shot, each behind the true ones before it.

        Args:
            history: clean latents of the context and of the shot but for its last chunk.
            x_t: noisy latents of the shot.
            t: each noisy frame's time in [0, 1000].
            ids: shot and caption of the frames of [context, shot].
            text: embeddings of the captions that the ids name.
        """
        frames = x_t.shape[1]
        clean = history.shape[1]
        grid = self.cfg.grid(*x_t.shape[2:4])
        tokens_of_frame = grid[0] * grid[1]
        groups = forcing_groups(self.memory, frames, tokens_of_frame)

        # A noisy frame has the place in time of its clean one, which is at t = 0.
        clean_ids = _frames(ids, slice(0, clean))
        noisy_ids = _frames(ids, slice(self.memory.context, None))
        rotation = jnp.concatenate(
            [
                self.rotations_of(0, clean_ids, grid),
                self.rotations_of(self.memory.context, noisy_ids, grid),
            ],
            axis=2,
        )
        caption = jnp.concatenate([clean_ids.caption, noisy_ids.caption], axis=1)
        e, e0 = self.embed_time(jnp.pad(t, ((0, 0), (clean, 0))))
        captions = self.embed_text(text)

        def layer(block: Block, tokens: Array, _: Array) -> tuple[Array, None]:
            """One layer: the carry goes in and comes out."""
            q, k, v = block.self_qkv(tokens, e0, rotation)
            # The past of every chunk is in the same pass.
            attended = group_attend(q, (k, v), (k, v), groups)
            text_kv = block.text_kv(captions)
            tokens = block.finish(tokens, attended, e0, text_kv, caption)
            block.sow(TOKENS, "after", tokens)
            return tokens, None

        tokens = self.embed_latents(jnp.concatenate([history, x_t], axis=1))
        tokens = self.over_layers(layer, tokens)
        return self.velocity(tokens[:, clean:], e[:, clean:], grid)


def _frames(ids: FrameIds, part: slice) -> FrameIds:
    """The ids of some frames."""
    return jax.tree.map(lambda a: a[:, part], ids)
