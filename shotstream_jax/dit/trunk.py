"""What teacher and student share (docs/method.md, section 1).

The way of a pass:

    latents [b, f, h, w, c]   → embed_latents → tokens [b, f, t, d], t = (h/patch)·(w/patch)
    times [b, g]              → embed_time    → e [b, g, d] (head), e0 [b, g, 6, d] (blocks)
    captions [b, slots, l, e] → embed_text    → [b, slots, l, d]
    numbers of frames, shots  → rotations_of  → cos and sin [2, b, f, t, k/2]
    tokens                    → over_layers   → tokens [b, f, t, d]
    tokens                    → velocity      → [b, f, h, w, c]

g is the number of times: f, or 1 where all frames share one.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotstream_jax.core.sharding import constrain
from shotstream_jax.core.typing import Array, DType, Float, Int, typechecked
from shotstream_jax.dit.block import Block, modulate
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.nn.kernels import is_attended
from shotstream_jax.nn.layers import TEXT_AND_TIME_INIT, LayerNorm, Linear, time_sinusoid
from shotstream_jax.nn.rope import rotations

_policies = jax.checkpoint_policies
# What a layer keeps for its backward pass, by the name of Trunk.remat (besides "none": everything).
REMAT = {
    "full": None,
    "attention": is_attended,
    "dots": _policies.save_from_both_policies(
        _policies.dots_with_no_batch_dims_saveable,
        is_attended,
    ),
}

# The collection of all layers' tokens, which a pass fills where its caller asks for it (nn/apply).
TOKENS = "tokens"

# (block, carry, layer number) → (carry, None); a body sees one layer's parameters.
LayerBody = Callable[[Block, Any, Array], tuple[Any, None]]


class Trunk(nn.Module):
    """The transformer without the attention's pattern.

    Attributes:
        cfg: sizes.
        dtype: type of the matmuls.
        remat: what of a layer is kept for the backward pass. "none" keeps everything, "full"
            computes all of it again, "attention" all but its attentions, "dots" all but those and
            its Linears.
    """

    cfg: DiTConfig
    dtype: DType = jnp.float32
    remat: str = "none"

    def setup(self) -> None:
        """Embeddings, the block that all layers share, and the head."""
        cfg = self.cfg
        self.patch_embedding = Linear(cfg.dim, dtype=self.dtype)
        self.text_in = _text_or_time_linear(cfg.dim, self.dtype)
        self.text_out = _text_or_time_linear(cfg.dim, self.dtype)
        # Time stays in float32: it scales every activation.
        self.time_in = _text_or_time_linear(cfg.dim, jnp.float32)
        self.time_out = _text_or_time_linear(cfg.dim, jnp.float32)
        self.time_projection = Linear(6 * cfg.dim, dtype=jnp.float32)
        # One block's definition; over_layers scans it over the layers' parameters.
        self.blocks = Block(cfg, self.dtype)
        # The head's shift and scale.
        self.head_table = self.param(
            "head_table",
            nn.initializers.normal(cfg.dim**-0.5),
            (2, cfg.dim),
        )
        self.head_norm = LayerNorm(cfg.eps)
        # Zero at first, so that a fresh model's velocity is 0.
        self.head = Linear(
            cfg.patch**2 * cfg.channels,
            dtype=self.dtype,
            kernel_init=nn.initializers.zeros,
        )

    @typechecked
    def embed_latents(self, x: Float[Array, "b f h w c"]) -> Float[Array, "b f t d"]:
        """Patches of one frame and patch×patch pixels → tokens, rows first.

        A strided convolution as one matmul.
        """
        b, f, h, w, c = x.shape
        patch = self.cfg.patch
        rows, columns = self.cfg.grid(h, w)
        # The pixels of a patch become neighbours: [b, f, rows, columns, patch, patch, c].
        patches = x.reshape(b, f, rows, patch, columns, patch, c)
        patches = patches.transpose(0, 1, 2, 4, 3, 5, 6)
        # One vector a patch, [b, f, t, patch·patch·c] → [b, f, t, d].
        flat = patches.reshape(b, f, rows * columns, patch * patch * c)
        tokens = self.patch_embedding(flat.astype(self.dtype))
        return constrain(tokens, "b f t d")

    @typechecked
    def embed_time(
        self, t: Float[Array, "b g"]
    ) -> tuple[Float[Array, "b g d"], Float[Array, "b g 6 d"]]:
        """(e, e0) for t in [0, 1000]; g = 1 where all frames share t.

        e goes to the head, e0 (shift, scale and gate, twice) to every block.
        """
        # [b, g] → [b, g, freq_dim] → [b, g, d].
        sinusoid = time_sinusoid(t, self.cfg.freq_dim)
        hidden = self.time_in(sinusoid)
        e = self.time_out(nn.silu(hidden))
        # Six vectors for the blocks, [b, g, 6·d] → [b, g, 6, d].
        e0 = self.time_projection(nn.silu(e))
        return e, e0.reshape(*t.shape, 6, self.cfg.dim)

    @typechecked
    def rotations_of(
        self,
        first: int | Int[Array, "b"],
        ids: FrameIds,
        grid: tuple[int, int],
    ) -> Float[Array, "2 b f t half"]:
        """cos and sin of the tokens of frames that follow each other in time.

        first: position of the first frame, for all stories or for each. grid: rows and columns of a
        frame's tokens.
        """
        frames = ids.phase.shape[1]
        # [b or 1, 1] + [1, f] → [b, f].
        position = jnp.reshape(first, (-1, 1)) + jnp.arange(frames)[None]
        position = jnp.broadcast_to(position, ids.phase.shape)
        return rotations(
            position,
            ids.phase,
            grid,
            self.cfg.head_dim,
            self.cfg.shot_phase,
        )

    @typechecked
    def embed_text(self, text: Float[Array, "b slots l e"]) -> Float[Array, "b slots l d"]:
        """The captions' zero-padded embeddings → width d."""
        hidden = self.text_in(text.astype(self.dtype))
        return self.text_out(nn.gelu(hidden, approximate=True))

    def over_layers(self, body: LayerBody, carry: Any) -> Any:
        """Scans the layers.

        Compile time does not grow with depth, and a carried cache is updated in place.
        """
        if self.remat != "none":
            body = nn.remat(body, prevent_cse=False, policy=REMAT[self.remat])

        # The layer's number is counted, not read from a list: so a GPU's compiler knows where in a
        # cache a layer lies, and can let attention read it there.
        def counted(block: Block, counting: tuple[Any, Array]) -> tuple[tuple[Any, Array], None]:
            """One layer, and the next one's number."""
            carry, index = counting
            carry, _ = body(block, carry, index)
            return (carry, index + 1), None

        # Parameters are stacked, layers first; every step of the scan sees one layer's.
        scan = nn.scan(
            counted,
            variable_axes={"params": 0, TOKENS: 0},
            split_rngs={"params": True},
            length=self.cfg.layers,
        )
        (carry, _), _ = scan(self.blocks, (carry, jnp.int32(0)))
        return carry

    @typechecked
    def velocity(
        self,
        x: Float[Array, "b f t d"],
        e: Float[Array, "b g d"],
        grid: tuple[int, int],
    ) -> Float[Array, "b f h w c"]:
        """The head: tokens → velocity in float32."""
        b, f = x.shape[:2]
        rows, columns = grid
        patch = self.cfg.patch
        channels = self.cfg.channels
        # The time's embedding shifts and scales all channels of a frame, [b, g, 1, d] each.
        shift = e[:, :, None] + self.head_table[0].reshape(1, 1, 1, -1)
        scale = e[:, :, None] + self.head_table[1].reshape(1, 1, 1, -1)
        h = modulate(
            self.head_norm(x),
            shift,
            scale,
            self.dtype,
        )
        patches = self.head(h).astype(jnp.float32)  # [b, f, t, patch·patch·c]
        # A token holds its patch as (row, column, channel); patches go back to their places in the
        # frame.
        patches = patches.reshape(b, f, rows, columns, patch, patch, channels)
        patches = patches.transpose(0, 1, 2, 4, 3, 5, 6)
        return patches.reshape(b, f, rows * patch, columns * patch, channels)


def tokens_after(collected: Any, layer: int) -> Float[Array, "b f t d"]:
    """The tokens after layer number `layer`, from 1. collected: what a pass put into TOKENS."""
    of_all_layers = collected["blocks"]["after"][0]  # [layers, b, f, t, d]
    return of_all_layers[layer - 1]


def _text_or_time_linear(width: int, dtype: DType) -> Linear:
    """A Linear that starts as the reference's of text and time do."""
    return Linear(width, dtype=dtype, kernel_init=TEXT_AND_TIME_INIT)
