"""Layers of the causal autoencoder (docs/method.md, section 2).

Pixels and features are [b, p, y, x, c].

Time is causal, so a video can go through in pieces. What a layer must remember between pieces (the
last frames of its input) is its entry in the linen collection `stream`: a pytree that goes in with
a piece and comes out for the next. A missing entry means the start of a video: zeros. `first` marks
the piece that holds a video's first frame.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotstream_jax.core.devices import target_platform
from shotstream_jax.core.typing import Array, DType, PRNGKey
from shotstream_jax.nn.attention import attend
from shotstream_jax.nn.layers import on_last_axis

# A fresh autoencoder: residual branches add nothing, other maps keep their input's size, and a
# frame in time stands for its neighbours. So it is linear from pixels to pixels, and all that it
# has to learn is what they lack.
_INIT = nn.initializers.lecun_uniform()
_ZEROS = nn.initializers.zeros
_FEW_CHANNELS = 16  # up to so many the three frames of a 3×3×3 kernel are convolved at once


class LeftContext(nn.Module):
    """Prepends the last `frames` frames of the piece before; keeps those of this piece."""

    frames: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[b, p, y, x, c] → [b, frames + p, y, x, c]."""
        shape = (x.shape[0], self.frames, *x.shape[2:])
        past = self.variable(
            "stream",
            "past",
            jnp.zeros,
            shape,
            x.dtype,
        )
        whole = jnp.concatenate([past.value, x], axis=1)
        # The next piece's left context. Counted from the start, as −0 would take everything.
        past.value = whole[:, whole.shape[1] - self.frames :]
        return whole


class CausalConv(nn.Module):
    """3×3×3 convolution: space padded symmetrically, time on the left only."""

    features: int
    dtype: DType
    kernel_init: nn.initializers.Initializer = _INIT

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[b, p, y, x, c] → [b, p, y, x, features]."""
        kernel_shape = (3, 3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, kernel_shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        whole = LeftContext(2, name="time")(x.astype(self.dtype))  # [b, 2 + p, y, x, c]

        kernel = kernel.astype(self.dtype)
        if target_platform() == "gpu":
            y = _conv3d(whole, kernel)
        else:
            y = self._frame_by_frame(whole, kernel)
        return y + on_last_axis(bias, x).astype(self.dtype)

    def _frame_by_frame(self, whole: Array, kernel: Array) -> Array:
        """The same in 2-D convolutions: on a CPU these are several times as fast as a 3-D one."""
        # A frame's output is of itself and of the two before it: three views of `whole`, each [b,
        # p, y, x, c].
        count = whole.shape[1] - 2
        before_last = whole[:, :count]
        last = whole[:, 1 : 1 + count]
        current = whole[:, 2 : 2 + count]
        if whole.shape[-1] <= _FEW_CHANNELS:
            # Few channels: one convolution whose channels are those of all three frames.
            frames = jnp.concatenate([before_last, last, current], axis=-1)
            folded = jnp.moveaxis(kernel, 0, 2).reshape(3, 3, -1, self.features)
            return _conv2d(frames, folded, 1, "SAME")
        # Many: one convolution for each of the three frames, summed.
        y = _conv2d(before_last, kernel[0], 1, "SAME")
        y = y + _conv2d(last, kernel[1], 1, "SAME")
        return y + _conv2d(current, kernel[2], 1, "SAME")


class Conv2d(nn.Module):
    """3×3 convolution of every frame."""

    features: int
    dtype: DType
    stride: int = 1
    padding: str = "SAME"
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[b, p, y, x, c] → [b, p, y/stride, x/stride, features]."""
        kernel = self.param("kernel", _INIT, (3, 3, x.shape[-1], self.features))
        y = _conv2d(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            self.stride,
            self.padding,
        )
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return y + on_last_axis(bias, x).astype(self.dtype)


def _one_frame(tap: int) -> nn.initializers.Initializer:
    """Start of a 3×1×1 convolution: it copies frame `tap` of three, as often as channels allow."""

    def init(
        key: PRNGKey,
        shape: tuple[int, ...],
        dtype: DType = jnp.float32,
    ) -> Array:
        """Of shape [3, inputs, outputs], outputs a multiple of inputs."""
        _, inputs, outputs = shape
        copies = jnp.tile(jnp.eye(inputs, dtype=dtype), (1, outputs // inputs))
        return jnp.zeros(shape, dtype).at[tap].set(copies)

    return init


class TimeConv(nn.Module):
    """3×1×1 convolution over frames that already include their left context."""

    features: int
    dtype: DType
    kernel_init: nn.initializers.Initializer
    stride: int = 1

    @nn.compact
    def __call__(self, whole: Array) -> Array:
        """[b, 2 + p, y, x, c] → [b, p/stride, y, x, features]."""
        kernel_shape = (3, whole.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, kernel_shape)
        kernel = kernel.astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        bias = bias.astype(self.dtype)
        stop = whole.shape[1] - 2

        def tap(i: int) -> Array:
            """Frames i, i + stride, … times the kernel's slice i."""
            frames = whole[:, i : i + stop : self.stride]
            return frames.astype(self.dtype) @ kernel[i]

        return tap(0) + tap(1) + tap(2) + on_last_axis(bias, whole)


class Pointwise(nn.Dense):
    """1×1×1 convolution."""

    kernel_init: nn.initializers.Initializer = _INIT


class ChannelNorm(nn.Module):
    """x / max(‖x‖₂ over channels, 1e-12) · √channels · gain; no bias."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[…, c] → […, c]."""
        gain = self.param("scale", nn.initializers.ones, x.shape[-1:])
        wide = x.astype(jnp.float32)
        # The floor goes under the root, squared: √max(s, 1e-24) = max(√s, 1e-12), with a finite
        # gradient at 0.
        square = jnp.sum(wide * wide, -1, keepdims=True)
        square = jnp.maximum(square, 1e-24)
        normed = wide * jax.lax.rsqrt(square)
        scale = x.shape[-1] ** 0.5 * on_last_axis(gain, x)
        return (normed * scale).astype(x.dtype)


class Residual(nn.Module):
    """norm → SiLU → conv → norm → SiLU → conv, plus the input.

    Where widths differ, the input goes through a 1×1×1 convolution.
    """

    features: int
    dtype: DType

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[b, p, y, x, c] → [b, p, y, x, features]."""
        h = ChannelNorm(name="norm1")(x)
        h = nn.silu(h)
        h = CausalConv(self.features, self.dtype, name="conv1")(h)

        h = ChannelNorm(name="norm2")(h)
        h = nn.silu(h)
        # Zero at first: a fresh block is its shortcut.
        last = CausalConv(
            self.features,
            self.dtype,
            kernel_init=_ZEROS,
            name="conv2",
        )
        h = last(h)

        if x.shape[-1] != self.features:
            x = Pointwise(self.features, dtype=self.dtype, name="shortcut")(x)
        return x + h


class SpatialAttention(nn.Module):
    """Single-head self-attention over the pixels of each frame, added to the input."""

    dtype: DType

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[b, p, y, x, c] → the same."""
        b, p, rows, columns, c = x.shape
        # One projection makes queries, keys and values, [b, p, y, x, 3c].
        normed = ChannelNorm(name="norm")(x)
        qkv = Pointwise(3 * c, dtype=self.dtype, name="qkv")(normed)
        q, k, v = jnp.split(qkv, 3, axis=-1)

        # Every frame is a story of its own with one head: [b·p, 1, pixels, c].
        sequences = (b * p, 1, rows * columns, c)
        q = q.reshape(sequences)
        k = k.reshape(sequences)
        v = v.reshape(sequences)
        attended = attend(q[:, :, None], k, v).reshape(x.shape)

        # Zero at first, as a residual block's last convolution.
        project = Pointwise(
            c,
            dtype=self.dtype,
            kernel_init=_ZEROS,
            name="proj",
        )
        return x + project(attended)


class Middle(nn.Module):
    """Residual, attention, residual, at the lowest resolution."""

    dtype: DType

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[b, p, y, x, c] → the same."""
        x = Residual(x.shape[-1], self.dtype, name="block0")(x)
        x = SpatialAttention(self.dtype, name="attention")(x)
        return Residual(x.shape[-1], self.dtype, name="block1")(x)


class Downsample(nn.Module):
    """Space halves (one row below and one column to the right padded), then, if asked, time.

    The first frame of a video passes time untouched; each later piece is convolved together with
    the last frame of the piece before: frames 0 | 1 2 3 4 → 0 | (0 1 2) (2 3 4).
    """

    time: bool
    dtype: DType

    @nn.compact
    def __call__(self, x: Array, first: bool) -> Array:
        """[b, p, y, x, c] → [b, p or p/2, y/2, x/2, c]. A first piece is one frame."""
        # A stride of 2 takes rows 0–2, 2–4, …: the last window needs one more row and column.
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1), (0, 0)))
        space_conv = Conv2d(
            x.shape[-1],
            self.dtype,
            stride=2,
            padding="VALID",
            name="space_conv",
        )
        x = space_conv(x)
        if not self.time:
            return x
        # The first frame is remembered too, and its convolution is left unused: so all pieces have
        # the same parameters.
        whole = LeftContext(1, name="time")(x)
        time_conv = TimeConv(
            x.shape[-1],
            self.dtype,
            kernel_init=_one_frame(1),
            stride=2,
            name="time_conv",
        )
        convolved = time_conv(whole)
        if first:
            return x
        return convolved


class Upsample(nn.Module):
    """If asked, time doubles; then space doubles and the width halves.

    A video's first frame stays one.

    All frames after the first form a causal sequence of their own that starts with two zero frames.
    Of the doubled channels the first half is the earlier frame.
    """

    time: bool
    dtype: DType

    @nn.compact
    def __call__(self, x: Array, first: bool) -> Array:
        """[b, p, y, x, c] → [b, p or 2p (2p − 1 if first), 2y, 2x, c/2]."""
        if self.time:
            x = self._double_time(x, first)
        # Nearest-neighbour upsampling, rows then columns.
        x = jnp.repeat(x, 2, axis=2)
        x = jnp.repeat(x, 2, axis=3)
        return Conv2d(x.shape[-1] // 2, self.dtype, name="space_conv")(x)

    def _double_time(self, x: Array, first: bool) -> Array:
        single = 1 if first else 0  # frames that stay one
        head = x[:, :single]
        rest = x[:, single:]
        whole = LeftContext(2, name="time")(rest)
        channels = x.shape[-1]
        # Every frame becomes two, from itself and the two before it.
        time_conv = TimeConv(
            2 * channels,
            self.dtype,
            kernel_init=_one_frame(2),
            name="time_conv",
        )
        pairs = time_conv(whole)
        # Two frames lie in the channels of one: [b, p, y, x, 2, c] → [b, p, 2, y, x, c] → [b, 2p,
        # y, x, c].
        b, p, rows, columns, c = rest.shape
        pairs = pairs.reshape(b, p, rows, columns, 2, c)
        pairs = pairs.transpose(0, 1, 4, 2, 3, 5)
        pairs = pairs.reshape(b, 2 * p, rows, columns, c)
        return jnp.concatenate([head, pairs], axis=1)


def pixels_to_channels(x: Array, patch: int) -> Array:
    """[b, p, y, x, 3] → [b, p, y/patch, x/patch, 3·patch²]: pixels of a square side by side."""
    b, p, height, width, c = x.shape
    rows = height // patch
    columns = width // patch
    squares = x.reshape(b, p, rows, patch, columns, patch, c)
    squares = squares.transpose(0, 1, 2, 4, 3, 5, 6)
    return squares.reshape(b, p, rows, columns, patch * patch * c)


def channels_to_pixels(x: Array, patch: int) -> Array:
    """The inverse of pixels_to_channels."""
    b, p, rows, columns, channels = x.shape
    c = channels // patch**2
    squares = x.reshape(b, p, rows, columns, patch, patch, c)
    squares = squares.transpose(0, 1, 2, 4, 3, 5, 6)
    return squares.reshape(b, p, rows * patch, columns * patch, c)


def _conv3d(whole: Array, kernel: Array) -> Array:
    """[b, 2 + p, y, x, c] by [3, 3, 3, c, features] → [b, p, y, x, features]."""
    return jax.lax.conv_general_dilated(
        whole,
        kernel,
        window_strides=(1, 1, 1),
        padding=((0, 0), (1, 1), (1, 1)),
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )


def _conv2d(
    x: Array,
    kernel: Array,
    stride: int,
    padding: str,
) -> Array:
    """[b, p, y, x, c] by [3, 3, c, features], every frame on its own."""
    # Frames are a batch for the convolution: [b·p, y, x, c].
    b, p = x.shape[:2]
    y = jax.lax.conv_general_dilated(
        x.reshape(b * p, *x.shape[2:]),
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y.reshape(b, p, *y.shape[1:])
