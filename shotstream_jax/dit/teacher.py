"""The bidirectional next-shot generator (spec page 1): every frame sees every frame, all share one t."""

from shotstream_jax.core.typing import Array, Float, typechecked
from shotstream_jax.dit.block import Block
from shotstream_jax.dit.trunk import Trunk
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.nn.attention import attend


class Teacher(Trunk):
    @typechecked
    def __call__(
        self,
        x: Float[Array, "b f h w c"],
        t: Float[Array, "b"],
        ids: FrameIds,
        text: Float[Array, "b slots l e"],
    ) -> Float[Array, "b f h w c"]:
        """Velocity of [context, noisy shot] (joined in time). The clean context is given the shot's t as well."""
        grid = self.cfg.grid(*x.shape[2:4])
        rotation = self.rotations(0, ids, grid)
        e, e0 = self.embed_time(t[:, None])
        text = self.embed_text(text)

        def layer(block: Block, x: Array, _: Array) -> tuple[Array, None]:
            attended = attend(*block.self_qkv(x, e0, rotation))
            return block.finish(x, attended, e0, block.text_kv(text), ids.caption), None

        return self.velocity(self.over_layers(layer, self.embed_latents(x)), e, grid)
