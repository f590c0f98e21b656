"""Linear maps, norms and the sinusoid of time. Parameters are float32; `dtype` is the type of the matmuls."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotstream_jax.core.typing import AnyArray, Array, Float, typechecked
from shotstream_jax.nn import quantize

TEXT_AND_TIME_INIT = nn.initializers.normal(0.02)


class Linear(nn.Dense):
    """y = x·W + b with the project's default start: Xavier-uniform W, zero b (spec page 1).

    W may be one that nn/quantize has rounded to 8 bits; then the matmul is of 8 bits.
    """

    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    promote_dtype: Callable[..., Any] = quantize.promote_dtype
    dot_general: Callable[..., Any] = quantize.dot_general


class RMSNorm(nn.Module):
    """x / √(mean x² + eps) · gain over the last axis; statistics in float32."""

    eps: float = 1e-6

    @nn.compact
    def __call__(self, x: Array) -> Array:
        gain = self.param("scale", nn.initializers.ones, x.shape[-1:])
        wide = x.astype(jnp.float32)
        wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + self.eps)
        return (wide * _row(gain, wide)).astype(x.dtype)


class LayerNorm(nn.Module):
    """(x − mean)/√(variance + eps), statistics in float32; `affine` adds a gain and a bias."""

    eps: float = 1e-6
    affine: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        wide = x.astype(jnp.float32)
        wide = wide - jnp.mean(wide, -1, keepdims=True)
        wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + self.eps)
        if self.affine:
            gain = self.param("scale", nn.initializers.ones, x.shape[-1:])
            bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
            wide = wide * _row(gain, wide) + _row(bias, wide)
        return wide.astype(x.dtype)


@typechecked
def time_sinusoid(t: Float[AnyArray, "*dims"], width: int) -> Float[Array, "*dims width"]:
    """cos then sin of t·10000^(−i/(width/2)), i = 0 … width/2 − 1, for t in [0, 1000]."""
    # float32 carries the angle (at most 1000 rad) to 6e-5, below what the network resolves.
    frequency = 10000.0 ** (-jnp.arange(width // 2, dtype=jnp.float32) / (width // 2))
    angle = jnp.asarray(t, jnp.float32)[..., None] * _row(frequency, jnp.asarray(t)[..., None])
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], -1)


def _row(vector: Array, like: Array) -> Array:
    return vector.reshape((1,) * (like.ndim - 1) + (-1,))
