"""Layers of the causal autoencoder (spec page 2). Pixels and features are [b, p, y, x, c].

Time is causal, so a video can go through in pieces. What a layer must remember between pieces (the last frames of its
input) is its entry in the linen collection `stream`: a pytree that goes in with a piece and comes out for the next.
A missing entry means the start of a video: zeros. `first` marks the piece that holds a video's first frame.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotstream_jax.core.typing import Array
from shotstream_jax.nn.attention import attend

# What a fresh autoencoder begins as: residual branches add nothing, other maps keep their input's size, and a frame in
# time stands for its neighbours. So it is linear from pixels to pixels, and all that it has to learn is what they lack.
_INIT = nn.initializers.lecun_uniform()
_NOTHING = nn.initializers.zeros
_FEW = 16  # channels


class Remember(nn.Module):
    """Prepends the last `frames` frames of what came before, and keeps the last ones of this piece."""

    frames: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (x.shape[0], self.frames, *x.shape[2:])
        past = self.variable("stream", "past", jnp.zeros, shape, x.dtype)
        whole = jnp.concatenate([past.value, x], axis=1)
        past.value = whole[:, whole.shape[1] - self.frames :]
        return whole


class CausalConv(nn.Module):
    """3×3×3 convolution: space padded symmetrically, time on the left only."""

    features: int
    dtype: jnp.dtype
    kernel_init: nn.initializers.Initializer = _INIT

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", self.kernel_init, (3, 3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        whole = Remember(2, name="time")(x.astype(self.dtype))
        # On the CPU 2-D convolutions are several times as fast as a 3-D one: one for each of the three frames and
        # summed, or, where they have few channels, one whose channels are those of all three.
        frames, kernel = [whole[:, i : i + x.shape[1]] for i in range(3)], kernel.astype(self.dtype)
        if x.shape[-1] <= _FEW:
            folded = jnp.moveaxis(kernel, 0, 2).reshape(3, 3, -1, self.features)
            y = _conv2d(jnp.concatenate(frames, axis=-1), folded, 1, "SAME")
        else:
            y = sum(
                _conv2d(frame, tap, 1, "SAME") for frame, tap in zip(frames, kernel, strict=True)
            )
        return y + _row(bias, x).astype(self.dtype)


class Conv2d(nn.Module):
    """3×3 convolution of every frame."""

    features: int
    dtype: jnp.dtype
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", _INIT, (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = _conv2d(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.padding)
        return y + _row(bias, x).astype(self.dtype)


def _one_frame(tap: int) -> nn.initializers.Initializer:
    """Of a 3×1×1 convolution: its output is one of the three frames, as often as there is room for."""

    def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        _, inputs, outputs = shape
        return (
            jnp.zeros(shape, dtype)
            .at[tap]
            .set(jnp.tile(jnp.eye(inputs, dtype=dtype), (1, outputs // inputs)))
        )

    return init


class TimeConv(nn.Module):
    """3×1×1 convolution over frames that already include their left context."""

    features: int
    dtype: jnp.dtype
    kernel_init: nn.initializers.Initializer
    stride: int = 1

    @nn.compact
    def __call__(self, whole: Array) -> Array:
        kernel = self.param("kernel", self.kernel_init, (3, whole.shape[-1], self.features)).astype(
            self.dtype
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        stop = whole.shape[1] - 2
        taps = (
            whole[:, i : i + stop : self.stride].astype(self.dtype) @ kernel[i] for i in range(3)
        )
        return sum(taps) + _row(bias, whole)


class Pointwise(nn.Dense):
    """1×1×1 convolution."""

    kernel_init: nn.initializers.Initializer = _INIT


class Norm(nn.Module):
    """x / max(‖x‖₂ over channels, 1e-12) · √channels · gain; no bias."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        gain = self.param("scale", nn.initializers.ones, x.shape[-1:])
        wide = x.astype(jnp.float32)
        # The floor goes under the root, squared: √max(s, 1e-24) = max(√s, 1e-12), with a finite gradient at 0.
        square = jnp.maximum(jnp.sum(wide * wide, -1, keepdims=True), 1e-24)
        return (wide * jax.lax.rsqrt(square) * (x.shape[-1] ** 0.5 * _row(gain, x))).astype(x.dtype)


class Residual(nn.Module):
    """norm → SiLU → conv → norm → SiLU → conv, plus the input (1×1×1 convolved where widths differ)."""

    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        h = CausalConv(self.features, self.dtype, name="conv1")(nn.silu(Norm(name="norm1")(x)))
        h = CausalConv(self.features, self.dtype, _NOTHING, name="conv2")(
            nn.silu(Norm(name="norm2")(h))
        )
        if x.shape[-1] != self.features:
            x = Pointwise(self.features, dtype=self.dtype, name="shortcut")(x)
        return x + h


class SpatialAttention(nn.Module):
    """Single-head self-attention over the pixels of each frame, added to the input."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        b, p, y, w, c = x.shape
        qkv = Pointwise(3 * c, dtype=self.dtype, name="qkv")(Norm(name="norm")(x))
        q, k, v = (a.reshape(b * p, 1, y * w, c) for a in jnp.split(qkv, 3, axis=-1))
        return x + Pointwise(c, dtype=self.dtype, kernel_init=_NOTHING, name="proj")(
            attend(q[:, :, None], k, v).reshape(x.shape)
        )


class Middle(nn.Module):
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = Residual(x.shape[-1], self.dtype, name="block0")(x)
        x = SpatialAttention(self.dtype, name="attention")(x)
        return Residual(x.shape[-1], self.dtype, name="block1")(x)


class Downsample(nn.Module):
    """Space halves (one row below and one column to the right padded), then, if asked, time.

    The first frame of a video passes time untouched; each later piece is convolved together with the last frame of
    the piece before: frames 0 | 1 2 3 4 → 0 | (0 1 2) (2 3 4).
    """

    time: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, first: bool) -> Array:
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1), (0, 0)))
        x = Conv2d(x.shape[-1], self.dtype, stride=2, padding="VALID", name="space_conv")(x)
        if not self.time:
            return x
        whole = Remember(1, name="time")(x)
        convolved = TimeConv(x.shape[-1], self.dtype, _one_frame(1), stride=2, name="time_conv")(
            whole
        )
        return x if first else convolved


class Upsample(nn.Module):
    """If asked, time doubles (not for a video's first frame); then space doubles and the width halves.

    All frames after the first form a causal sequence of their own that starts with two zero frames. Of the doubled
    channels the first half is the earlier frame.
    """

    time: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, first: bool) -> Array:
        if self.time:
            head, rest = (x[:, :1], x[:, 1:]) if first else (x[:, :0], x)
            whole = Remember(2, name="time")(rest)
            pairs = TimeConv(2 * x.shape[-1], self.dtype, _one_frame(2), name="time_conv")(whole)
            b, p, y, w, c = rest.shape
            pairs = (
                pairs.reshape(b, p, y, w, 2, c)
                .transpose(0, 1, 4, 2, 3, 5)
                .reshape(b, 2 * p, y, w, c)
            )
            x = jnp.concatenate([head, pairs], axis=1)
        x = jnp.repeat(jnp.repeat(x, 2, axis=2), 2, axis=3)
        return Conv2d(x.shape[-1] // 2, self.dtype, name="space_conv")(x)


def _conv2d(x: Array, kernel: Array, stride: int, padding: str) -> Array:
    b, p = x.shape[:2]
    y = jax.lax.conv_general_dilated(
        x.reshape(b * p, *x.shape[2:]),
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y.reshape(b, p, *y.shape[1:])


def _row(vector: Array, like: Array) -> Array:
    return vector.reshape((1,) * (like.ndim - 1) + (-1,))
