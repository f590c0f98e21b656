"""One transformer block, in two halves around self-attention.

    x += gate₁·SelfAttn(LN(x)·(1 + scale₁) + shift₁)       (1)
    x += CrossAttn(LN_affine(x))                           (2)
    x += gate₂·MLP(LN(x)·(1 + scale₂) + shift₂)            (3)

What the queries see differs between the teacher, the whole-sequence student and the cached student, so the caller
stands between `self_qkv` and `finish`. Activations are [b, f, t, d] (t tokens a frame): modulation and captions are
per frame, and only self-attention's keys and values are flattened into one sequence.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotstream_jax.core.sharding import constrain
from shotstream_jax.core.typing import Array, Float, Int, typechecked
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.nn.attention import attend, flat_tokens, join_heads, split_heads
from shotstream_jax.nn.layers import LayerNorm, Linear, RMSNorm
from shotstream_jax.nn.rope import rotate

TextKV = tuple[Float[Array, "b slots n l k"], Float[Array, "b slots n l k"]]


class Attention(nn.Module):
    """The projections of an attention; q and k are normed over the full width, before the split into heads."""

    cfg: DiTConfig
    dtype: jnp.dtype

    def setup(self) -> None:
        self.q, self.k, self.v, self.o = (Linear(self.cfg.dim, dtype=self.dtype) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(self.cfg.eps), RMSNorm(self.cfg.eps)

    def queries(self, x: Float[Array, "b f t d"]) -> Float[Array, "b n f t k"]:
        return split_heads(self.norm_q(self.q(x)), self.cfg.heads)

    def keys_values(
        self, x: Float[Array, "b f t d"]
    ) -> tuple[Float[Array, "b n f t k"], Float[Array, "b n f t k"]]:
        return split_heads(self.norm_k(self.k(x)), self.cfg.heads), split_heads(
            self.v(x), self.cfg.heads
        )

    def out(self, attended: Float[Array, "b n f t k"]) -> Float[Array, "b f t d"]:
        return self.o(join_heads(attended))


class Block(nn.Module):
    cfg: DiTConfig
    dtype: jnp.dtype

    def setup(self) -> None:
        cfg = self.cfg
        self.table = self.param("table", nn.initializers.normal(cfg.dim**-0.5), (6, cfg.dim))
        self.self_attn, self.cross_attn = Attention(cfg, self.dtype), Attention(cfg, self.dtype)
        self.norm_self, self.norm_ffn = LayerNorm(cfg.eps), LayerNorm(cfg.eps)
        self.norm_cross = LayerNorm(cfg.eps, affine=True)
        self.ffn_in, self.ffn_out = (
            Linear(cfg.ffn_dim, dtype=self.dtype),
            Linear(cfg.dim, dtype=self.dtype),
        )

    @typechecked
    def self_qkv(
        self,
        x: Float[Array, "b f t d"],
        e0: Float[Array, "b g six d"],
        rotation: Float[Array, "2 b f t half"],
    ) -> tuple[Float[Array, "b n f t k"], Float[Array, "b n s k"], Float[Array, "b n s k"]]:
        """Queries by frame; keys and values of all frames as one sequence of s = f·t tokens. q and k are rotated."""
        shift, scale, _ = self._modulation(e0, 0)
        h = modulate(self.norm_self(x), shift, scale, self.dtype)
        k, v = self.self_attn.keys_values(h)
        q = constrain(rotate(self.self_attn.queries(h), rotation), "b n f t k")
        return q, flat_tokens(rotate(k, rotation)), flat_tokens(v)

    @typechecked
    def finish(
        self,
        x: Float[Array, "b f t d"],
        attended: Float[Array, "b n f t k"],
        e0: Float[Array, "b g six d"],
        text: TextKV,
        caption: Int[Array, "b f"],
    ) -> Float[Array, "b f t d"]:
        """The rest of the block: eq. (1) from the attention's output on, then eqs. (2, 3)."""
        _, _, gate = self._modulation(e0, 0)
        x = x + (gate * self.self_attn.out(constrain(attended, "b n f t k"))).astype(x.dtype)
        x = x + self._cross(self.norm_cross(x), text, caption)
        shift, scale, gate = self._modulation(e0, 3)
        hidden = constrain(
            self.ffn_in(modulate(self.norm_ffn(x), shift, scale, self.dtype)), "b f t m"
        )
        h = self.ffn_out(nn.gelu(hidden, approximate=True))
        return constrain(x + (gate * h).astype(x.dtype), "b f t d")

    @typechecked
    def text_kv(self, text: Float[Array, "b slots l d"]) -> TextKV:
        """Keys and values of every caption."""
        return tuple(
            constrain(jnp.moveaxis(a, 1, 2), "b _ n l k") for a in self.cross_attn.keys_values(text)
        )

    def _cross(self, x: Array, text: TextKV, caption: Array) -> Array:
        """Each frame's tokens attend to the caption in the frame's slot, padding rows included (no mask)."""
        q = constrain(self.cross_attn.queries(x), "b n f t k")
        if text[0].shape[1] == 1:
            return self.cross_attn.out(attend(q, *(a[:, 0] for a in text)))
        # A choice as a matmul: the transpose of a gather is a scatter, which is slow everywhere.
        chosen = jax.nn.one_hot(caption, text[0].shape[1], dtype=q.dtype)
        k, v = (jnp.einsum("bfs,bsnlk->bfnlk", chosen, a, precision="highest") for a in text)
        # A frame of a story is a row of its own.
        rows = lambda a: a.reshape(-1, *a.shape[2:])  # noqa: E731
        attended = attend(rows(q.swapaxes(1, 2))[:, :, None], rows(k), rows(v))[:, :, 0]
        return self.cross_attn.out(
            attended.reshape(*q.shape[:1], -1, *attended.shape[1:]).swapaxes(1, 2)
        )

    def _modulation(self, e0: Array, first: int) -> tuple[Array, Array, Array]:
        """Shift, scale and gate, [b, g, 1, d] each (g = f, or 1 where all frames share t)."""
        table = (e0 + self.table[None, None])[:, :, first : first + 3, None, :]
        return table[:, :, 0], table[:, :, 1], table[:, :, 2]


def modulate(x: Array, shift: Array, scale: Array, dtype: jnp.dtype) -> Array:
    """x·(1 + scale) + shift in float32, then the matmuls' type."""
    return (x * (1 + scale) + shift).astype(dtype)
