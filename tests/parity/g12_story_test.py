"""Group 12: whole stories through the live stream, with the reference's draws plugged in."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.generate.progress import begin_shot
from shotstream_jax.generate.stream import Chunk, stream_generate
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.model import Model
from shotstream_jax.testing import cast
from shotstream_jax.text.tokenizer import ByteTokenizer
from shotstream_jax.vae import codec
from tests.parity.reference import (
    CHUNK,
    CONFIG,
    FEW_STEPS,
    arrays,
    preset,
    video_last,
    weights,
    window_sizes,
)

DATA = arrays("g12_e2e.npz")
GLOBAL, CAPTIONS = "Zx.", ("cat", "dog", "hen", "owl", "bee")


def story_latents() -> dict[str, list[np.ndarray]]:
    """The recorded latents of all stories but `wo_rope`, which is not reproduced."""
    found: dict[str, list[np.ndarray]] = {}
    for key in DATA:
        match = re.fullmatch(r"out/(\w+)/shot(\d+)/latents", key)
        if match and match[1] != "wo_rope":
            shots = found.setdefault(match[1], [])
            assert int(match[2]) == len(shots)
            shots.append(DATA[key])
    return found


def shot_frames(variant: str) -> int:
    """Latent frames of each shot."""
    return LATENTS[variant][0].shape[1]


# Each variant's latents [1, frames, c, h, w], shot by shot.
LATENTS = story_latents()
SHOTS = [(variant, shot) for variant, shots in LATENTS.items() for shot in range(len(shots))]
SKIPPED = pytest.param(
    "wo_rope", marks=pytest.mark.skip(reason="keys cached without rotation: not to be reproduced")
)


decode = jax.jit(codec.decode, static_argnums=0)


def model_of(variant: str) -> Model:
    memory = MemoryConfig(context=CONFIG["cond"], chunk=CHUNK, **window_sizes(variant))
    params = {
        "dit": weights("dit", "generator"),
        "vae": weights("vae", "vae"),
        "text": weights("text", "t5"),
    }
    return Model(
        preset(memory, shot_frames(variant)),
        cast(params, jnp.float32),
        ByteTokenizer(),
        jnp.float32,
        "fixture",
    )


def recorded_noise(variant: str):
    """Draws in the reference's order.

    For each shot one for all its frames, then for each chunk one for each later step.
    """
    draws = [
        DATA[k] for k in sorted(k for k in DATA if re.fullmatch(rf"in/draws_{variant}_\d+", k))
    ]
    assert len(draws) == DATA[f"out/{variant}/num_draws"]
    later = len(FEW_STEPS.nominal) - 1
    a_shot = 1 + shot_frames(variant) // CHUNK * later

    def noise(shot: int, chunk: int):
        start = draws[shot * a_shot][:, chunk * CHUNK : (chunk + 1) * CHUNK]
        first = shot * a_shot + 1 + chunk * later
        fresh = [d[None] for d in draws[first : first + later]]
        return jnp.stack([video_last(d) for d in (start, *fresh)])

    return noise


@functools.cache
def run(variant: str) -> list[Chunk]:
    captions = CAPTIONS[: len(LATENTS[variant])]
    return list(
        stream_generate(
            model_of(variant), captions, global_caption=GLOBAL, noise=recorded_noise(variant)
        )
    )


def shot_latents(variant: str, shot: int) -> jnp.ndarray:
    return jnp.concatenate([c.latents for c in run(variant) if c.shot == shot])[None]


@pytest.mark.parametrize(
    "variant, shot", SHOTS, ids=lambda v: f"g12-{v}" if isinstance(v, str) else f"shot{v}"
)
def test_shot(variant, shot, close):
    model, key = model_of(variant), f"out/{variant}/shot{shot}"
    stories = [c.story for c in run(variant) if c.story]
    caption = stories[shot].shots[-1].caption
    before = (
        stories[shot - 1]
        if shot
        else stories[0].__class__(GLOBAL, 0, "fixture", model.preset.video, CONFIG["cond"])
    )
    conditions = begin_shot(model, before, caption).conditions
    close(conditions.context, video_last(DATA[f"{key}/condition_latents"]), "context")
    assert conditions.context_ids().phase[0].tolist() == DATA[f"{key}/context_flags"].tolist()
    close(shot_latents(variant, shot), video_last(DATA[f"{key}/latents"]), "latents")
    if f"{key}/prompt_embeds" in DATA:
        want = DATA[f"{key}/prompt_embeds"]
        close(conditions.text[0, : len(want)], want, "captions")


@pytest.mark.parametrize("variant", [*LATENTS, SKIPPED], ids=lambda v: f"g12-{v}-video")
def test_video(variant, close):
    """In [0, 1]; the streamed bytes are the same frames, rounded."""
    model = model_of(variant)
    decoded = [
        decode(model.vae, model.params["vae"], shot_latents(variant, s))[0] / 2 + 0.5
        for s in range(len(LATENTS[variant]))
    ]
    video = np.concatenate(decoded)
    streamed = np.concatenate([c.frames for c in run(variant)])
    assert np.abs(streamed - video * 255).max() <= 0.51
    if f"out/{variant}/video" in DATA:
        close(video, video_last(DATA[f"out/{variant}/video"])[0], "video")
    else:
        close(
            video.mean((1, 2, 3)),
            DATA[f"out/{variant}/video_mean_per_frame"][0],
            "mean of each frame",
        )
        close(
            video[-1], np.moveaxis(DATA[f"out/{variant}/video_last_frame"][0], 0, -1), "last frame"
        )
