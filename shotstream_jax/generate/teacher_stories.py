"""Whole stories by a teacher, each shot after those that it made: what a student is compared with.

The story's side (generate/progress) is the student's: conditions, captions and pictures are made by
the same code. Only a shot's latents come from the teacher's sampler, all of its chunks at once.
"""

import functools
import time
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core import rng
from shotstream_jax.core.typing import Array, Params
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.generate.progress import add_chunk, begin_shot, warn_of_prompt
from shotstream_jax.generate.sampler import Guidance, SamplerConfig, sample_shot
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import Chunk
from shotstream_jax.model import Model


def teacher_stories(
    model: Model, stories: Sequence[tuple[Story, Sequence[str]]], sampler: SamplerConfig
) -> Iterator[tuple[int, Chunk]]:
    """Several stories side by side, as generate.side_by_side.stream_stories makes them.

    A shot of every story is sampled in one batch, so the stories should have equally many shots.
    The
    negative prompt is an embedding of zeros: what a model trained with dropped captions knows as
      none.

    Args:
      stories: (story, captions of its next shots).

    Yields:
      (which story, its chunk), the chunks of each story in order.
    """
    teacher = Teacher(model.preset.dit, model.dtype)
    schedule = Schedule(sampler.steps, model.preset.steps.shift)
    params = model.params["dit"]
    # Each story as it is after its last finished shot.
    current = [story for story, _ in stories]
    longest = max(len(captions) for _, captions in stories)
    for number in range(longest):
        began = time.perf_counter()
        # 1. The shot of every story that has one more.
        live = {}
        for row, (_, captions) in enumerate(stories):
            if number < len(captions):
                live[row] = begin_shot(model, current[row], captions[number])
                warn_of_prompt(model, current[row], captions[number])
        # 2. All of their latents at once: [stories, f, h, w, c].
        conditions = jax.tree.map(
            lambda *arrays: jnp.concatenate(arrays),
            *[shot.conditions for shot in live.values()],
        )
        noise = jnp.concatenate([_shot_noise(model, shot.story) for shot in live.values()])
        latents = _sample(teacher, schedule, sampler.guidance, params, conditions, noise)
        # 3. Each story decodes its shot, chunk by chunk.
        for i, row in enumerate(live):
            for x_0 in _chunks(latents[i : i + 1], model.preset.memory.chunk):
                live[row], chunk = add_chunk(model, live[row], x_0)
                frames = np.asarray(chunk.pixels)[0]
                seconds = time.perf_counter() - began
                if chunk.story is not None:
                    current[row] = chunk.story
                yield (
                    row,
                    Chunk(chunk.shot, chunk.chunk, frames, chunk.latents[0], seconds, chunk.story),
                )


def _chunks(latents: Array, frames: int) -> list[Array]:
    """A shot's latents cut into chunks of so many frames."""
    return jnp.split(latents, latents.shape[1] // frames, axis=1)


def _shot_noise(model: Model, story: Story) -> Array:
    """The noise [1, f, h, w, c] of the story's next shot, from the story's seed."""
    key = rng.stream(rng.seed_key(story.seed), "teacher", story.next_shot)
    grid = model.preset.latent_grid(story.video)
    shape = (1, story.video.shot_frames, *grid, model.preset.dit.channels)
    return jax.random.normal(key, shape, jnp.float32)


@functools.partial(jax.jit, static_argnames=("teacher", "schedule", "guidance"))
def _sample(
    teacher: Teacher,
    schedule: Schedule,
    guidance: Guidance,
    params: Params,
    conditions: Conditions,
    noise: Array,
) -> Array:
    negative = jnp.zeros_like(conditions.text[:1, 0])  # [1, l, e]
    return sample_shot(teacher, schedule, params, conditions, negative, noise, guidance)
