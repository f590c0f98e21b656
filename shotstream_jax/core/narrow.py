"""Numbers rounded to 8 bits: x along an axis as

    n·s,  s = max|x| / top,  n = x/s rounded to 8 bits                                           (1)

where top is 127 or 448, the largest number of the type that is used (int8's −128 is not). So the
largest |x| is a number of the type itself, whatever the last bit of the division.
"""

from typing import NamedTuple

import jax.numpy as jnp

from shotstream_jax.core.typing import Array, DType

NARROW_TYPES = {"int8": jnp.int8, "fp8": jnp.float8_e4m3fn}


class Narrow(NamedTuple):
    """Eq. (1): n in 8 bits, and s in float32, whose length along the axis is 1."""

    numbers: Array
    scale: Array


def narrow(x: Array, dtype: DType, axis: int = -1) -> Narrow:
    """Eq. (1)."""
    # In float32: bfloat16 has no 127 steps to round to.
    wide = x.astype(jnp.float32)
    largest = jnp.max(jnp.abs(wide), axis=axis, keepdims=True)
    # Zeros stay zeros.
    scale = jnp.where(largest == 0, 1.0, largest / top(dtype))
    return narrow_by(wide, scale, dtype)


def narrow_by(x: Array, scale: Array, dtype: DType) -> Narrow:
    """Eq. (1) with an s that is known beforehand; what lies beyond s·top is cut off."""
    numbers = jnp.clip(x.astype(jnp.float32) / scale, -top(dtype), top(dtype))
    if jnp.issubdtype(dtype, jnp.integer):
        numbers = jnp.round(numbers)
    return Narrow(numbers.astype(dtype), scale)


def top(dtype: DType) -> float:
    """The largest number of an 8-bit type."""
    is_whole = jnp.issubdtype(dtype, jnp.integer)
    return float(jnp.iinfo(dtype).max if is_whole else jnp.finfo(dtype).max)


def widen(kept: Narrow, dtype: DType) -> Array:
    """n·s of eq. (1), in another type."""
    return (kept.numbers.astype(jnp.float32) * kept.scale).astype(dtype)
