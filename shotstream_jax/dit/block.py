"""One transformer block, in two halves around self-attention.

    x += gate₁·SelfAttn(LN(x)·(1 + scale₁) + shift₁)       (1)
    x += CrossAttn(LN_affine(x))                           (2)
    x += gate₂·MLP(LN(x)·(1 + scale₂) + shift₂)            (3)

What the queries see differs between the teacher, the whole-sequence student and the cached student,
so the caller stands between `self_qkv` and `finish`. Activations are [b, f, t, d] (t tokens a
frame): modulation and captions are per frame, and only self-attention's keys and values are
flattened into one sequence.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotstream_jax.core.sharding import constrain
from shotstream_jax.core.typing import Array, DType, Float, Int, typechecked
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.nn.attention import attend, flat_tokens, join_heads, split_heads
from shotstream_jax.nn.layers import LayerNorm, Linear, RMSNorm
from shotstream_jax.nn.rope import rotate

TextKV = tuple[Float[Array, "b slots n l k"], Float[Array, "b slots n l k"]]


class Attention(nn.Module):
    """The projections of an attention.

    Queries and keys are normed over the full width, before the split into heads.
    """

    cfg: DiTConfig
    dtype: DType

    def setup(self) -> None:
        """Four projections, and norms of queries and keys."""
        dim = self.cfg.dim
        self.q = Linear(dim, dtype=self.dtype)
        self.k = Linear(dim, dtype=self.dtype)
        self.v = Linear(dim, dtype=self.dtype)
        self.o = Linear(dim, dtype=self.dtype)
        self.norm_q = RMSNorm(self.cfg.eps)
        self.norm_k = RMSNorm(self.cfg.eps)

    def queries(self, x: Float[Array, "b f t d"]) -> Float[Array, "b n f t k"]:
        """Normed queries in heads."""
        q = self.norm_q(self.q(x))
        return split_heads(q, self.cfg.heads)

    def keys_values(
        self, x: Float[Array, "b f t d"]
    ) -> tuple[Float[Array, "b n f t k"], Float[Array, "b n f t k"]]:
        """Normed keys, and values, in heads."""
        k = self.norm_k(self.k(x))
        k = split_heads(k, self.cfg.heads)
        v = split_heads(self.v(x), self.cfg.heads)
        return k, v

    def out(self, attended: Float[Array, "b n f t k"]) -> Float[Array, "b f t d"]:
        """The attention's output, heads joined and projected."""
        return self.o(join_heads(attended))


class Block(nn.Module):
    """One layer of the transformer, eqs. (1–3): call `self_qkv`, attend, then `finish`."""

    cfg: DiTConfig
    dtype: DType

    def setup(self) -> None:
        """Self-attention, cross-attention and MLP, with their norms and modulation."""
        cfg = self.cfg
        # Shift, scale and gate of eq. (1), then of eq. (3): what is learned of them besides the
        # time's.
        self.table = self.param(
            "table",
            nn.initializers.normal(cfg.dim**-0.5),
            (6, cfg.dim),
        )
        self.self_attn = Attention(cfg, self.dtype)
        self.cross_attn = Attention(cfg, self.dtype)
        self.norm_self = LayerNorm(cfg.eps)
        self.norm_ffn = LayerNorm(cfg.eps)
        self.norm_cross = LayerNorm(cfg.eps, affine=True)
        self.ffn_in = Linear(cfg.ffn_dim, dtype=self.dtype)
        self.ffn_out = Linear(cfg.dim, dtype=self.dtype)

    @typechecked
    def self_qkv(
        self,
        x: Float[Array, "b f t d"],
        e0: Float[Array, "b g six d"],
        rotation: Float[Array, "2 b f t half"],
    ) -> tuple[Float[Array, "b n f t k"], Float[Array, "b n s k"], Float[Array, "b n s k"]]:
        """Queries by frame; keys and values of all frames as one sequence of s = f·t tokens.

        Queries and keys are rotated.

        Args:
            x: the layer's input.
            e0: the time's shifts, scales and gates (Trunk.embed_time).
            rotation: the tokens' angles (nn/rope).
        """
        shift, scale, _ = self._modulation(e0, 0)
        h = modulate(
            self.norm_self(x),
            shift,
            scale,
            self.dtype,
        )
        k, v = self.self_attn.keys_values(h)
        q = constrain(rotate(self.self_attn.queries(h), rotation), "b n f t k")
        k = flat_tokens(rotate(k, rotation))
        return q, k, flat_tokens(v)

    @typechecked
    def finish(
        self,
        x: Float[Array, "b f t d"],
        attended: Float[Array, "b n f t k"],
        e0: Float[Array, "b g six d"],
        text: TextKV,
        caption: Int[Array, "b f"],
    ) -> Float[Array, "b f t d"]:
        """The rest of the block: eq. (1) from the attention's output on, then eqs. (2, 3).

        Args:
            x: the layer's input, as self_qkv had it.
            attended: what the queries saw.
            e0: the time's shifts, scales and gates.
            text: keys and values of every caption (text_kv).
            caption: which of them each frame reads.
        """
        # Eq. (1): the gated output of self-attention.
        _, _, gate = self._modulation(e0, 0)
        attended = constrain(attended, "b n f t k")
        x = x + (gate * self.self_attn.out(attended)).astype(x.dtype)
        # Eq. (2): what the captions say.
        x = x + self._cross_attend(self.norm_cross(x), text, caption)
        # Eq. (3): the gated MLP, token by token.
        shift, scale, gate = self._modulation(e0, 3)
        hidden = self.ffn_in(
            modulate(
                self.norm_ffn(x),
                shift,
                scale,
                self.dtype,
            )
        )
        hidden = constrain(hidden, "b f t m")
        h = self.ffn_out(nn.gelu(hidden, approximate=True))
        return constrain(x + (gate * h).astype(x.dtype), "b f t d")

    @typechecked
    def text_kv(self, text: Float[Array, "b slots l d"]) -> TextKV:
        """Keys and values of every caption."""
        # A slot of text stands where `keys_values` has a frame: [b, n, slots, l, k] → [b, slots, n,
        # l, k].
        k, v = self.cross_attn.keys_values(text)
        k = constrain(jnp.moveaxis(k, 1, 2), "b _ n l k")
        v = constrain(jnp.moveaxis(v, 1, 2), "b _ n l k")
        return k, v

    def _cross_attend(
        self,
        x: Array,
        text: TextKV,
        caption: Array,
    ) -> Array:
        """Each frame's tokens attend to the caption in the frame's slot, without a mask."""
        keys, values = text
        q = constrain(self.cross_attn.queries(x), "b n f t k")
        slots = keys.shape[1]
        if slots == 1:  # one caption for all frames: no choice to make
            return self.cross_attn.out(attend(q, keys[:, 0], values[:, 0]))

        # Each frame's own caption, [b, f, n, l, k]. A choice as a matmul, exact, since every row of
        # `chosen` has a single 1: the transpose of a gather would be a scatter, which is slow
        # everywhere.
        chosen = jax.nn.one_hot(caption, slots, dtype=q.dtype)  # [b, f, slots]
        choose = "bfs,bsnlk->bfnlk"
        keys = jnp.einsum(
            choose,
            chosen,
            keys,
            precision="highest",
        )
        values = jnp.einsum(
            choose,
            chosen,
            values,
            precision="highest",
        )

        # Frames read different captions, so every frame of every story becomes a story of one
        # frame.
        rows = _frames_as_stories(q.swapaxes(1, 2))[:, :, None]  # [b·f, n, 1, t, k]
        attended = attend(rows, _frames_as_stories(keys), _frames_as_stories(values))
        # And back: [b·f, n, t, k] → [b, f, n, t, k] → [b, n, f, t, k].
        attended = attended[:, :, 0]
        attended = attended.reshape(*q.shape[:1], -1, *attended.shape[1:])
        return self.cross_attn.out(attended.swapaxes(1, 2))

    def _modulation(self, e0: Array, first: int) -> tuple[Array, Array, Array]:
        """Shift, scale and gate, [b, g, 1, d] each (g = f, or 1 where all frames share t).

        first: 0 for eq. (1), 3 for eq. (3).
        """
        six = e0 + self.table[None, None]  # [b, g, 6, d]
        three = six[:, :, first : first + 3, None, :]  # [b, g, 3, 1, d]
        return three[:, :, 0], three[:, :, 1], three[:, :, 2]


def _frames_as_stories(a: Array) -> Array:
    """[b, f, …] → [b·f, …]."""
    return a.reshape(-1, *a.shape[2:])


def modulate(
    x: Array,
    shift: Array,
    scale: Array,
    dtype: DType,
) -> Array:
    """x·(1 + scale) + shift in float32, then the matmuls' type."""
    return (x * (1 + scale) + shift).astype(dtype)
