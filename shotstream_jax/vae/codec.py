"""Pixels ↔ latents as pure functions; the state between pieces is the pytree VaeStream.

A shot is decoded as it is made: decode_first on its first chunk, decode_next on each later one. The
decoder is the autoencoder's, or a tiny one in its place (vae/tiny); the latents are the same.
That equals the decoding of the whole, which is a scan over single latent frames. Encoding works on
pieces of 1, T, T, … pixel frames.
"""

from typing import Any

import jax
import jax.numpy as jnp

from shotstream_jax.core.typing import Array, DType, Float, Params, UInt8, typechecked
from shotstream_jax.vae.config import DecoderConfig, TinyConfig
from shotstream_jax.vae.model import VAE
from shotstream_jax.vae.tiny import TinyAutoencoder

# Whatever decodes: both have decode(z, first) and keep their state in the collection `stream`.
AnyDecoder = VAE | TinyAutoencoder

# linen's collection `stream`: the last input frames of every causal layer.
VaeStream = dict[str, Any]


def make_decoder(cfg: DecoderConfig, dtype: DType) -> AnyDecoder:
    """The module of these sizes."""
    if isinstance(cfg, TinyConfig):
        return TinyAutoencoder(cfg, dtype)
    return VAE(cfg, dtype)


@typechecked
def decode_first(
    vae: AnyDecoder,
    params: Params,
    z: Float[Array, "b f h w c"],
) -> tuple[VaeStream, Float[Array, "b p y x 3"]]:
    """Starts a video: f latent frames → 1 + (f − 1)·T pixel frames in [−1, 1]."""
    # Without a stream to start from, every layer's past is zeros.
    frames, state = vae.apply(
        {"params": params},
        z,
        first=True,
        method="decode",
        mutable=["stream"],
    )
    return state["stream"], jnp.clip(frames, -1, 1)


@typechecked
def decode_next(
    vae: AnyDecoder,
    params: Params,
    stream: VaeStream,
    z: Float[Array, "b f h w c"],
) -> tuple[VaeStream, Float[Array, "b p y x 3"]]:
    """Continues it: f latent frames → f·T pixel frames."""
    frames, state = vae.apply(
        {"params": params, "stream": stream},
        z,
        first=False,
        method="decode",
        mutable=["stream"],
    )
    return state["stream"], jnp.clip(frames, -1, 1)


@typechecked
def decode(
    vae: AnyDecoder,
    params: Params,
    z: Float[Array, "b f h w c"],
) -> Float[Array, "b p y x 3"]:
    """A whole shot, one latent frame at a time.

    Memory does not grow with the shot, but for the result.
    """

    def decode_one(stream: VaeStream, frame: Array) -> tuple[VaeStream, Array]:
        """One latent frame [b, h, w, c] → T pixel frames."""
        return decode_next(
            vae,
            params,
            stream,
            frame[:, None],
        )

    stream, head = decode_first(vae, params, z[:, :1])
    # A scan runs over the first dimension: [f − 1, b, h, w, c].
    later = jnp.moveaxis(z[:, 1:], 1, 0)
    _, rest = jax.lax.scan(decode_one, stream, later)
    return jnp.concatenate([head, _join(rest)], axis=1)


@typechecked
def encode_first(
    vae: VAE,
    params: Params,
    frame: Float[Array, "b 1 y x 3"],
) -> tuple[VaeStream, Float[Array, "b 1 h w c"]]:
    """Starts a video: its first pixel frame in [−1, 1] → its normalised latent."""
    # Without a stream to start from, every layer's past is zeros.
    latent, state = vae.apply(
        {"params": params},
        frame,
        first=True,
        method="encode",
        mutable=["stream"],
    )
    return state["stream"], latent


@typechecked
def encode_next(
    vae: VAE,
    params: Params,
    stream: VaeStream,
    frames: Float[Array, "b p y x 3"],
) -> tuple[VaeStream, Float[Array, "b f h w c"]]:
    """Continues it: f·T pixel frames → f normalised latents."""
    latents, state = vae.apply(
        {"params": params, "stream": stream},
        frames,
        first=False,
        method="encode",
        mutable=["stream"],
    )
    return state["stream"], latents


@typechecked
def encode(
    vae: VAE,
    params: Params,
    pixels: Float[Array, "b p y x 3"],
) -> Float[Array, "b f h w c"]:
    """Normalised latents of a video in [−1, 1]; frames beyond T·n + 1 are dropped."""

    def encode_piece(stream: VaeStream, piece: Array) -> tuple[VaeStream, Array]:
        """T pixel frames [b, T, y, x, 3] → one latent frame."""
        return encode_next(vae, params, stream, piece)

    stream, head = encode_first(vae, params, pixels[:, :1])
    # All frames after the first, in pieces of T that are one latent frame each.
    time = vae.cfg.time
    count = (pixels.shape[1] - 1) // time
    later = pixels[:, 1 : 1 + count * time]
    pieces = later.reshape(pixels.shape[0], count, time, *pixels.shape[2:])
    _, rest = jax.lax.scan(encode_piece, stream, jnp.moveaxis(pieces, 1, 0))
    return jnp.concatenate([head, _join(rest)], axis=1)


@typechecked
def encode_frame(
    vae: VAE,
    params: Params,
    frame: Float[Array, "b y x 3"],
) -> Float[Array, "b h w c"]:
    """A context frame: always encoded by itself, as a one-frame video."""
    _, latents = encode_first(vae, params, frame[:, None])
    return latents[:, 0]


def from_uint8(pixels: UInt8[Array, "*dims"]) -> Float[Array, "*dims"]:
    """0 … 255 → [−1, 1]."""
    return 2 * pixels.astype(jnp.float32) / 255 - 1


def to_uint8(pixels: Float[Array, "*dims"]) -> UInt8[Array, "*dims"]:
    """[−1, 1] → 0 … 255, rounded."""
    return jnp.round((pixels + 1) * 127.5).astype(jnp.uint8)


def _join(pieces: Array) -> Array:
    """[pieces, b, p, …] → [b, pieces·p, …]."""
    n, b, p = pieces.shape[:3]
    return jnp.moveaxis(pieces, 0, 1).reshape(b, n * p, *pieces.shape[3:])
