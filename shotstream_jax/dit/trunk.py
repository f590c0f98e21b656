"""What teacher and student share: the parameters, the embeddings, the scan over layers and the head (spec page 1)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotstream_jax.core.sharding import constrain
from shotstream_jax.core.typing import Array, Float, Int, typechecked
from shotstream_jax.dit.block import Block, modulate
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.nn.layers import TEXT_AND_TIME_INIT, LayerNorm, Linear, time_sinusoid
from shotstream_jax.nn.rope import rotations

_KEPT = jax.checkpoint_policies
REMAT = {
    "full": None,
    "dots": _KEPT.save_from_both_policies(
        _KEPT.dots_with_no_batch_dims_saveable, _KEPT.save_only_these_names("attended")
    ),
}

# (block, carry, layer number) → (carry, None); a body sees one layer's parameters.
LayerBody = Callable[[Block, Any, Array], tuple[Any, None]]


class Trunk(nn.Module):
    cfg: DiTConfig
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"

    def setup(self) -> None:
        cfg = self.cfg
        small = {"kernel_init": TEXT_AND_TIME_INIT}
        self.patch_embedding = Linear(cfg.dim, dtype=self.dtype)
        self.text_in, self.text_out = (Linear(cfg.dim, dtype=self.dtype, **small) for _ in range(2))
        # Time stays in float32: it scales every activation.
        self.time_in, self.time_out = (
            Linear(cfg.dim, dtype=jnp.float32, **small) for _ in range(2)
        )
        self.time_projection = Linear(6 * cfg.dim, dtype=jnp.float32)
        self.blocks = Block(cfg, self.dtype)
        self.head_table = self.param(
            "head_table", nn.initializers.normal(cfg.dim**-0.5), (2, cfg.dim)
        )
        self.head_norm = LayerNorm(cfg.eps)
        self.head = Linear(
            cfg.patch**2 * cfg.channels, dtype=self.dtype, kernel_init=nn.initializers.zeros
        )

    @typechecked
    def embed_latents(self, x: Float[Array, "b f h w c"]) -> Float[Array, "b f t d"]:
        """Patches of one frame and patch×patch pixels → tokens, rows first. A strided convolution as one matmul."""
        b, f, h, w, c = x.shape
        (rows, columns), p = self.cfg.grid(h, w), self.cfg.patch
        patches = x.reshape(b, f, rows, p, columns, p, c).transpose(0, 1, 2, 4, 3, 5, 6)
        tokens = self.patch_embedding(
            patches.reshape(b, f, rows * columns, p * p * c).astype(self.dtype)
        )
        return constrain(tokens, "b f t d")

    @typechecked
    def embed_time(
        self, t: Float[Array, "b g"]
    ) -> tuple[Float[Array, "b g d"], Float[Array, "b g 6 d"]]:
        """(e, e0) for t in [0, 1000]; g = 1 where all frames share t."""
        e = self.time_out(nn.silu(self.time_in(time_sinusoid(t, self.cfg.freq_dim))))
        return e, self.time_projection(nn.silu(e)).reshape(*t.shape, 6, self.cfg.dim)

    @typechecked
    def rotations(
        self, first: int | Int[Array, "b"], ids: FrameIds, grid: tuple[int, int]
    ) -> Array:
        """Of the frames of `ids`, which follow each other in time from the position `first` on."""
        position = jnp.reshape(first, (-1, 1)) + jnp.arange(ids.phase.shape[1])[None]
        position = jnp.broadcast_to(position, ids.phase.shape)
        return rotations(position, ids.phase, grid, self.cfg.head_dim, self.cfg.shot_phase)

    @typechecked
    def embed_text(self, text: Float[Array, "b slots l e"]) -> Float[Array, "b slots l d"]:
        """The captions' zero-padded embeddings → width d."""
        return self.text_out(nn.gelu(self.text_in(text.astype(self.dtype)), approximate=True))

    def over_layers(self, body: LayerBody, carry: Any) -> Any:
        """Scans the layers: compile time does not grow with depth, and a carried cache is updated in place.

        remat: what of a layer is kept for the backward pass; "full" computes all of it again, "dots" keeps the
        outputs of its Linears.
        """
        if self.remat != "none":
            body = nn.remat(body, prevent_cse=False, policy=REMAT[self.remat])
        scan = nn.scan(
            body, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.cfg.layers
        )
        carry, _ = scan(self.blocks, carry, jnp.arange(self.cfg.layers))
        return carry

    @typechecked
    def velocity(
        self, x: Float[Array, "b f t d"], e: Float[Array, "b g d"], grid: tuple[int, int]
    ) -> Float[Array, "b f h w c"]:
        """The head: tokens → velocity in float32. A token is laid out (row, column, channel)."""
        b, f = x.shape[:2]
        (rows, columns), p = grid, self.cfg.patch
        shift, scale = (e[:, :, None] + self.head_table[i].reshape(1, 1, 1, -1) for i in range(2))
        tokens = self.head(modulate(self.head_norm(x), shift, scale, self.dtype)).astype(
            jnp.float32
        )
        tokens = tokens.reshape(b, f, rows, columns, p, p, self.cfg.channels).transpose(
            0, 1, 2, 4, 3, 5, 6
        )
        return tokens.reshape(b, f, rows * p, columns * p, self.cfg.channels)
