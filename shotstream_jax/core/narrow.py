"""Numbers kept in 8 bits, and widened before anything is computed with them.

x along an axis is kept as

    n·s,  s = max|x| / top,  n = x/s rounded to 8 bits                                           (1)

where top is 127 or 448, the type's largest number.
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
    is_whole = jnp.issubdtype(dtype, jnp.integer)
    top = float(jnp.iinfo(dtype).max if is_whole else jnp.finfo(dtype).max)
    wide = x.astype(jnp.float32)
    largest = jnp.max(jnp.abs(wide), axis=axis, keepdims=True)
    # Zeros stay zeros.
    scale = jnp.where(largest == 0, 1.0, largest / top)
    numbers = jnp.clip(wide / scale, -top, top)
    if is_whole:
        numbers = jnp.round(numbers)
    return Narrow(numbers.astype(dtype), scale)


def widen(kept: Narrow, dtype: DType) -> Array:
    """n·s of eq. (1), in another type."""
    return (kept.numbers.astype(jnp.float32) * kept.scale).astype(dtype)
