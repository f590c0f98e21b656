"""Streams whose frames a smaller decoder makes: other pictures, the same latents and memory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.core.sharding import make_mesh, param_shardings
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.stream import stream_generate
from shotstream_jax.model import Model, init_decoder
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE
from tests.decoders import recorded_config, recorded_params, wide_model

CAPTIONS = ["a fox wakes", "it runs", "it sleeps"]


@functools.cache
def with_decoder(kind: str) -> Model:
    model = wide_model()
    if kind == "wan":
        return model
    if kind == "lightvae":
        cfg = dataclasses.replace(model.preset.vae, dim=2)
        params = init_decoder(cfg, jax.random.key(5))
    else:
        cfg, params = recorded_config(kind), recorded_params()
    return dataclasses.replace(model, decoder=cfg, params=model.params | {"decoder": params})


@functools.cache
def streamed(kind: str):
    return list(stream_generate(with_decoder(kind), CAPTIONS, seed=3))


def assert_same_memory(chunks, want):
    """Latents and stories to the bit."""
    for ours, theirs in zip(chunks, want, strict=True):
        assert (ours.shot, ours.chunk) == (theirs.shot, theirs.chunk)
        np.testing.assert_array_equal(ours.latents, theirs.latents)
        assert (ours.story is None) == (theirs.story is None)
    mine, other = chunks[-1].story, want[-1].story
    assert mine.next_frame == other.next_frame
    for a, b in zip(mine.shots, other.shots, strict=True):
        assert a.length == b.length and np.array_equal(a.frames, b.frames)
        assert len(a.latents) == len(b.latents) > 0
        jax.tree.map(np.testing.assert_array_equal, a.latents, b.latents)


@pytest.mark.parametrize("kind", ["taehv", "lighttae", "lightvae"])
def test_memory_is_the_autoencoders_whatever_is_shown(kind):
    chunks, want = streamed(kind), streamed("wan")
    assert_same_memory(chunks, want)
    # The frames are those of the decoder, over each whole shot.
    decoder, part = with_decoder(kind).shown_by
    params = with_decoder(kind).params[part]
    for shot in range(len(CAPTIONS)):
        ours = [c for c in chunks if c.shot == shot]
        latents = jnp.concatenate([c.latents for c in ours])[None]
        whole = jax.jit(functools.partial(codec.decode, decoder))(params, latents)
        frames = np.concatenate([c.frames for c in ours])
        assert frames.shape == (13, 16, 32, 3)
        grey = np.abs(frames.astype(int) - np.asarray(codec.to_uint8(whole))[0])
        assert grey.max() <= 1
        own = np.concatenate([c.frames for c in want if c.shot == shot])
        assert np.abs(own.astype(int) - frames).mean() > 1


def test_a_story_goes_on_with_another_decoder():
    """As if it had been made with one: what is kept of a shot knows nothing of what was shown."""
    story = next(c.story for c in streamed("taehv") if c.story and c.shot == 0)
    rest = list(stream_generate(with_decoder("wan"), CAPTIONS[1:], story=story))
    want = [c for c in streamed("wan") if c.shot > 0]
    assert_same_memory(rest, want)
    for ours, theirs in zip(rest, want, strict=True):
        np.testing.assert_array_equal(ours.frames, theirs.frames)


def test_the_autoencoder_decodes_only_what_later_shots_can_ask_for(monkeypatch):
    """And after the frames that are shown."""
    calls = []

    def counted(name: str):
        real = getattr(steps, name)

        def call(decoder, *arguments):
            calls.append((name, isinstance(decoder, VAE)))
            return real(decoder, *arguments)

        monkeypatch.setattr(steps, name, call)

    counted("decode_first_chunk")
    counted("decode_next_chunk")
    list(stream_generate(with_decoder("taehv"), CAPTIONS[:2], seed=3))
    first, following = "decode_first_chunk", "decode_next_chunk"
    # Of shot 0 the last frame may be asked for, of shot 1 the first one only.
    assert calls == [
        (first, False),
        (first, True),
        (following, False),
        (following, True),
        (first, False),
        (first, True),
        (following, False),
    ]


def test_memory_can_be_made_of_what_is_shown(monkeypatch):
    """Then nothing is decoded twice, and the autoencoder encodes the frames that are shown."""
    model = dataclasses.replace(with_decoder("taehv"), history="shown")

    def refuse(decoder, *arguments):
        assert not isinstance(decoder, VAE)
        return real(decoder, *arguments)

    real = steps.decode_first_chunk
    monkeypatch.setattr(steps, "decode_first_chunk", refuse)
    chunks = list(stream_generate(model, CAPTIONS[:2], seed=3))
    # Until memory is read the film is the same.
    np.testing.assert_array_equal(chunks[0].frames, streamed("taehv")[0].frames)
    record = chunks[-1].story.shots[0]
    frames = np.concatenate([c.frames for c in chunks if c.shot == 0])
    for frame, latent in zip(record.frames, record.latents, strict=True):
        shown = jnp.asarray(frames[frame] / 127.5 - 1, jnp.float32)[None]
        encoded = codec.encode_frame(model.vae, model.params["vae"], shown)
        # From the exact values, not from their bytes.
        np.testing.assert_allclose(latent, encoded, atol=0.1)
        assert np.abs(latent - encoded).mean() < 0.01


def test_rows_are_split_over_a_mesh():
    """A tiny decoder's frames are those of one device, and its state lies by rows."""
    mesh = make_mesh({"sequence": 2}, jax.devices()[:2])
    one = with_decoder("taehv")
    params = {
        part: jax.device_put(tree, param_shardings(mesh, part, tree))
        for part, tree in one.params.items()
    }
    chunks = list(stream_generate(dataclasses.replace(one, params=params), CAPTIONS[:1], seed=3))
    want = [c for c in streamed("taehv") if c.shot == 0]
    for ours, theirs in zip(chunks, want, strict=True):
        np.testing.assert_allclose(ours.latents, theirs.latents, atol=1e-4)
        assert np.abs(ours.frames.astype(int) - theirs.frames).max() <= 1
    decoder, part = one.shown_by
    z = jnp.zeros((1, 2, 2, 4, 16))
    with jax.set_mesh(mesh):
        stream, _, _ = steps.decode_first_chunk(decoder, params[part], z)
    for leaf in jax.tree.leaves(stream):
        assert 2 * leaf.sharding.shard_shape(leaf.shape)[2] == leaf.shape[2]
