"""Augmentation of the probe's training pictures, so that it tolerates what a model does to them.

Each shot gets strengths of its own, about a fifth of the shots none at all: a shift by parts of a
pixel, frames that run into each other, blur, half the resolution, other brightness, contrast and
colours, coarse and fine noise. No model's output is used.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from shotstream_jax.core import rng
from shotstream_jax.core.typing import Array, Float, PRNGKey, typechecked

# The largest changes: the shift in pixels, the rest in units of half a pixel's range.
MAX_SHIFT = 1.5
MAX_COLOUR_CHANGE = 0.1
MAX_FINE_NOISE = 0.12
MAX_COARSE_NOISE = 0.1

# The side of a block of coarse noise, in pixels.
BLOCK = 4

# Pixels that are repeated around the picture before it is shifted: more than MAX_SHIFT.
_BORDER = 2


@typechecked
def augment(
    key: PRNGKey,
    pixels: Float[Array, "b p y x 3"],
    box: Float[Array, "b p n 4"],
) -> tuple[Float[Array, "b p y x 3"], Float[Array, "b p n 4"]]:
    """Degraded pixels in [−1, 1], and the boxes (shares of the picture), shifted with them.

    pixels: in [−1, 1], of even height and width. A box of zeros (nobody there) stays zero.
    """
    keys = jax.random.split(key, pixels.shape[0])
    return jax.vmap(_augment_shot)(keys, pixels, box)


def _augment_shot(
    key: PRNGKey,
    pixels: Array,
    box: Array,
) -> tuple[Array, Array]:
    """One shot: pixels [p, y, x, 3], box [p, n, 4].

    Other names of the random streams would be other draws, and another trained probe.
    """
    # Common to all changes; a fifth of the draws is negative, and those shots stay as they are.
    strength = jnp.maximum(_uniform(key, "much", -0.25, 1.0), 0.0)
    shift = strength * _uniform(key, "shift", -MAX_SHIFT, MAX_SHIFT, (2,))
    pixels = _shift_pixels(pixels, shift)
    box = _shift_boxes(box, shift, pixels.shape)
    # Frames run into each other, then rows and columns do.
    time_share = strength * _uniform(key, "time", 0.0, 0.33)
    pixels = _smooth(pixels, 0, time_share)
    blur_share = strength * _uniform(key, "blur", 0.0, 0.33)
    for axis in (1, 2):
        pixels = _smooth(pixels, axis, blur_share)
    pixels = _reduce_resolution(key, pixels, strength)
    pixels = _change_colours(key, pixels, strength)
    pixels = _add_noise(key, pixels, strength)
    return jnp.clip(pixels, -1.0, 1.0), box


def _uniform(
    key: PRNGKey,
    name: str,
    low: float,
    high: float,
    shape: Sequence[int] = (),
) -> Array:
    """Uniform draws of the stream `name`."""
    return jax.random.uniform(rng.stream(key, name), shape, jnp.float32, low, high)


def _shift_pixels(pixels: Array, shift: Array) -> Array:
    """Moves the picture by shift = (down, right) in pixels, with linear interpolation."""
    border = (_BORDER, _BORDER)
    padded = jnp.pad(pixels, ((0, 0), border, border, (0, 0)), mode="edge")
    moved = jax.image.scale_and_translate(
        padded,
        padded.shape,
        spatial_dims=(1, 2),
        scale=jnp.ones(2, pixels.dtype),
        translation=shift,
        method="linear",
        antialias=False,
    )
    return moved[:, _BORDER:-_BORDER, _BORDER:-_BORDER]


def _shift_boxes(
    box: Array,
    shift: Array,
    shape: tuple[int, ...],
) -> Array:
    """Moves the boxes of those who are there, as the pixels of this shape [p, y, x, 3] were."""
    _, rows, columns, _ = shape
    size = jnp.array([columns, rows], shift.dtype)
    right_down = shift[::-1] / size
    change = jnp.tile(right_down, 2)  # of left, top, right, bottom
    # A box of zeros is of somebody who is not there.
    is_there = jnp.any(box > 0, axis=-1, keepdims=True)
    return jnp.where(is_there, box + change[None, None], box)


def _reduce_resolution(
    key: PRNGKey,
    pixels: Array,
    strength: Array,
) -> Array:
    """Blends towards the picture at half its resolution; about every second shot stays as it is."""
    p, rows, columns, _ = pixels.shape
    # Means of 2×2 pixels, enlarged again and smoothed.
    blocks = pixels.reshape(p, rows // 2, 2, columns // 2, 2, 3)
    halved = blocks.mean(axis=(2, 4))
    enlarged = halved.repeat(2, axis=1).repeat(2, axis=2)
    smooth = enlarged
    for axis in (1, 2):
        smooth = _smooth(smooth, axis, 0.25)
    # Half of the draws are negative: no change.
    share = strength * jnp.maximum(_uniform(key, "half", -1.0, 1.0), 0.0)
    return pixels + share * (smooth - pixels)


def _change_colours(
    key: PRNGKey,
    pixels: Array,
    strength: Array,
) -> Array:
    """Contrast and brightness, of all colours alike and of each colour by itself."""
    limit = MAX_COLOUR_CHANGE
    gain_of_all = _uniform(key, "gain", -limit, limit)
    gain_of_each = _uniform(key, "gains", -limit, limit, (3,)) / 2
    offset_of_all = _uniform(key, "offset", -limit, limit)
    offset_of_each = _uniform(key, "offsets", -limit, limit, (3,)) / 2
    gain = 1 + strength * (gain_of_all + gain_of_each)
    offset = strength * (offset_of_all + offset_of_each)
    return pixels * gain[None, None, None] + offset[None, None, None]


def _add_noise(
    key: PRNGKey,
    pixels: Array,
    strength: Array,
) -> Array:
    """Noise of single pixels, and of blocks of BLOCK × BLOCK."""
    p, rows, columns, _ = pixels.shape
    fine = jax.random.normal(rng.stream(key, "fine"), pixels.shape)
    block_rows = -(-rows // BLOCK)
    block_columns = -(-columns // BLOCK)
    blocks = jax.random.normal(rng.stream(key, "coarse"), (p, block_rows, block_columns, 3))
    coarse = blocks.repeat(BLOCK, axis=1).repeat(BLOCK, axis=2)
    coarse = coarse[:, :rows, :columns]
    fine_share = _uniform(key, "fine much", 0.0, MAX_FINE_NOISE)
    coarse_share = _uniform(key, "coarse much", 0.0, MAX_COARSE_NOISE)
    return pixels + strength * (fine_share * fine + coarse_share * coarse)


def _smooth(
    x: Array,
    axis: int,
    share: Array | float,
) -> Array:
    """Mixes each entry along an axis with `share` of both its neighbours; the ends are repeated."""
    length = x.shape[axis]
    # [first, x …, last]: neighbours are slices that start one earlier and one later.
    first = jax.lax.slice_in_dim(x, 0, 1, axis=axis)
    last = jax.lax.slice_in_dim(x, length - 1, length, axis=axis)
    wide = jnp.concatenate([first, x, last], axis=axis)
    before = jax.lax.slice_in_dim(wide, 0, length, axis=axis)
    after = jax.lax.slice_in_dim(wide, 2, length + 2, axis=axis)
    return share * (before + after) + (1 - 2 * share) * x
