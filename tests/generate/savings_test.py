"""What keeps memory small changes no picture: decoding by frames, a text encoder on the host."""

import dataclasses
import gc
import weakref

import jax
import numpy as np
import pytest

from shotstream_jax.checkpoint.load import load
from shotstream_jax.checkpoint.save import save
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.stream import stream_generate
from shotstream_jax.model import Model
from shotstream_jax.testing import tiny_model
from shotstream_jax.text.encode import embed_prompt
from tests.generate.decoder_test import CAPTIONS, streamed, with_decoder

SHORT = ["a fox wakes", "it runs"]


@pytest.mark.parametrize("kind", ["wan", "taehv"])
def test_frame_by_frame_is_the_whole_chunk(kind):
    of = dataclasses.replace(with_decoder(kind), decode_frames=1)
    for ours, whole in zip(stream_generate(of, CAPTIONS, seed=3), streamed(kind), strict=True):
        assert ours.frames.shape == whole.frames.shape
        assert np.abs(ours.frames.astype(int) - whole.frames).max() <= 1
        np.testing.assert_allclose(ours.latents, whole.latents, atol=1e-5)


def test_each_piece_is_one_latent_frame(monkeypatch):
    seen = []
    for name in ("decode_first_chunk", "decode_next_chunk"):
        real = getattr(steps, name)

        def call(vae, params, z, *state, real=real, name=name):
            seen.append((name, z.shape[1]))
            return real(vae, params, z, *state)

        monkeypatch.setattr(steps, name, call)
    of = dataclasses.replace(tiny_model(), decode_frames=1)
    list(stream_generate(of, SHORT[:1]))
    assert seen == [("decode_first_chunk", 1)] + 5 * [("decode_next_chunk", 1)]


def test_a_loaded_model_with_everything_small(tmp_path):
    """The encoder's weights stay numpy's; the story is as with them on the device."""
    save(tiny_model(), tmp_path / "model")
    whole = load(tmp_path / "model")
    small = load(tmp_path / "model", text_memory="host", decode_frames=1)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(small.params["text"]))
    chunks = list(stream_generate(small, SHORT, seed=3))
    for ours, want in zip(chunks, stream_generate(whole, SHORT, seed=3), strict=True):
        assert np.abs(ours.frames.astype(int) - want.frames).max() <= 1
        np.testing.assert_allclose(ours.latents, want.latents, atol=1e-4)
    assert load(tmp_path / "model", cache_dtype="fp8").student.cache_dtype == "fp8"


def test_a_text_encoder_in_8_bits(tmp_path):
    """On the device or on the host: the same embeddings, near the full ones, of 8-bit matrices."""
    save(tiny_model(), tmp_path / "model")
    whole = load(tmp_path / "model")
    want = embedding(whole)
    found = []
    for place in ("device", "host"):
        model = load(tmp_path / "model", text_dtype="int8", text_memory=place)
        leaves = jax.tree.leaves(model.params["text"]["blocks"]["fc1"]["kernel"])
        assert [leaf.dtype for leaf in leaves] == [np.dtype(np.int8), np.dtype(np.float32)]
        assert isinstance(leaves[0], np.ndarray) == (place == "host")
        found.append(embedding(model))
        error = np.linalg.norm(found[-1] - want) / np.linalg.norm(want)
        assert 1e-4 < error < 0.03
    np.testing.assert_allclose(*found, atol=1e-5)
    with pytest.raises(InputError, match="rounded to 8 bits: load it with text_dtype='same'"):
        save(model, tmp_path / "again")


def embedding(model: Model) -> np.ndarray:
    """Of a prompt."""
    length = model.preset.dit.text_len
    _, text = embed_prompt(model.text, model.params["text"], model.tokenizer, SHORT[0], length)
    return np.asarray(text)


def test_a_shots_decoder_is_gone_when_the_next_begins(monkeypatch):
    """Its state is gigabytes at full size."""
    states: list[weakref.ref] = []
    held = []
    real = steps.decode_first_chunk

    def first(vae, params, z):
        gc.collect()
        held.append([ref() for ref in states if ref() is not None])
        result = real(vae, params, z)
        states.extend(map(weakref.ref, jax.tree.leaves(result[0])))
        return result

    monkeypatch.setattr(steps, "decode_first_chunk", first)
    # Shots of one chunk: nobody needs the state that it leaves.
    of = tiny_model()
    video = dataclasses.replace(of.preset.video, shot_frames=of.preset.memory.chunk)
    list(stream_generate(of, CAPTIONS, video=video))
    assert states and held == [[], [], []]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"cache_dtype": "int4"}, "cache_dtype 'int4' is not known; choose one of same, int8, fp8"),
        ({"decode_frames": 2}, "decode_frames 2 does not divide a chunk of 3 latent frames"),
        ({"text_memory": "disk"}, "text_memory 'disk' is not known; choose one of device, host"),
        ({"text_dtype": "fp8"}, "text_dtype 'fp8' is not known; choose one of same, int8"),
        ({"text_memory": "host", "mesh": True}, "text_memory host .* are for one device"),
        ({"text_dtype": "int8", "mesh": True}, "text_dtype int8 are for one device"),
        ({"dtype": "float8"}, "dtype 'float8' is not known; choose one of auto, float32, bfloat16"),
    ],
)
def test_a_wrong_option_is_one_line(option, message):
    if "mesh" in option:
        option = option | {"mesh": make_mesh({"tensor": 2}, jax.devices()[:2])}
    with pytest.raises(InputError, match=message):
        load("tiny", **option)
