"""Where a story's shots come from: drawn, drawn and taken through an autoencoder, or made by a model.

Each source is a function of a story's number and the story, to its shots [shots, p, y, x, 3].
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.typing import UInt8, typechecked
from shotstream_jax.eval.files import Format
from shotstream_jax.eval.teacher import teacher_stories
from shotstream_jax.generate.story import Story as Memory
from shotstream_jax.generate.stream import new_story, stream_generate
from shotstream_jax.model import Model
from shotstream_jax.presets import VideoFormat
from shotstream_jax.train.losses.flow_matching import Guidance
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE
from shotstream_jax.world.render import render_shot
from shotstream_jax.world.story import WorldStory

Shots = UInt8[np.ndarray, "shots p y x 3"]
Source = Callable[[int, WorldStory], Shots]
Given = Callable[[Memory], Memory]
_ANOTHER = 1_000_003  # to a seed: none that a story of a run has


def rendered(form: Format) -> Source:
    """As they are drawn: what the probe itself gets wrong."""

    def make(_: int, story: WorldStory) -> np.ndarray:
        return np.stack(
            [render_shot(story, k, form.height, form.width)[0] for k in range(len(story.shots))]
        )

    return make


def reconstructed(form: Format, vae: VAE, params: dict) -> Source:
    """Drawn, encoded and decoded: no model of latents can be expected to do better."""
    draw = rendered(form)

    @jax.jit
    def there_and_back(pixels: jax.Array) -> jax.Array:
        z = codec.encode(vae, params, codec.from_uint8(pixels)[None])
        return codec.to_uint8(codec.decode(vae, params, z))[0]

    return lambda index, story: np.stack(
        [there_and_back(jnp.asarray(shot)) for shot in draw(index, story)]
    )


def generated(
    model: Model, video: VideoFormat, seed: int, given: Given = lambda memory: memory
) -> Source:
    """Streamed by a model from the captions alone; the seed of story i is `seed` + i.

    given: what a shot is given in place of what the story has left behind.
    """

    def make(index: int, story: WorldStory) -> np.ndarray:
        memory, shots = new_story(model, story.script.global_caption, seed + index, video), []
        for caption in story.script.shots:
            frames, memory = next_shot(model, caption, given(memory))
            shots.append(frames)
        return np.stack(shots)

    return make


def taught(
    model: Model, video: VideoFormat, seed: int, guidance: Guidance, sampler_steps: int
) -> Source:
    """By a teacher's sampler, from the captions alone: what its student is held against."""

    def make(index: int, story: WorldStory) -> np.ndarray:
        begin, shots = (
            new_story(model, story.script.global_caption, seed + index, video),
            [[] for _ in story.shots],
        )
        for _, chunk in teacher_stories(
            model, [(begin, story.script.shots)], guidance, sampler_steps
        ):
            shots[chunk.shot].append(chunk.frames)
        return np.stack([np.concatenate(frames) for frames in shots])

    return make


@typechecked
def next_shot(
    model: Model, caption: str, memory: Memory
) -> tuple[UInt8[np.ndarray, "p y x 3"], Memory]:
    """A shot, and the story with it."""
    chunks = list(stream_generate(model, [caption], story=memory))
    return np.concatenate([chunk.frames for chunk in chunks]), chunks[-1].story


def first_frames(memory: Memory) -> Memory:
    """Of each earlier shot its first frame only, as often as frames are asked for."""
    keep = lambda record: dataclasses.replace(
        record, latents=record.latents[:1] * len(record.latents)
    )
    return dataclasses.replace(memory, shots=tuple(map(keep, memory.shots)))


def nothing(memory: Memory) -> Memory:
    """As if each shot were the first one of a story of its own; the seed changes, or all shots would start alike."""
    return dataclasses.replace(memory, shots=(), seed=memory.seed + _ANOTHER)


def from_another_take(model: Model, video: VideoFormat, seed: int) -> Source:
    """Each later shot is given what another take has left behind: the same captions, another seed, other looks.

    What is kept then of the story's own first shot is kept by chance, if the model looks at what it is given.
    """

    def make(index: int, story: WorldStory) -> np.ndarray:
        begin = lambda seed: new_story(model, story.script.global_caption, seed, video)  # noqa: E731
        own, other, shots = begin(seed + index), begin(seed + index + _ANOTHER), []
        for number, caption in enumerate(story.script.shots):
            given = dataclasses.replace(other, seed=own.seed) if number else own
            shots.append(next_shot(model, caption, given)[0])
            _, other = next_shot(model, caption, other)
        return np.stack(shots)

    return make
