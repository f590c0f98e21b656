"""The autoencoder's loss (docs/method.md, section 4): a video through a sampled latent and back.

    x̂ = D(μ + σ·ε),  (μ, log σ²) = E(x),  ε ~ N(0, 1)                                     (1)
    loss = Σ w·|x̂ − x| / Σ w + edges·Σ w·(|∂y(x̂ − x)| + |∂x(x̂ − x)|) / Σ w
           + kl·mean(½·(μ² + σ² − 1 − log σ²))                                            (2)

A video's first frame makes a latent frame by itself, each later latent frame stands for T pixel
frames: so the first one weighs T times as much in w. With pieces that begin anywhere in a shot this
also trains frames that are encoded alone, as every context frame is. Characters are a tenth of the
picture and all that the stories are about: their boxes weigh more.

Encoding and decoding in two pieces, the first latent frame and the rest, equals the stream
(tests/vae/stream_test).
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, Int, Params, typechecked
from shotstream_jax.vae.model import VAE


@dataclasses.dataclass(frozen=True)
class ReconstructionConfig:
    """Weights in eq. (2). characters: a character's pixels weigh 1 + characters."""

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
    """Eq. (1): x̂ (not clipped), μ and log σ².

    vae: with latents that are not normalised (VAEConfig.raw).
    """

    def apply(x: Array, method: str, stream: dict[str, Any], first: bool) -> tuple[Array, Any]:
        """One piece of a video through the encoder or the decoder, with its state."""
        variables = {"params": params, **stream}
        return vae.apply(variables, x, first=first, method=method, mutable=["stream"])

    # Encode the first frame, which is a latent frame of its own, and then the rest.
    head, stream = apply(pixels[:, :1], "posterior", {}, True)
    rest, _ = apply(pixels[:, 1:], "posterior", stream, False)
    moments = jnp.concatenate([head, rest], axis=1)  # [b, f, h, w, 2·c]
    mean, log_variance = jnp.split(moments, 2, axis=-1)
    # Decode a sample.
    latents = mean + jnp.exp(log_variance / 2) * noise
    frames, _ = apply(latents, "decode", {}, True)
    return frames, mean, log_variance


@typechecked
def pixel_weights(
    boxes: Int[Array, "b p parts 4"], height: int, width: int, time: int, characters: float
) -> Float[Array, "b p y x 1"]:
    """w of eq. (2).

    boxes: left, top, right, bottom in pixels; right and bottom are not included.
    time: pixel frames of a latent frame.
    """
    # Which pixels lie in which box.
    left, top, right, bottom = (boxes[..., i, None] for i in range(4))  # [b, p, parts, 1] each
    rows = jnp.arange(height)[None, None, None]
    columns = jnp.arange(width)[None, None, None]
    inside_rows = (top <= rows) & (rows < bottom)  # [b, p, parts, y]
    inside_columns = (left <= columns) & (columns < right)  # [b, p, parts, x]
    inside_box = inside_rows[..., :, None] & inside_columns[..., None, :]
    is_character = jnp.any(inside_box, axis=2)  # [b, p, y, x]
    # The first frame counts for as many as a later latent frame stands for.
    is_first = jnp.arange(boxes.shape[1]) == 0
    of_frames = jnp.where(is_first, float(time), 1.0)[None, :, None, None]
    weights = of_frames * (1 + characters * is_character)
    return weights[..., None]


@typechecked
def reconstruction_error(
    made: Float[Array, "b p y x 3"],
    pixels: Float[Array, "b p y x 3"],
    weights: Float[Array, "b p y x 1"],
    edges: float,
) -> Float[Array, ""]:
    """The first line of eq. (2)."""
    error = made - pixels
    # Differences of neighbouring errors: an edge that is blurred has large ones.
    along_y = _weighted_mean(jnp.diff(error, axis=2), weights[:, :, 1:])
    along_x = _weighted_mean(jnp.diff(error, axis=3), weights[:, :, :, 1:])
    return _weighted_mean(error, weights) + edges * (along_y + along_x)


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
    """Peak signal-to-noise ratio in dB of pictures in [−1, 1], weighted."""
    # Halved, because pictures reach from −1 to 1 and the peak is 1.
    square = jnp.square((jnp.clip(made, -1, 1) - pixels) / 2)
    return -10 * jnp.log10(_weighted_mean(square, weights))


def _weighted_mean(values: Array, weights: Array) -> Array:
    """The weighted mean of absolute values."""
    return jnp.sum(jnp.abs(values) * weights) / (jnp.sum(weights) * values.shape[-1])
