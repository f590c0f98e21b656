"""The autoencoder as a stream equals the autoencoder on the whole."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.presets import find_preset
from shotstream_jax.testing import VAE as SIZES
from shotstream_jax.testing import tiny_model
from shotstream_jax.vae import codec
from shotstream_jax.vae.layers import channels_to_pixels, pixels_to_channels
from shotstream_jax.vae.model import VAE as Autoencoder

MODEL = tiny_model()
VAE, PARAMS = MODEL.vae, MODEL.params["vae"]
LATENTS = jax.random.normal(jax.random.key(0), (2, 7, 4, 6, SIZES.channels))
PIXELS = jax.random.uniform(jax.random.key(1), (2, 12, 8, 12, 3), minval=-1, maxval=1)

first = jax.jit(functools.partial(codec.decode_first, VAE))
following = jax.jit(functools.partial(codec.decode_next, VAE))
whole = jax.jit(functools.partial(codec.decode, VAE))
encode = jax.jit(functools.partial(codec.encode, VAE))


@pytest.mark.parametrize("pieces", [(1, 3, 3), (3, 3, 1)])
def test_stream_decode_is_whole_decode(pieces):
    stops = np.cumsum(pieces)
    stream, head = first(PARAMS, LATENTS[:, : stops[0]])
    frames = [head]
    for start, stop in itertools.pairwise(stops):
        stream, more = following(PARAMS, stream, LATENTS[:, start:stop])
        frames.append(more)
    video = whole(PARAMS, LATENTS)
    assert video.shape == (2, SIZES.pixel_frames(7), 8, 12, 3)
    np.testing.assert_allclose(jnp.concatenate(frames, axis=1), video, atol=1e-5)


def test_encoding_in_one_piece_is_encoding_in_many():
    """And frames beyond T·n + 1 are dropped."""
    encoded = encode(PARAMS, PIXELS)
    assert encoded.shape == (2, 6, 4, 6, SIZES.channels)
    variables = {"params": PARAMS}
    one, state = VAE.apply(
        variables, PIXELS[:, :1], first=True, method="encode", mutable=["stream"]
    )
    rest, _ = VAE.apply(
        variables | state, PIXELS[:, 1:11], first=False, method="encode", mutable=["stream"]
    )
    np.testing.assert_allclose(encoded, jnp.concatenate([one, rest], axis=1), atol=1e-5)


def test_time_is_causal():
    """A later frame changes no earlier latent, a later latent no earlier frame."""
    changed = encode(PARAMS, PIXELS.at[:, 9:].set(0.0))
    same = encode(PARAMS, PIXELS)
    np.testing.assert_array_equal(changed[:, :5], same[:, :5])
    assert np.abs(changed[:, 5] - same[:, 5]).max() > 1e-3
    np.testing.assert_array_equal(
        whole(PARAMS, LATENTS.at[:, 5:].set(0.0))[:, :9], whole(PARAMS, LATENTS)[:, :9]
    )


def test_the_miniatures_stream_is_its_whole():
    """In its widths, with both of its levels halving time: 6 latent frames are 21 pixel frames."""
    cfg = dataclasses.replace(find_preset("tiny").vae, time_down=(True, True))
    assert (cfg.space, cfg.time, cfg.pixel_frames(6)) == (4, 4, 21)
    vae = Autoencoder(cfg)
    run = {
        name: jax.jit(functools.partial(getattr(codec, name), vae))
        for name in (
            "encode",
            "encode_first",
            "encode_next",
            "decode",
            "decode_first",
            "decode_next",
        )
    }
    pixels = jax.random.uniform(jax.random.key(2), (1, 21, 8, 8, 3), minval=-1, maxval=1)
    params = jax.jit(vae.init)(jax.random.key(3), pixels[:, :1])["params"]
    stream, latents = run["encode_first"](params, pixels[:, :1])
    encoded = run["encode"](params, pixels)
    assert (latents.shape, encoded.shape) == ((1, 1, 2, 2, 16), (1, 6, 2, 2, 16))
    _, rest = run["encode_next"](params, stream, pixels[:, 1:])
    latents = jnp.concatenate([latents, rest], axis=1)
    np.testing.assert_allclose(latents, encoded, atol=1e-5)
    stream, frames = run["decode_first"](params, latents[:, :3])
    _, more = run["decode_next"](params, stream, latents[:, 3:])
    video = run["decode"](params, latents)
    assert (frames.shape[1], video.shape) == (9, pixels.shape)
    np.testing.assert_allclose(jnp.concatenate([frames, more], axis=1), video, atol=1e-5)


def test_pixels_of_a_patch_lie_beside_each_other():
    """Patches of the pixels go through as channels, and come back to where they were."""
    cfg = dataclasses.replace(SIZES, patch=2)
    assert (cfg.space, cfg.grid(16, 24)) == (2 * SIZES.space, (4, 6))
    channels = pixels_to_channels(PIXELS, 2)
    np.testing.assert_array_equal(channels[:, :, 1, 2, 3:6], PIXELS[:, :, 2, 5])
    np.testing.assert_array_equal(channels_to_pixels(channels, 2), PIXELS)
    vae = Autoencoder(cfg)
    pixels = jax.random.uniform(jax.random.key(4), (1, 1, 16, 24, 3))
    params = jax.jit(vae.init)(jax.random.key(5), pixels)["params"]
    latents = jax.jit(functools.partial(codec.encode, vae))(params, pixels)
    video = jax.jit(functools.partial(codec.decode, vae))(params, latents)
    assert (latents.shape, video.shape) == ((1, 1, 4, 6, cfg.channels), pixels.shape)


def test_bytes_cover_the_range():
    assert codec.to_uint8(jnp.array([-1.0, 0.0, 1.0])).tolist() == [0, 128, 255]
