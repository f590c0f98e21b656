"""The UMT5 encoder (docs/method.md, section 2).

Pre-norm, gated MLP, and in every layer its own table of relative positions:

    x += attention(norm₁ x)                                              no softmax scale
    x += fc2(fc1(y) · GELU_tanh(gate(y))), y = norm₂ x

A key at distance r = key − query has the bias of its bucket, for a table of 32:

    bucket(r) = [16 if r > 0] + near(r) if |r| < 8, else far(r)          (1)
    near(r) = |r|
    far(r) = min(15, 8 + ⌊8·ln(|r|/8)/ln 16⌋)

A fresh one starts with scores of variance 1, as T5 does: without a scale the queries must be small.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen import dtypes

from shotstream_jax.core.narrow import Narrow, widen
from shotstream_jax.core.typing import Array, DType, Float, Int, typechecked
from shotstream_jax.nn.layers import RMSNorm


@dataclasses.dataclass(frozen=True)
class UMT5Config:
    """Sizes of the text encoder.

    Attributes:
        vocab: number of token ids.
        dim: width e of an embedding.
        heads, head_dim: attention heads and the width of each.
        ffn_dim: hidden width of the MLP.
        layers: number of blocks.
        buckets: entries of a table of relative positions, half of them for keys after the query.
        max_distance: from this distance on all keys share the last bucket.
        eps: of all norms.
    """

    vocab: int
    dim: int
    heads: int
    head_dim: int
    ffn_dim: int
    layers: int
    buckets: int = 32
    max_distance: int = 128
    eps: float = 1e-6


def relative_buckets(
    distance: np.ndarray,
    buckets: int,
    max_distance: int,
) -> np.ndarray:
    """Eq. (1) for any table size.

    Worked example, 32 buckets: r = −3 → 3, r = 3 → 19, r = 16 → 26, r ≥ 128 → 31.
    """
    half = buckets // 2
    exact = half // 2  # buckets that stand for one distance each
    size = np.abs(distance)
    # The others grow geometrically: how far each distance is between `exact` and `max_distance`, 0
    # to 1.
    growth = np.log(np.maximum(size, 1) / exact) / np.log(max_distance / exact)
    scaled = growth * (half - exact)
    # ln is inexact where |r| is a power of two times 8: the nudge keeps the floor on the exact
    # value.
    far = exact + np.floor(scaled + 1e-9).astype(np.int64)
    far = np.minimum(half - 1, far)
    bucket = np.where(size < exact, size, far)
    # Keys after the query have the upper half of the table.
    return np.where(distance > 0, half, 0) + bucket


def _widened(*arrays: Any, dtype: Any) -> list[Any]:
    """flax's promotion to the compute type, for kernels that may be in 8 bits (text/narrow)."""
    wide = [widen(a, dtype) if isinstance(a, Narrow) else a for a in arrays]
    return dtypes.promote_dtype(*wide, dtype=dtype)


class _TextLinear(nn.Dense):
    """y = x·W; W may be in 8 bits."""

    promote_dtype: Callable[..., Any] = _widened


class UMT5Block(nn.Module):
    """One layer: self-attention with relative positions, then the gated MLP."""

    cfg: UMT5Config
    dtype: DType

    @nn.compact
    def __call__(self, x: Array, padding: Array) -> tuple[Array, None]:
        """x [b, l, e] → the same. padding [b, l]: 0, or as good as −∞ for a key that is padding."""
        cfg = self.cfg
        normed = RMSNorm(cfg.eps, name="norm_attn")(x)
        x = x + self._attention(normed, padding)
        y = RMSNorm(cfg.eps, name="norm_ffn")(x)
        # Gated MLP, [b, l, e] → [b, l, ffn] → [b, l, e].
        value = self._linear(cfg.ffn_dim, "fc1")(y)
        gate = self._linear(cfg.ffn_dim, "gate")(y)
        hidden = value * nn.gelu(gate, approximate=True)
        x = x + self._linear(cfg.dim, "fc2")(hidden)
        return x, None

    def _attention(self, y: Array, padding: Array) -> Array:
        cfg = self.cfg
        b, length, _ = y.shape
        # Queries, keys and values in heads, [b, l, n, k].
        in_heads = (b, length, cfg.heads, cfg.head_dim)
        width = cfg.heads * cfg.head_dim
        q = self._linear(width, "q")(y).reshape(in_heads)
        k = self._linear(width, "k")(y).reshape(in_heads)
        v = self._linear(width, "v")(y).reshape(in_heads)
        # Scores in float32, with a bias for every distance and head: [b, n, query, key].
        scores = jnp.einsum(
            "btnk,bsnk->bnts",
            q,
            k,
            preferred_element_type=jnp.float32,
        )
        scores = scores + self._position_bias(length)
        scores = scores + padding[:, None, None, :]
        # Weights of the keys, then the values' means: [b, query, n, k].
        weights = jax.nn.softmax(scores, axis=-1).astype(self.dtype)
        attended = jnp.einsum("bnts,bsnk->btnk", weights, v)
        return self._linear(cfg.dim, "o")(attended.reshape(b, length, -1))

    def _position_bias(self, length: int) -> Array:
        """This layer's table read at every distance, float32 [1, n, query, key]."""
        cfg = self.cfg
        table = self.param(
            "positions",
            nn.initializers.normal(cfg.dim**-0.5),
            (cfg.buckets, cfg.heads),
        )
        token = np.arange(length)
        distance = token[None, :] - token[:, None]  # key − query
        bucket = relative_buckets(distance, cfg.buckets, cfg.max_distance)
        # The bucket of a distance is a row of the table: [query, key, n] → [n, query, key].
        by_head = jnp.moveaxis(table[bucket], -1, 0)
        return by_head[None].astype(jnp.float32)

    def _linear(self, width: int, name: str) -> nn.Dense:
        # Small queries stand in for the softmax scale.
        variance = 1 / self.cfg.head_dim if name == "q" else 1.0
        return _TextLinear(
            width,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=nn.initializers.variance_scaling(variance, "fan_in", "truncated_normal"),
            name=name,
        )


class UMT5(nn.Module):
    """The text encoder: token ids → an embedding a token."""

    cfg: UMT5Config
    dtype: DType = jnp.float32

    @nn.compact
    @typechecked
    def __call__(self, ids: Int[Array, "b l"], length: Int[Array, "b"]) -> Float[Array, "b l e"]:
        """Embeddings of token ids, float32.

        Rows from `length` on are padding: not attended to, zero in the result.
        """
        cfg = self.cfg
        table = self.param("embedding", nn.initializers.normal(1.0), (cfg.vocab, cfg.dim))
        padding = padding_scores(ids.shape[1], length)
        # All layers have one program; their parameters are stacked, layers first.
        scan = nn.scan(
            UMT5Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=cfg.layers,
        )
        blocks = scan(cfg, self.dtype, name="blocks")
        x = look_up(table, ids, self.dtype)  # [b, l, e]
        x, _ = blocks(x, padding)
        return without_padding(RMSNorm(cfg.eps, name="norm_out")(x), length)


def look_up(table: Any, ids: Any, dtype: DType) -> Any:
    """Rows of the table of embeddings, which may be in 8 bits, or in the host's memory."""
    if isinstance(table, Narrow):
        return widen(Narrow(table.numbers[ids], table.scale[ids]), dtype)
    return table[ids].astype(dtype)


def padding_scores(rows: int, length: Int[Array, "b"]) -> Float[Array, "b l"]:
    """What is added to the keys' scores: for padding the lowest number there is, else 0."""
    valid = jnp.arange(rows)[None] < length[:, None]
    return jnp.where(valid, 0.0, jnp.finfo(jnp.float32).min)


def without_padding(x: Float[Array, "b l e"], length: Int[Array, "b"]) -> Float[Array, "b l e"]:
    """Embeddings in float32, with zeros for padding: the transformer attends to it."""
    valid = jnp.arange(x.shape[1])[None] < length[:, None]
    return jnp.where(valid[:, :, None], x.astype(jnp.float32), 0.0)
