"""Pictures made a little worse, so that the probe does not mind what an autoencoder or a generator does to them.

Each shot gets its own strengths, some none at all: a shift by parts of a pixel, frames that run into each other, blur,
half the resolution, other brightness, contrast and colours, coarse and fine noise. No model's output is used.
"""

import jax
import jax.numpy as jnp

from shotstream_jax.core import rng
from shotstream_jax.core.typing import Array, Float, PRNGKey, typechecked

SHIFT, COLOUR, NOISE, COARSE = (
    1.5,
    0.1,
    0.12,
    0.1,
)  # pixels; the rest in units of half the range of a pixel
BLOCK = 4  # pixels of coarse noise


@typechecked
def disturb(
    key: PRNGKey, pixels: Float[Array, "b p y x 3"], box: Float[Array, "b p n 4"]
) -> tuple[Float[Array, "b p y x 3"], Float[Array, "b p n 4"]]:
    """pixels in [−1, 1], and the boxes (shares of the picture), shifted with them."""
    keys = jax.random.split(key, pixels.shape[0])
    return jax.vmap(_one)(keys, pixels, box)


def _one(key: PRNGKey, x: Array, box: Array) -> tuple[Array, Array]:
    draw = lambda name, low, high, shape=(): jax.random.uniform(
        rng.stream(key, name), shape, x.dtype, low, high
    )
    much = jnp.maximum(draw("much", -0.25, 1.0), 0.0)  # a fifth of the shots as they are
    p, rows, columns, _ = x.shape
    shift = much * draw("shift", -SHIFT, SHIFT, (2,))
    ones = jnp.ones(2, x.dtype)
    edge = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    moved = jax.image.scale_and_translate(
        edge, edge.shape, (1, 2), ones, shift, "linear", antialias=False
    )
    x = moved[:, 2:-2, 2:-2]
    share = jnp.tile(shift[::-1] / jnp.array([columns, rows], x.dtype), 2)
    box = jnp.where(jnp.any(box > 0, axis=-1, keepdims=True), box + share[None, None], box)
    x = _smooth(x, 0, much * draw("time", 0.0, 0.33))
    for axis in (1, 2):
        x = _smooth(x, axis, much * draw("blur", 0.0, 0.33))
    half = x.reshape(p, rows // 2, 2, columns // 2, 2, 3).mean((2, 4)).repeat(2, 1).repeat(2, 2)
    x = x + much * jnp.maximum(draw("half", -1.0, 1.0), 0.0) * (
        _smooth(_smooth(half, 1, 0.25), 2, 0.25) - x
    )
    gain = 1 + much * (draw("gain", -COLOUR, COLOUR) + draw("gains", -COLOUR, COLOUR, (3,)) / 2)
    offset = much * (draw("offset", -COLOUR, COLOUR) + draw("offsets", -COLOUR, COLOUR, (3,)) / 2)
    x = x * gain[None, None, None] + offset[None, None, None]
    fine = jax.random.normal(rng.stream(key, "fine"), x.shape)
    coarse = jax.random.normal(
        rng.stream(key, "coarse"), (p, -(-rows // BLOCK), -(-columns // BLOCK), 3)
    )
    coarse = coarse.repeat(BLOCK, 1).repeat(BLOCK, 2)[:, :rows, :columns]
    x = x + much * (
        draw("fine much", 0.0, NOISE) * fine + draw("coarse much", 0.0, COARSE) * coarse
    )
    return jnp.clip(x, -1.0, 1.0), box


def _smooth(x: Array, axis: int, share: Array | float) -> Array:
    """Each entry with so much of both its neighbours."""
    first, last = (jax.lax.slice_in_dim(x, i, i + 1, axis=axis) for i in (0, x.shape[axis] - 1))
    wide = jnp.concatenate([first, x, last], axis=axis)
    before, after = (jax.lax.slice_in_dim(wide, i, i + x.shape[axis], axis=axis) for i in (0, 2))
    return share * (before + after) + (1 - 2 * share) * x
