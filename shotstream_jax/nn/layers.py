"""Linear maps, norms and the sinusoid of time.

Parameters are float32; `dtype` is the type of the matmuls.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotstream_jax.core.typing import AnyArray, Array, Float, typechecked
from shotstream_jax.nn import quantize
from shotstream_jax.nn.adapted import AdaptedKernel, adapters_product, kernel_product

TEXT_AND_TIME_INIT = nn.initializers.normal(0.02)


class Linear(nn.Dense):
    """y = x·W + b. A fresh W is Xavier-uniform, a fresh b zero (docs/method.md, section 1).

    W may be one that nn/quantize has rounded to 8 bits; then the matmul is of 8 bits. It may have
    low-rank adapters beside it (nn/adapted); then they are added.
    """

    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    promote_dtype: Callable[..., Any] = quantize.promote_dtype
    dot_general: Callable[..., Any] = quantize.dot_general

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """[..., in] → [..., out]."""
        kernel: Any = self.get_variable("params", "kernel")
        if not isinstance(kernel, quantize.QuantizedKernel | AdaptedKernel):
            return super().__call__(inputs)
        # These kernels have not the shape that flax would insist on.
        x = inputs.astype(self.dtype)
        own = kernel.kernel if isinstance(kernel, AdaptedKernel) else kernel
        y = kernel_product(x, own)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,))
            y = y + on_last_axis(bias, y).astype(self.dtype)
        if isinstance(kernel, AdaptedKernel):
            y = y + adapters_product(x, kernel)
        return y


class RMSNorm(nn.Module):
    """x / √(mean x² + eps) · gain over the last axis; statistics in float32."""

    eps: float = 1e-6

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., d] → [..., d], in x's type."""
        gain = self.param("scale", nn.initializers.ones, x.shape[-1:])
        wide = x.astype(jnp.float32)
        mean_square = jnp.mean(wide * wide, -1, keepdims=True)
        inverse = jax.lax.rsqrt(mean_square + self.eps)
        normed = wide * inverse
        scaled = normed * on_last_axis(gain, wide)
        return scaled.astype(x.dtype)


class LayerNorm(nn.Module):
    """(x − mean)/√(variance + eps) over the last axis; statistics in float32.

    affine: adds a gain and a bias.
    """

    eps: float = 1e-6
    affine: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., d] → [..., d], in x's type."""
        wide = x.astype(jnp.float32)
        mean = jnp.mean(wide, -1, keepdims=True)
        centred = wide - mean
        variance = jnp.mean(centred * centred, -1, keepdims=True)
        inverse = jax.lax.rsqrt(variance + self.eps)
        normed = centred * inverse
        if self.affine:
            gain = self.param("scale", nn.initializers.ones, x.shape[-1:])
            bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
            scaled = normed * on_last_axis(gain, wide)
            normed = scaled + on_last_axis(bias, wide)
        return normed.astype(x.dtype)


@typechecked
def time_sinusoid(t: Float[AnyArray, "*dims"], width: int) -> Float[Array, "*dims width"]:
    """cos then sin of t·10000^(−i/(width/2)), i = 0 … width/2 − 1, for t in [0, 1000]."""
    half = width // 2
    # float32 carries the angle (at most 1000 rad) to 6e-5, below what the network resolves.
    index = jnp.arange(half, dtype=jnp.float32)
    frequency = 10000.0 ** (-index / half)
    time = jnp.asarray(t, jnp.float32)[..., None]
    angle = time * on_last_axis(frequency, time)
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], -1)


def on_last_axis(vector: Array, like: Array) -> Array:
    """A vector [c] as [1, …, 1, c], of the rank of `like`."""
    ones = (1,) * (like.ndim - 1)
    return vector.reshape(*ones, -1)
