"""The autoencoder's loss (spec page 4): a video through a sampled latent and back.

    x̂ = D(μ + σ·ε),  (μ, log σ²) = E(x),  ε ~ N(0, 1)                                                   (1)
    loss = Σ w·|x̂ − x| / Σ w + edges·Σ w·(|∂y(x̂ − x)| + |∂x(x̂ − x)|) / Σ w
           + kl·mean(½·(μ² + σ² − 1 − log σ²))                                                          (2)

A video's first frame makes a latent frame by itself, each later latent frame stands for T pixel frames: so the first
one weighs T times as much in w. With crops that start anywhere that trains frames that are encoded alone, as every
context frame is. Characters are a tenth of the picture and all that the stories are about: their boxes weigh more.
Encoding and decoding in two pieces, the first latent frame and the rest, equals the stream (tests/vae/stream_test).
"""

import dataclasses

import jax.numpy as jnp

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, Int, typechecked
from shotstream_jax.model import Params
from shotstream_jax.vae.model import VAE


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """Weights in eq. (2). characters: a character's pixels weigh 1 + so much."""

    edges: float = 1.0
    kl: float = 1e-4
    characters: float = 0.0

    def __post_init__(self) -> None:
        if self.edges < 0 or self.kl < 0 or self.characters < 0:
            raise InputError(f"{self}: no weight may be negative")


@typechecked
def reconstruct(
    vae: VAE, params: Params, pixels: Float[Array, "b p y x 3"], noise: Float[Array, "b f h w c"]
) -> tuple[Float[Array, "b p y x 3"], Float[Array, "b f h w c"], Float[Array, "b f h w c"]]:
    """Eq. (1): x̂ (not clipped), μ and log σ². vae: with latents that are not normalised (VAEConfig.raw)."""
    piece = lambda x, method, stream, first: vae.apply(  # noqa: E731
        {"params": params, **stream}, x, first=first, method=method, mutable=["stream"]
    )
    head, stream = piece(pixels[:, :1], "posterior", {}, True)
    rest, _ = piece(pixels[:, 1:], "posterior", stream, False)
    mean, log_variance = jnp.split(jnp.concatenate([head, rest], axis=1), 2, axis=-1)
    frames, _ = piece(mean + jnp.exp(log_variance / 2) * noise, "decode", {}, True)
    return frames, mean, log_variance


@typechecked
def pixel_weights(
    boxes: Int[Array, "b p parts 4"], height: int, width: int, time: int, characters: float
) -> Float[Array, "b p y x 1"]:
    """w of eq. (2). boxes: left, top, right, bottom in pixels, the last two not included."""
    left, top, right, bottom = (boxes[..., i, None] for i in range(4))
    rows, columns = jnp.arange(height)[None, None, None], jnp.arange(width)[None, None, None]
    inside_y, inside_x = (top <= rows) & (rows < bottom), (left <= columns) & (columns < right)
    inside = jnp.any(inside_y[..., :, None] & inside_x[..., None, :], axis=2)
    frames = jnp.where(jnp.arange(boxes.shape[1]) == 0, float(time), 1.0)[None, :, None, None]
    return (frames * (1 + characters * inside))[..., None]


@typechecked
def reconstruction_error(
    made: Float[Array, "b p y x 3"],
    pixels: Float[Array, "b p y x 3"],
    weights: Float[Array, "b p y x 1"],
    edges: float,
) -> Float[Array, ""]:
    """The first line of eq. (2)."""
    error = made - pixels
    along_y = _mean(jnp.diff(error, axis=2), weights[:, :, 1:])
    along_x = _mean(jnp.diff(error, axis=3), weights[:, :, :, 1:])
    return _mean(error, weights) + edges * (along_y + along_x)


@typechecked
def divergence(
    mean: Float[Array, "b f h w c"], log_variance: Float[Array, "b f h w c"]
) -> Float[Array, ""]:
    """Of the latents from N(0, 1): the second line of eq. (2), without its weight."""
    return jnp.mean(jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance) / 2


@typechecked
def psnr(
    made: Float[Array, "b p y x 3"],
    pixels: Float[Array, "b p y x 3"],
    weights: Float[Array, "b p y x 1"],
) -> Float[Array, ""]:
    """Peak signal to noise ratio in dB of pictures in [−1, 1], over what weighs."""
    square = jnp.square((jnp.clip(made, -1, 1) - pixels) / 2)
    return -10 * jnp.log10(_mean(square, weights))


def _mean(values: Array, weights: Array) -> Array:
    return jnp.sum(jnp.abs(values) * weights) / (jnp.sum(weights) * values.shape[-1])
