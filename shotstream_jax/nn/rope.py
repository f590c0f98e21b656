"""3-D rotary positions with a discontinuity between shots (docs/method.md, section 1).

The k/2 adjacent pairs of a head of width k are split over time, row and column:

    pairs = (c − 2⌊c/3⌋, ⌊c/3⌋, ⌊c/3⌋), c = k/2                              (1)
    frequency_j = 10000^(−j/m), j = 0 … m − 1, m the pairs of the part      (2)
    angle(time)   = position·frequency + shot·θ                             (3)
    angle(row) = row·frequency, angle(column) = column·frequency            (4)

θ = 1/6 is the same for all temporal frequencies: two frames at neighbouring positions but in
different shots are a constant phase apart, and that is what tells the global cache from the local
one.
"""

import functools

import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.typing import AnyArray, Array, Float, Int, typechecked

SHOT_PHASE = 1 / 6
_BASE = 10000.0  # of the geometric series of frequencies


@functools.cache
def frequencies(head_dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eqs. (1, 2): float64 frequencies of the time, row and column pairs.

    Worked example: k = 128 → 22, 21, 21.
    """
    pairs = head_dim // 2
    space = pairs // 3
    time = pairs - 2 * space
    return _part_frequencies(time), _part_frequencies(space), _part_frequencies(space)


def _part_frequencies(pairs: int) -> np.ndarray:
    """Eq. (2) for one part, [pairs]."""
    if pairs == 0:  # heads narrower than 6 have no pair left for row and column
        return np.zeros(0)
    return _BASE ** (-np.arange(pairs) / pairs)


@typechecked
def rotations(
    position: Int[AnyArray, "b f"],
    phase: Int[AnyArray, "b f"],
    grid: tuple[int, int],
    head_dim: int,
    shot_phase: float = SHOT_PHASE,
) -> Float[Array, "2 b f t half"]:
    """cos and sin of every token's angles, eqs. (3, 4), made once a pass for all layers.

    The float32 angle stays within 6e-5 of its float64 value up to position 1000, far beyond a shot.

    Args:
        position: each frame's number, context first.
        phase: the number of each frame's shot.
        grid: rows and columns of tokens of a frame; t = rows·columns.
        head_dim: k, the width of a head; half = k/2 pairs.
        shot_phase: θ in radians.
    """
    rows, columns = grid
    time_frequency, row_frequency, column_frequency = frequencies(head_dim)
    time = _as_row(time_frequency)
    row = _as_row(row_frequency)
    column = _as_row(column_frequency)

    # Eq. (3): a frame's own position turns every temporal pair at its own speed, its shot turns all
    # pairs alike.
    turn_of_position = jnp.asarray(position)[..., None] * time
    turn_of_shot = jnp.asarray(phase, jnp.float32)[..., None] * shot_phase
    temporal = turn_of_position + turn_of_shot  # [b, f, time pairs]

    # Every token takes its frame's temporal angles, its row's and its column's: all [b, f, rows,
    # columns, pairs].
    b, f = temporal.shape[:2]
    tokens = (b, f, rows, columns)
    by_time = jnp.broadcast_to(temporal[:, :, None, None, :], (*tokens, time.shape[-1]))
    # Eq. (4), [rows, 1, row pairs] and [1, columns, column pairs].
    row_angle = jnp.arange(rows)[:, None, None] * row
    by_row = jnp.broadcast_to(row_angle[None, None], (*tokens, row.shape[-1]))
    column_angle = jnp.arange(columns)[None, :, None] * column
    by_column = jnp.broadcast_to(column_angle[None, None], (*tokens, column.shape[-1]))

    # The three parts lie side by side in a head; tokens of a frame are numbered row by row.
    angle = jnp.concatenate([by_time, by_row, by_column], axis=-1)
    angle = angle.reshape(b, f, rows * columns, head_dim // 2)
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def _as_row(values: np.ndarray) -> Array:
    """[m] → float32 [1, 1, m]."""
    return jnp.asarray(values, jnp.float32)[None, None, :]


@typechecked
def rotate(
    x: Float[Array, "b n f t k"], rotation: Float[Array, "2 b f t half"]
) -> Float[Array, "b n f t k"]:
    """Turns the adjacent pairs (2i, 2i+1) of every head by the token's angle i, in float32."""
    # All heads of a token turn alike: [b, 1, f, t, half].
    cos = rotation[0][:, None]
    sin = rotation[1][:, None]
    # Pairs as points (even, odd) of a plane, [b, n, f, t, half] each.
    pairs = x.astype(jnp.float32).reshape(*x.shape[:-1], -1, 2)
    even = pairs[..., 0]
    odd = pairs[..., 1]
    turned_even = even * cos - odd * sin
    turned_odd = even * sin + odd * cos
    # Back to one axis of width k, in x's own type.
    turned = jnp.stack([turned_even, turned_odd], -1)
    return turned.reshape(x.shape).astype(x.dtype)
