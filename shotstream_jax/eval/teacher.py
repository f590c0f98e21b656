"""Whole stories by a teacher, each shot after those that it made before: what a student is held against.

The stories' own side (generate/tell) is the student's: context, captions and pictures are made by the same code, only
a shot's latents come from the sampler, all of its chunks at once.
"""

import functools
import time
from collections.abc import Generator, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core import rng
from shotstream_jax.core.typing import Array
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.flow.solver import sample
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import Chunk
from shotstream_jax.generate.tell import Dispatched, Next, Start, tell
from shotstream_jax.model import Model, Params
from shotstream_jax.train.losses.flow_matching import Guidance, guided_velocity

# What a shot is made from, then its chunks; the answer to the former is the shot's latents [1, f, h, w, c].
Telling = Generator[Conditions | Dispatched, Array | None, None]


def teacher_stories(
    model: Model,
    stories: Sequence[tuple[Story, Sequence[str]]],
    guidance: Guidance,
    sampler_steps: int,
) -> Iterator[tuple[int, Chunk]]:
    """As generate.stream.stream_stories: (which story, its chunk), each story's in order.

    A shot of every story is sampled in one batch, so they should have as many shots. The negative prompt is an
    embedding of zeros: what a model that learned with dropped captions knows as none.
    """
    fixed = (
        Teacher(model.preset.dit, model.dtype),
        Schedule(sampler_steps, model.preset.steps.shift),
        guidance,
    )
    tellings = [_tell(model, story, captions) for story, captions in stories]
    asked = {row: next(telling, None) for row, telling in enumerate(tellings)}
    shot = 0
    while asked := {row: conditions for row, conditions in asked.items() if conditions}:
        began = time.perf_counter()
        noise = jnp.concatenate([_noise(model, stories[row][0], shot) for row in asked])
        conditions = jax.tree.map(lambda *a: jnp.concatenate(a), *asked.values())
        latents = _sample(*fixed, model.params["dit"], conditions, noise)
        for i, row in enumerate(asked):
            request = tellings[row].send(latents[i : i + 1])
            while isinstance(request, Dispatched):
                frames, seconds = np.asarray(request.pixels)[0], time.perf_counter() - began
                yield (
                    row,
                    Chunk(
                        request.shot,
                        request.chunk,
                        frames,
                        request.latents[0],
                        seconds,
                        request.story,
                    ),
                )
                request = next(tellings[row], None)
            asked[row] = request
        shot += 1


def _tell(model: Model, story: Story, captions: Sequence[str]) -> Telling:
    """A story that asks once for a shot, not for each chunk."""
    telling, answer, start, chunks = (
        tell(model, captions, story, lambda shot, chunk: None),
        None,
        None,
        [],
    )
    while True:
        try:
            request = telling.send(answer)
        except StopIteration:
            return
        answer = None
        if isinstance(request, Start):
            start = request
        elif isinstance(request, Next):
            if not chunks:
                x_0 = yield _conditions(start, request)
                chunks = jnp.split(x_0, x_0.shape[1] // model.preset.memory.chunk, axis=1)
            answer = chunks.pop(0)
        else:
            yield request


def _conditions(start: Start, chunk: Next) -> Conditions:
    ids = jax.tree.map(
        lambda context, own: jnp.concatenate([context, own[:, :1]], axis=1), start.ids, chunk.ids
    )
    return Conditions(start.context, ids, start.text)


def _noise(model: Model, story: Story, shot: int) -> Array:
    """A shot's, [1, f, h, w, c], of the story's seed."""
    key = rng.stream(jax.random.key(story.seed), "teacher", story.next_shot + shot)
    size = (
        story.video.shot_frames,
        *model.preset.latent_grid(story.video),
        model.preset.dit.channels,
    )
    return jax.random.normal(key, (1, *size))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _sample(
    teacher: Teacher,
    schedule: Schedule,
    guidance: Guidance,
    params: Params,
    conditions: Conditions,
    noise: Array,
) -> Array:
    velocity = guided_velocity(
        teacher, params, conditions, jnp.zeros_like(conditions.text[:1, 0]), guidance
    )
    return sample(velocity, noise, schedule)[0]
