"""What tests of training start from: a data set of random latents, and a checkpoint."""

import dataclasses
import pathlib

import numpy as np

from shotstream_jax.checkpoint.save import save
from shotstream_jax.data.dataset import (
    FORMAT_VERSION,
    Settings,
    claim_folder,
    finish_dataset,
    write_negative,
    write_shard,
)
from shotstream_jax.data.records import ClipRecord
from shotstream_jax.memory.select import candidates
from shotstream_jax.presets import Preset
from shotstream_jax.testing import tiny_model, tiny_preset
from shotstream_jax.world.class_maps import CLASSES


def make_dataset(
    folder: pathlib.Path,
    clips: int = 4,
    shots: int = 3,
    frames: int = 6,
    seed: int = 0,
    preset: Preset | None = None,
    caption: str = "c{}",
    masks: bool = True,
    labels: bool = True,
) -> pathlib.Path:
    """A complete folder as precompute leaves it.

    Every clip has `shots` shots of `frames` latent frames.

    caption: of each shot, with a place for its number. masks, labels: whether there are any.
    """
    preset = preset or tiny_preset()
    settings = _settings(preset, clips, frames)
    claim_folder(folder, settings)
    rng = np.random.default_rng(seed)
    write_negative(folder, _text(rng, preset))
    records = [
        make_clip(rng, preset, f"clip-{i:05d}", shots, frames, caption) for i in range(clips)
    ]
    if not masks:
        records = [dataclasses.replace(record, masks=[]) for record in records]
    if not labels:
        records = [dataclasses.replace(r, labels=[], context_labels=[]) for r in records]
    for number, shard in enumerate(settings.shards):
        write_shard(folder, shard, records[number :: len(settings.shards)])
    assert finish_dataset(folder, settings)
    return folder


def make_checkpoint(
    folder: pathlib.Path, seed: int = 0, preset: Preset | None = None
) -> pathlib.Path:
    """A native checkpoint with seeded random weights."""
    save(tiny_model(preset, seed), folder)
    return folder


def make_clip(
    rng: np.random.Generator,
    preset: Preset,
    name: str,
    shots: int,
    frames: int,
    caption: str = "c{}",
) -> ClipRecord:
    """A clip of random latents, embeddings, masks and labels; no two shots are alike."""
    pixels = 1 + (frames - 1) * preset.vae.time
    intervals = np.arange(shots)[:, None] * pixels + np.array([0, pixels])
    asked = [
        candidates(k, int(first), pixels, preset.memory.context)
        for k, (first, _) in enumerate(intervals)
    ]
    return ClipRecord(
        name=name,
        global_caption="G.",
        captions=tuple(caption.format(k) for k in range(shots)),
        shots=intervals,
        targets=[_latents(rng, preset, frames) for _ in range(shots)],
        frames=asked,
        context=[_latents(rng, preset, len(numbers)) for numbers in asked],
        text=[_text(rng, preset) for _ in range(shots)],
        masks=[_latents(rng, preset, frames)[..., 0] > 0 for _ in range(shots)],
        labels=[_labels(preset, frames, k) for k in range(shots)],
        context_labels=[_labels(preset, len(numbers), 100 + k) for k, numbers in enumerate(asked)],
    )


def _settings(preset: Preset, clips: int, frames: int) -> Settings:
    return Settings(
        format=FORMAT_VERSION,
        preset=preset.name,
        height=preset.video.height,
        width=preset.video.width,
        fps=preset.video.fps,
        context=preset.memory.context,
        shot_frames=frames,
        dtype="float32",
        checkpoint="random",
        negative_prompt="n",
        csv="none.csv",
        clips_sha256="0" * 64,
        shard_count=min(2, clips),
    )


def _latents(rng: np.random.Generator, preset: Preset, frames: int) -> np.ndarray:
    return rng.standard_normal(
        (frames, *preset.latent_grid(preset.video), preset.dit.channels)
    ).astype(np.float16)


def _labels(preset: Preset, frames: int, seed: int) -> np.ndarray:
    """Classes of the drawn world; half of all cells show nothing."""
    rng = np.random.default_rng(seed)
    shape = (frames, *preset.latent_grid(preset.video), len(CLASSES))
    something = rng.integers(1, CLASSES, shape)
    return (something * rng.integers(0, 2, shape)).astype(np.uint8)


def _text(rng: np.random.Generator, preset: Preset) -> np.ndarray:
    """The valid rows of an embedding: some, not all."""
    rows = int(rng.integers(3, preset.dit.text_len))
    return rng.standard_normal((rows, preset.dit.text_dim)).astype(np.float32)
