"""Group 6: the autoencoder: whole, single frames, and as a stream of chunks."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE
from tests.parity.reference import CHUNK, VAE_SIZES, arrays, video_last, weights

DATA = arrays("g06_vae.npz")
MODEL, PARAMS = VAE(VAE_SIZES), weights("vae", "vae")
VIDEO, LATENTS = jnp.moveaxis(jnp.asarray(DATA["in/video"]), 1, -1), video_last(DATA["in/latents"])
ENCODED = [k for k in DATA if re.fullmatch(r"out/encode_\d+", k)]
DECODED = [k for k in DATA if re.fullmatch(r"out/decode_(raw|to_pixel)_\d+", k)]
FRAMES = [k for k in DATA if k.startswith("out/encode_frames_")]

encode = jax.jit(codec.encode, static_argnums=0)
encode_frame = jax.jit(codec.encode_frame, static_argnums=0)
decode = jax.jit(codec.decode, static_argnums=0)


@jax.jit
def decode_unclipped(params, z):
    return MODEL.apply({"params": params}, z, first=True, method="decode", mutable=["stream"])[0]


def name(key: str) -> str:
    return "g06-" + key.removeprefix("out/")


def near(close, got, want, raw: bool):
    """Ours leaves the decoder clipped; the raw recordings are clipped here for that."""
    close(got, np.clip(want, -1, 1) if raw else want, "pixels")


@pytest.mark.parametrize("key", ENCODED, ids=name)
def test_encode(key, close):
    count = int(key.rsplit("_", 1)[1])
    close(encode(MODEL, PARAMS, VIDEO[:, :count]), video_last(DATA[key]), key)


@pytest.mark.parametrize("key", FRAMES, ids=name)
def test_single_frames(key, close):
    for i, frame in enumerate(map(int, key.split("_")[2:])):
        latent = encode_frame(MODEL, PARAMS, VIDEO[:, frame])
        close(latent, video_last(DATA[key])[i : i + 1, 0], key)


@pytest.mark.parametrize("key", DECODED, ids=name)
def test_decode(key, close):
    count, want = int(key.rsplit("_", 1)[1]), video_last(DATA[key])
    near(close, decode(MODEL, PARAMS, LATENTS[:, :count]), want, raw="raw" in key)
    if "raw" in key:  # and before the clip, all latents at once
        close(decode_unclipped(PARAMS, LATENTS[:, :count]), want, "unclipped")


@pytest.mark.parametrize("case", ["cached_decode_chunks"], ids=lambda case: f"g06-{case}")
def test_stream(case, close):
    stream, frames = jax.jit(codec.decode_first, static_argnums=0)(
        MODEL, PARAMS, LATENTS[:, :CHUNK]
    )
    near(close, frames, video_last(DATA["out/cached_decode_chunk0"]), raw=True)
    _, frames = jax.jit(codec.decode_next, static_argnums=0)(
        MODEL, PARAMS, stream, LATENTS[:, CHUNK : 2 * CHUNK]
    )
    near(close, frames, video_last(DATA["out/cached_decode_chunk1"]), raw=True)


@pytest.mark.parametrize("key", ["mean", "std"], ids=lambda key: f"g06-{key}")
def test_statistics(key, close):
    close(np.array(getattr(VAE_SIZES, key)), DATA[f"out/{key}"], key)
