"""The autoencoder's training: its loss, whole runs, and the statistics stored with the weights."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.checkpoint.load import load
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.rng import seed_key
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.testing import tiny_model, tiny_preset
from shotstream_jax.train import __main__ as train
from shotstream_jax.train.losses.reconstruction import (
    pixel_weights,
    reconstruct,
    reconstruction_error,
)
from shotstream_jax.train.stages.autoencoder import crop_to_characters
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE
from shotstream_jax.world.shots import WorldData, open_world
from tests.train.material import make_checkpoint

ROOT = pathlib.Path(__file__).parents[2]
PRESET = tiny_preset()
STORIES, FRAMES, CLIP = 4, 4, 3

encode = jax.jit(codec.encode, static_argnums=0)
encode_frame = jax.jit(codec.encode_frame, static_argnums=0)
decode = jax.jit(codec.decode, static_argnums=0)

FEW = [
    f"data.stories={STORIES}",
    f"data.frames={FRAMES}",
    f"clip={CLIP}",
    "data.held_out=2",
    "data.workers=0",
]
FEW += [
    "run.batch=2",
    "run.log_every=1",
    "run.save_every=10",
    "run.held_out_batches=1",
    "run.sample_every=20",
]
FEW += [
    "run.steps=20",
    "run.held_out_every=20",
    "optim.lr=0.01",
    "optim.decay=true",
    "measured=2",
]


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> pathlib.Path:
    return make_checkpoint(tmp_path_factory.mktemp("start") / "model")


@pytest.fixture(scope="module")
def runs(start, tmp_path_factory, stopped_after) -> tuple[pathlib.Path, pathlib.Path]:
    """Twenty steps at once, and ten and ten."""
    whole, halves = (tmp_path_factory.mktemp("runs") / name for name in ("whole", "halves"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "make_mesh", lambda lengths: make_mesh(lengths, jax.devices()[:1]))
        train.main(arguments(start, whole))
        stopped_after(10, train.main, arguments(start, halves))
        train.main(arguments(start, halves))
    return whole, halves


def arguments(start: pathlib.Path, workdir: pathlib.Path, *fields: str) -> list[str]:
    words = [f"--config.{field}" for field in (f"start.checkpoint={start}", *FEW, *fields)]
    return [f"--config={ROOT}/configs/autoencoder.py:tiny", *words, f"--workdir={workdir}"]


def rows(workdir: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_the_loss_falls(runs):
    held_out = [r for r in rows(runs[0]) if "held_out/loss" in r]
    assert [r["step"] for r in held_out] == [-1, 19]
    assert held_out[1]["held_out/loss"] < 0.85 * held_out[0]["held_out/loss"]
    assert held_out[1]["held_out/psnr"] > held_out[0]["held_out/psnr"] + 1
    assert (runs[0] / "samples" / "step_000020.mp4").stat().st_size > 500


def test_going_on_loses_no_bit(runs):
    whole, halves = (load(workdir / "model") for workdir in runs)
    jax.tree.map(np.testing.assert_array_equal, whole.params["vae"], halves.params["vae"])
    losses = [[(r["step"], r["loss"]) for r in rows(workdir) if "loss" in r] for workdir in runs]
    assert losses[0] == losses[1] and len(losses[0]) == 20


def test_the_result_normalises_its_latents(runs, start):
    """Latents of the training shots have mean 0 and variance 1 with the statistics on disk.

    Shots and frames encoded alone count half each.
    """
    model, before = load(runs[0] / "model"), load(start)
    assert model.preset.vae.mean != PRESET.vae.mean
    assert model.preset == dataclasses.replace(PRESET, vae=model.preset.vae)
    video = PRESET.video
    data = WorldData("simple", FRAMES, STORIES, held_out=1, workers=0)
    shots = open_world(
        data, video.height, video.width, video.fps, PRESET.vae.pixel_frames(FRAMES)
    ).train
    pixels = codec.from_uint8(jnp.stack([shots[i].pixels for i in range(STORIES)]))
    alone = pixels.reshape(-1, *pixels.shape[2:])
    encoded = (
        encode(model.vae, model.params["vae"], pixels),
        encode_frame(model.vae, model.params["vae"], alone),
    )
    means = [
        [jnp.mean(z**power, axis=tuple(range(z.ndim - 1))) for z in encoded] for power in (1, 2)
    ]
    np.testing.assert_allclose(sum(means[0]) / 2, 0, atol=1e-3)
    np.testing.assert_allclose(sum(means[1]) / 2, 1, atol=1e-3)
    for part in ("dit", "text"):
        jax.tree.map(np.testing.assert_array_equal, model.params[part], before.params[part])


def test_a_crop_lies_about_a_character_with_its_box():
    pixels = jax.random.randint(jax.random.key(0), (3, 2, 16, 24, 3), 0, 255, jnp.int32)
    boxes = jnp.array([[[10, 6, 14, 12], [0, 0, 0, 0]]] * 2)[None].repeat(3, 0)
    # Both roles are the same one, so that every crop is about it.
    boxes = boxes.at[:, :, 1].set(boxes[:, :, 0])
    whole = 0
    for seed in range(8):
        cut, moved = crop_to_characters(pixels.astype(jnp.uint8), boxes, (8, 12), seed_key(seed))
        assert cut.shape == (3, 2, 8, 12, 3)
        for story in range(3):
            left, top, right, bottom = np.asarray(moved[story, 0, 0])
            assert 0 <= left < right <= 12 and 0 <= top < bottom <= 8
            # Where all of the box is in the crop, its pixels are those of the box.
            if (right - left, bottom - top) == (4, 6):
                found = cut[story, :, top:bottom, left:right]
                np.testing.assert_array_equal(found, pixels[story, :, 6:12, 10:14])
                whole += 1
    assert 0 < whole < 24


def test_training_sees_what_the_stream_makes():
    """Without noise, the loss's round trip is encoding and decoding, piece by piece."""
    model = tiny_model(seed=2)
    params, raw = model.params["vae"], VAE(PRESET.vae.raw)
    pixels = jax.random.uniform(jax.random.key(0), (2, 7, 8, 12, 3), minval=-1, maxval=1)
    noise = jnp.zeros((2, 4, 4, 6, 4))
    made, mean, _ = jax.jit(reconstruct, static_argnums=0)(raw, params, pixels, noise)
    latents = encode(model.vae, params, pixels)
    std, shift = (jnp.asarray(a).reshape(1, 1, 1, 1, -1) for a in (PRESET.vae.std, PRESET.vae.mean))
    np.testing.assert_allclose(mean, latents * std + shift, atol=1e-5)
    np.testing.assert_allclose(jnp.clip(made, -1, 1), decode(model.vae, params, latents), atol=1e-5)


def test_processes_draw_the_same_shots():
    drawn = []
    for processes in (0, 2):
        data = WorldData("full", FRAMES, STORIES, 2, workers=1, processes=processes)
        world = open_world(data, 16, 24, 8, 5)
        drawn.append([world.train[number] for number in range(STORIES)])
    jax.tree.map(np.testing.assert_array_equal, *drawn)
    assert len({shot.pixels.tobytes() for shot in drawn[1]}) == STORIES


def test_what_weighs():
    """The first frame weighs T times as much, a box 1 + characters.

    The error of one pixel counts by itself and in the two edges next to it.
    """
    boxes = jnp.zeros((1, 2, 2, 4), jnp.int32).at[0, 1, 0].set(jnp.array([1, 0, 3, 2]))
    weights = pixel_weights(boxes, 3, 4, time=4, characters=2.0)[0, ..., 0]
    want = np.ones((2, 3, 4))
    want[0], want[1, :2, 1:3] = 4, 3
    np.testing.assert_array_equal(weights, want)
    pixels = jnp.zeros((1, 2, 3, 4, 3))
    made = pixels.at[0, 1, 0, 0].set(0.6)
    ones = jnp.ones((1, 2, 3, 4, 1))
    np.testing.assert_allclose(reconstruction_error(made, pixels, ones, 0.0), 0.6 / 24, rtol=1e-6)
    np.testing.assert_allclose(
        reconstruction_error(made, pixels, ones, 2.0),
        0.6 / 24 + 2 * (0.6 / 16 + 0.6 / 18),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    "field, message",
    [
        ("clip=5", "clip 5 must be from 1 to data.frames, 4"),
        ("crop_width=8", "crop_height 0, crop_width 8: give both"),
        (
            "trained.what=lora",
            "start.scratch with trained.what=lora: fresh weights must all be trained",
        ),
        ("loss.kl=-1.0", "no weight may be negative"),
        ("loss.kll=1.0", "no such field.*kll"),
        ("data.subset=none", "no subset of the world is called 'none'"),
        ("data.held_out=0", "data.held_out 0: at least 1"),
        ("data.frames=3", "3 latent frames is not a multiple of the chunk, 2"),
        ("measured=0", "measured 0 must be at least 1"),
        ("optim.b1=1.0", "0 ≤ b1 < 1"),
    ],
)
def test_bad_fields(start, tmp_path, field, message):
    with pytest.raises(InputError, match=message):
        train.main(arguments(start, tmp_path / "run", "run.batch=8", field))
    assert not (tmp_path / "run").exists()


def test_no_other_size():
    with pytest.raises(InputError, match="no preset is called"):
        train.main([f"--config={ROOT}/configs/autoencoder.py:wan-1.3b"])
