"""3-D rotary positions with a discontinuity between shots (spec page 1).

The k/2 adjacent pairs of a head of width k are split over time, row and column:

    pairs = (c − 2⌊c/3⌋, ⌊c/3⌋, ⌊c/3⌋), c = k/2                              (1)
    frequency_j = 10000^(−2j/m), m the real width of the part               (2)
    angle(time)   = position·frequency + shot·θ                             (3)
    angle(row) = row·frequency, angle(column) = column·frequency            (4)

θ = 1/6 is the same for all temporal frequencies: two frames at neighbouring positions but in different shots are a
constant phase apart, and that is what tells the global cache from the local one.
"""

import functools

import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.typing import AnyArray, Array, Float, Int, typechecked

SHOT_PHASE = 1 / 6


@functools.cache
def frequencies(head_dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eqs. (1, 2): float64 frequencies of the time, row and column pairs. Worked example: k = 128 → 22, 21, 21."""
    space = head_dim // 2 // 3
    parts = (head_dim // 2 - 2 * space, space, space)
    return tuple(10000.0 ** (-np.arange(n) / n) if n else np.zeros(0) for n in parts)


@typechecked
def rotations(
    position: Int[AnyArray, "b f"],
    phase: Int[AnyArray, "b f"],
    grid: tuple[int, int],
    head_dim: int,
    shot_phase: float = SHOT_PHASE,
) -> Float[Array, "2 b f t half"]:
    """cos and sin of every token's angles, eqs. (3, 4), made once a pass for all layers.

    position: each frame's number, context first. phase: its shot's number. grid: rows and columns of tokens.
    shot_phase: θ in radians.
    The angle stays below 6e-5 of its float64 value up to position 1000, far beyond a shot.
    """
    time, row, column = (
        jnp.asarray(part, jnp.float32)[None, None, :] for part in frequencies(head_dim)
    )
    rows, columns = grid
    temporal = (
        jnp.asarray(position)[..., None] * time
        + jnp.asarray(phase, jnp.float32)[..., None] * shot_phase
    )
    b, f = temporal.shape[:2]
    shape = (b, f, rows, columns, -1)
    angle = jnp.concatenate(
        [
            jnp.broadcast_to(temporal[:, :, None, None, :], (*shape[:4], time.shape[-1])),
            jnp.broadcast_to(
                (jnp.arange(rows)[:, None, None] * row)[None, None], (*shape[:4], row.shape[-1])
            ),
            jnp.broadcast_to(
                (jnp.arange(columns)[None, :, None] * column)[None, None],
                (*shape[:4], column.shape[-1]),
            ),
        ],
        axis=-1,
    ).reshape(b, f, rows * columns, head_dim // 2)
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


@typechecked
def rotate(
    x: Float[Array, "b n f t k"], rotation: Float[Array, "2 b f t half"]
) -> Float[Array, "b n f t k"]:
    """Turns the adjacent pairs (2i, 2i+1) of every head by the token's angle i, in float32."""
    cos, sin = rotation[0][:, None], rotation[1][:, None]
    pairs = x.astype(jnp.float32).reshape(*x.shape[:-1], -1, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    turned = jnp.stack([even * cos - odd * sin, even * sin + odd * cos], -1)
    return turned.reshape(x.shape).astype(x.dtype)
