"""The UMT5 encoder (spec page 2): pre-norm, gated MLP, and in every layer its own table of relative positions.

x += attention(norm₁ x)                                    no softmax scale
x += fc2(fc1(y) · GELU_tanh(gate(y))), y = norm₂ x
bucket(r) = [16 if r > 0] + (|r| if |r| < 8, else min(15, 8 + ⌊8·ln(|r|/8)/ln 16⌋)), r = key − query    (1)

A fresh one starts with scores of variance 1, as T5 does: without a scale the queries must be small.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.typing import Array, Float, Int, typechecked
from shotstream_jax.nn.layers import RMSNorm


@dataclasses.dataclass(frozen=True)
class UMT5Config:
    vocab: int
    dim: int
    heads: int
    head_dim: int
    ffn_dim: int
    layers: int
    buckets: int = 32
    max_distance: int = 128
    eps: float = 1e-6


def relative_buckets(distance: np.ndarray, buckets: int, max_distance: int) -> np.ndarray:
    """Eq. (1) for any table size. Worked example, 32 buckets: r = −3 → 3, r = 3 → 19, r = 16 → 26, r ≥ 128 → 31."""
    half = buckets // 2
    exact = half // 2
    size = np.abs(distance)
    scaled = np.log(np.maximum(size, 1) / exact) / np.log(max_distance / exact) * (half - exact)
    # ln is inexact where |r| is a power of two times 8: the nudge keeps the floor on the exact value.
    far = np.minimum(half - 1, exact + np.floor(scaled + 1e-9).astype(np.int64))
    return np.where(distance > 0, half, 0) + np.where(size < exact, size, far)


class UMT5Block(nn.Module):
    cfg: UMT5Config
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, padding: Array) -> tuple[Array, None]:
        cfg = self.cfg
        start = lambda name: nn.initializers.variance_scaling(  # noqa: E731
            1 / cfg.head_dim if name == "q" else 1.0, "fan_in", "truncated_normal"
        )
        linear = lambda width, name: nn.Dense(  # noqa: E731
            width, use_bias=False, dtype=self.dtype, kernel_init=start(name), name=name
        )
        y = RMSNorm(cfg.eps, name="norm_attn")(x)
        b, t, _ = y.shape
        q, k, v = (
            linear(cfg.heads * cfg.head_dim, n)(y).reshape(b, t, cfg.heads, cfg.head_dim)
            for n in "qkv"
        )
        table = self.param(
            "positions", nn.initializers.normal(cfg.dim**-0.5), (cfg.buckets, cfg.heads)
        )
        bucket = relative_buckets(
            np.arange(t)[None, :] - np.arange(t)[:, None], cfg.buckets, cfg.max_distance
        )
        bias = jnp.moveaxis(table[bucket], -1, 0)[None].astype(jnp.float32)
        scores = jnp.einsum("btnk,bsnk->bnts", q, k, preferred_element_type=jnp.float32) + bias
        weights = jax.nn.softmax(scores + padding[:, None, None, :], axis=-1).astype(self.dtype)
        attended = jnp.einsum("bnts,bsnk->btnk", weights, v).reshape(b, t, -1)
        x = x + linear(cfg.dim, "o")(attended)
        y = RMSNorm(cfg.eps, name="norm_ffn")(x)
        y = linear(cfg.ffn_dim, "fc1")(y) * nn.gelu(
            linear(cfg.ffn_dim, "gate")(y), approximate=True
        )
        return x + linear(cfg.dim, "fc2")(y), None


class UMT5(nn.Module):
    cfg: UMT5Config
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    @typechecked
    def __call__(self, ids: Int[Array, "b l"], length: Int[Array, "b"]) -> Float[Array, "b l e"]:
        """Embeddings of token ids, float32. Rows from `length` on are padding: not attended to, zero in the result."""
        cfg = self.cfg
        table = self.param("embedding", nn.initializers.normal(1.0), (cfg.vocab, cfg.dim))
        valid = jnp.arange(ids.shape[1])[None] < length[:, None]
        padding = jnp.where(valid, 0.0, jnp.finfo(jnp.float32).min)
        scan = nn.scan(
            UMT5Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=cfg.layers,
        )
        x, _ = scan(cfg, self.dtype, name="blocks")(table[ids].astype(self.dtype), padding)
        x = RMSNorm(cfg.eps, name="norm_out")(x).astype(jnp.float32)
        return jnp.where(valid[:, :, None], x, 0.0)
