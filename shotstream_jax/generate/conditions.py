"""What a shot is conditioned on: the context latents, every frame's ids, and the captions in their slots."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.typing import Array
from shotstream_jax.generate.story import Story
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.presets import Preset


class Conditions(NamedTuple):
    """context [1, C, h, w, c] · ids of the C context frames · ids of a chunk's frames · text [1, C + 1, l, e]."""

    context: Array
    context_ids: FrameIds
    chunk_ids: FrameIds
    text: Array


def shot_conditions(preset: Preset, story: Story, text: Array) -> Conditions:
    """Conditions of the story's next shot, whose prompt's embedding is `text` [1, l, e].

    A context frame has its shot's number as phase and reads that shot's caption; the slots hold the captions of the
    story's live shots, then the shot's own. Before the first shot: C zero latents of shot 0, and the shot is shot 1.
    """
    memory = preset.memory
    if story.shots:
        pick = story.pick()
        latents = jnp.stack(
            [_latent(story, int(f), int(s)) for f, s in zip(pick.frames, pick.shots, strict=True)],
            axis=1,
        )
        phases, phase = pick.shots, story.next_shot
        slots, slot = pick.shots - story.shots[0].number, len(story.shots)
    else:
        latents = jnp.zeros(
            (1, memory.context, *preset.latent_grid(story.video), preset.dit.channels)
        )
        phases, phase = np.zeros(memory.context), 1
        slots, slot = np.zeros(memory.context), 0
    captions = [record.text for record in story.shots] + [text]
    captions += [jnp.zeros_like(text)] * (memory.captions - len(captions))
    chunk = np.ones(memory.chunk)
    return Conditions(
        latents,
        _ids(phases, slots),
        _ids(phase * chunk, slot * chunk),
        jnp.stack(captions, axis=1),
    )


def _ids(phase: np.ndarray, caption: np.ndarray) -> FrameIds:
    return FrameIds(*(jnp.asarray(a[None], jnp.int32) for a in (phase, caption)))


def _latent(story: Story, frame: int, shot: int) -> Array:
    """A kept frame's latent; memory/select keeps every frame that it can pick."""
    record = story.shots[shot - story.shots[0].number]
    return record.latents[int(np.flatnonzero(record.frames == frame)[0])]
