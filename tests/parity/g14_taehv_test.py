"""Group 14: the tiny autoencoder: whole, in pieces of every length, and from the public files."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.convert.decoders import open_decoder
from shotstream_jax.model import abstract_decoder
from shotstream_jax.vae import codec
from shotstream_jax.vae.config import WAN_MEAN, WAN_STD, TinyConfig, VAEConfig
from shotstream_jax.vae.tiny import TinyAutoencoder
from tests.parity.reference import ROOT, arrays, video_last

SIZES = json.loads((ROOT / "g14_taehv.json").read_text())
DATA = arrays("g14_taehv.npz")
VAE = VAEConfig(dim=8, mean=WAN_MEAN, std=WAN_STD)
CFG = TinyConfig(
    decoder=tuple(SIZES["decoder"]),
    encoder=SIZES["encoder"],
    mean=VAE.raw.mean,
    std=VAE.raw.std,
)
MODULE = TinyAutoencoder(CFG)
LATENTS = video_last(DATA["in/latents"])
TOLERANCE = 1e-5
COUNT = SIZES["latents"]
PIECES = [(COUNT,), (COUNT - 2, 2), (1,) * COUNT]  # lengths of the chunks

decode_first = jax.jit(codec.decode_first, static_argnums=0)
decode_next = jax.jit(codec.decode_next, static_argnums=0)
decode = jax.jit(codec.decode, static_argnums=0)


def read(file: str, kind: str):
    """A public file's parameters as `convert` stores them, in float32."""
    opened = open_decoder(ROOT / file, kind, VAE)
    assert opened.part.facts["sizes"]["decoder"] == CFG.decoder
    tree = {}
    for piece in opened.part.pieces():
        place = tree
        for name in piece.path[:-1]:
            place = place.setdefault(name, {})
        place[piece.path[-1]] = jnp.asarray(piece.array, jnp.float32)
    jax.tree.map(
        lambda a, want: a.shape == want.shape or pytest.fail(), tree, abstract_decoder(CFG)
    )
    return tree


@pytest.fixture(scope="module")
def params():
    return read("weights/taehv.safetensors", "taehv")


def unit(frames) -> np.ndarray:
    """[−1, 1] → the [0, 1] of the recorded frames."""
    return (np.asarray(frames) + 1) / 2


@pytest.mark.parametrize("case", ["raw"], ids=lambda case: f"g14-{case}")
def test_all_frames_before_clipping_and_cutting(params, close, case):
    frames, _ = jax.jit(
        lambda z: MODULE.apply(
            {"params": params}, z, first=False, method="decode", mutable=["stream"]
        )
    )(LATENTS)
    close(unit(frames), video_last(DATA["out/raw"]), "raw", TOLERANCE)


@pytest.mark.parametrize("pieces", PIECES, ids=lambda p: f"g14-{p}")
def test_a_stream_of_chunks(params, close, pieces):
    """Nine states, carried from chunk to chunk; frames leave as they were recorded to."""
    stream, frames, begin = None, [], 0
    for length in pieces:
        z = LATENTS[:, begin : begin + length]
        if stream is None:
            stream, more = decode_first(MODULE, params, z)
        else:
            stream, more = decode_next(MODULE, params, stream, z)
        assert more.shape[1] == DATA["out/frames_per_latent"][begin : begin + length].sum()
        assert len(jax.tree.leaves(stream)) == 9
        frames.append(more)
        begin += length
    close(unit(jnp.concatenate(frames, 1)), video_last(DATA["out/frames"]), "frames", TOLERANCE)


@pytest.mark.parametrize("case", ["whole"], ids=lambda case: f"g14-{case}")
def test_the_scan_over_latents(params, close, case):
    close(
        unit(decode(MODULE, params, LATENTS)), video_last(DATA["out/frames"]), "frames", TOLERANCE
    )


@pytest.mark.parametrize("case", ["encode"], ids=lambda case: f"g14-{case}")
def test_the_encoder_repeats_the_last_frame(params, close, case):
    pixels = 2 * video_last(DATA["in/frames"]) - 1
    assert pixels.shape[1] % CFG.time != 0
    latents, _ = jax.jit(
        lambda x: MODULE.apply({"params": params}, x, method="encode", mutable=["stream"])
    )(pixels)
    close(latents, video_last(DATA["out/latents"]), "latents", TOLERANCE)


def test_a_growing_convolution_of_more_channels():
    """The last channels count; what is left is the rounding to float16."""
    half = read("ckpt/tiny_taehv_bigger_tgrow_f16.pth", "taehv")
    frames = unit(decode(MODULE, half, LATENTS))
    np.testing.assert_allclose(frames, video_last(DATA["out/frames"]), atol=2e-3)


@pytest.mark.parametrize("case", ["scaled"], ids=lambda case: f"g14-{case}")
def test_the_look_alike_reads_scaled_latents(params, close, case):
    """lighttae of z is taehv of z·std + mean."""
    opened = open_decoder(ROOT / "weights/taehv.safetensors", "lighttae", VAE)
    scaled = TinyAutoencoder(TinyConfig(**opened.part.facts["sizes"]))
    z = (LATENTS - jnp.asarray(WAN_MEAN)[None, None, None, None]) / jnp.asarray(WAN_STD)[
        None, None, None, None
    ]
    close(unit(decode(scaled, params, z)), video_last(DATA["out/frames"]), "frames", TOLERANCE)
