"""Where a story's shots come from: drawn, drawn and reconstructed, or made by a model.

Each source is a function of a story's number and the story, to its shots [shots, p, y, x, 3].
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.typing import Params, UInt8, typechecked
from shotstream_jax.eval.probe_files import ShotFormat
from shotstream_jax.generate.sampler import SamplerConfig
from shotstream_jax.generate.story import Story as StreamedStory
from shotstream_jax.generate.stream import new_story, stream_generate
from shotstream_jax.generate.teacher_stories import teacher_stories
from shotstream_jax.model import Model
from shotstream_jax.presets import VideoFormat
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE
from shotstream_jax.world.render import render_shot
from shotstream_jax.world.story import WorldStory

ShotSource = Callable[[int, WorldStory], UInt8[np.ndarray, "shots p y x 3"]]

# What a shot is made from, in place of the story so far.
HistoryChange = Callable[[StreamedStory], StreamedStory]

# Added to a story's seed for another take of it: more than a run has stories, so that none has this
# seed already.
_OTHER_TAKE_SEED = 1_000_003


def rendered_source(shot_format: ShotFormat) -> ShotSource:
    """Stories as they are drawn: their scores show what the probe itself gets wrong."""

    def draw_shots(_: int, story: WorldStory) -> np.ndarray:
        """Renders every shot; the boxes of its roles are not needed."""
        shots = []
        for number in range(len(story.shots)):
            pixels, _boxes = render_shot(
                story,
                number,
                shot_format.height,
                shot_format.width,
            )
            shots.append(pixels)
        return np.stack(shots)

    return draw_shots


def reconstructed_source(
    shot_format: ShotFormat,
    vae: VAE,
    params: Params,
) -> ShotSource:
    """Stories drawn, encoded and decoded: no model of latents can be expected to do better."""
    draw_shots = rendered_source(shot_format)

    @jax.jit
    def reconstruct(pixels: jax.Array) -> jax.Array:
        """Encodes and decodes one shot [p, y, x, 3] uint8."""
        # [1, p, y, x, 3] → [1, f, h, w, c]: the autoencoder wants a batch.
        latents = codec.encode(vae, params, codec.from_uint8(pixels)[None])
        return codec.to_uint8(codec.decode(vae, params, latents))[0]

    def reconstruct_shots(index: int, story: WorldStory) -> np.ndarray:
        """Draws and reconstructs every shot."""
        shots = draw_shots(index, story)
        reconstructed = []
        for shot in shots:
            reconstructed.append(np.asarray(reconstruct(jnp.asarray(shot))))
        return np.stack(reconstructed)

    return reconstruct_shots


def keep_history(story: StreamedStory) -> StreamedStory:
    """The story as it is: a shot sees its own earlier shots."""
    return story


def keep_first_frames(story: StreamedStory) -> StreamedStory:
    """Only the first frame of each earlier shot, repeated as often as frames are asked for."""
    shots = []
    for record in story.shots:
        repeated = record.latents[:1] * len(record.latents)
        shots.append(dataclasses.replace(record, latents=repeated))
    return dataclasses.replace(story, shots=tuple(shots))


def drop_history(story: StreamedStory) -> StreamedStory:
    """As if each shot were the first one of its own story.

    The seed changes, or all shots would start alike.
    """
    return dataclasses.replace(story, shots=(), seed=story.seed + _OTHER_TAKE_SEED)


def generated_source(
    model: Model,
    video: VideoFormat,
    seed: int,
    change_history: HistoryChange = keep_history,
) -> ShotSource:
    """Stories streamed by a model from the captions alone; the seed of story i is `seed` + i.

    change_history: what a shot is made from, in place of the story so far.
    """

    def generate_shots(index: int, story: WorldStory) -> np.ndarray:
        """Makes each shot from the changed story so far, and goes on with the story it returns."""
        so_far = new_story(model, story.script.global_caption, seed + index, video)
        shots = []
        for caption in story.script.shots:
            frames, so_far = next_shot(model, caption, change_history(so_far))
            shots.append(frames)
        return np.stack(shots)

    return generate_shots


def other_take_source(
    model: Model,
    video: VideoFormat,
    seed: int,
) -> ShotSource:
    """Stories whose later shots see another take's earlier shots: the same captions, another seed.

    If the model looks at its context, its shots keep the appearances of the other take, and those
    of the story's own first shot only by chance.
    """

    def generate_shots(index: int, story: WorldStory) -> np.ndarray:
        """Makes two takes side by side, and returns the shots that follow the other take's."""
        caption_of_all = story.script.global_caption
        own = new_story(model, caption_of_all, seed + index, video)
        other = new_story(
            model,
            caption_of_all,
            seed + index + _OTHER_TAKE_SEED,
            video,
        )
        shots = []
        for number, caption in enumerate(story.script.shots):
            # The first shot is the story's own; later ones see the other take.
            so_far = own
            if number > 0:
                so_far = dataclasses.replace(other, seed=own.seed)
            frames, _ = next_shot(model, caption, so_far)
            shots.append(frames)
            # The other take goes on with its own shots.
            _, other = next_shot(model, caption, other)
        return np.stack(shots)

    return generate_shots


def teacher_source(
    model: Model,
    video: VideoFormat,
    seed: int,
    sampler: SamplerConfig,
) -> ShotSource:
    """Stories by a teacher's sampler, from the captions alone: its student's standard."""

    def sample_shots(index: int, story: WorldStory) -> np.ndarray:
        """Collects the chunks of each shot."""
        # The teacher makes several stories at once; here it is one.
        start = new_story(model, story.script.global_caption, seed + index, video)
        request = (start, story.script.shots)
        chunks_of_shots: dict[int, list[np.ndarray]] = {}
        for _, chunk in teacher_stories(model, [request], sampler):
            chunks_of_shots.setdefault(chunk.shot, []).append(chunk.frames)
        # Chunks of a shot, one after the other: [p, y, x, 3] each.
        shots = []
        for chunks in chunks_of_shots.values():
            shots.append(np.concatenate(chunks))
        return np.stack(shots)

    return sample_shots


@typechecked
def next_shot(
    model: Model,
    caption: str,
    so_far: StreamedStory,
) -> tuple[UInt8[np.ndarray, "p y x 3"], StreamedStory]:
    """The frames of a story's next shot, and the story with it."""
    # The story's stream ends with its only caption.
    chunks = list(stream_generate(model, [caption], story=so_far))
    frames = np.concatenate([chunk.frames for chunk in chunks])
    story = chunks[-1].story
    assert story is not None  # the last chunk of a shot has it
    return frames, story
