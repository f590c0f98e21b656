"""The live driver: prompts in one at a time, frames out after every chunk.

It drives live shots (generate/live). The host waits for a device only to hand out a chunk's frames,
and only after the next chunk has been started. A model on a mesh (checkpoint/load) uses all devices
of the mesh for each chunk; callers need not set the mesh.
"""

import collections
import dataclasses
import functools
import time
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.settings import each_under_own_settings
from shotstream_jax.core.typing import Array, Float, UInt8
from shotstream_jax.generate.asked import Picture, Shot
from shotstream_jax.generate.check import (
    check_model,
    check_shot,
    check_story,
    warn_of_unknown_weights,
)
from shotstream_jax.generate.live import NoiseSource, advance, begin, retell
from shotstream_jax.generate.progress import DecodedChunk, warn_of_prompt
from shotstream_jax.generate.story import Story
from shotstream_jax.memory.choose import PAPER
from shotstream_jax.model import Model
from shotstream_jax.presets import VideoFormat
from shotstream_jax.text.prompts import check_shots

_END: Any = object()  # after the last shot


@dataclasses.dataclass(frozen=True, eq=False)
class Chunk:
    """What leaves the stream.

    shot, chunk: numbers from 0.
    frames: the decoded pictures.
    latents: what they were decoded from.
    seconds: since the frames before, or since the shot's prompt came if that was later. What the
      caller did in between is included.
    story: after a shot's last chunk, the story so far.
    """

    shot: int
    chunk: int
    frames: UInt8[np.ndarray, "p y x 3"]
    latents: Float[Array, "f h w c"]
    seconds: float
    story: Story | None = None


def stream_generate(
    model: Model,
    shots: Iterable[str | Shot],
    *,
    story: Story | None = None,
    global_caption: str = "",
    seed: int = 0,
    video: VideoFormat | None = None,
    noise: NoiseSource | None = None,
) -> Iterator[Chunk]:
    """Makes a story shot by shot: a generator over compiled steps.

        model = load("tiny")
        captions = ["The frog is dancing in the meadow.", "The frog jumps."]
        for chunk in stream_generate(model, captions, global_caption="A cartoon about a frog."):
            show(chunk.frames)  # uint8 [frames, height, width, 3]

    Args:
      model: the weights and sizes (`load`).
      shots: the captions of the shots, as texts, or Shots with a take or a length of their own. Of
        a list (any sequence, or an array) all are checked now, and the next shot is begun while the
        last frames of the shot before are on their way. Any other iterable is lazy: the next shot
        is asked for only when the one before is done and handed out, and checked then; the shots
        before it are not lost.
      story: a story to continue; it brings its own global caption, seed and format.
      global_caption: what all shots share. A full stop should end it.
      seed: the same seed and prompts give the same frames; −2⁶³ to 2⁶³ − 1.
      video: pixels and latent frames a shot (default: the model's own).
      noise: (shot, chunk) → the noise of each chunk, in place of the seed's.

    Yields:
      A Chunk after every chunk of latent frames; a shot's last one has the story so far.

    Raises:
      InputError: a ValueError of one line; before the work starts, if the arguments do not fit each
        other or the model; during it, for a lazy caption that is no text.
    """
    # 1. The story to begin or to continue, checked.
    if story is None:
        story = new_story(model, global_caption, seed, video)
    elif global_caption or seed or video is not None:
        raise InputError(
            "a story to be continued brings its own global_caption, seed and video: leave them out"
        )
    check_story(model, story)
    warn_of_unknown_weights(model, story)
    check = functools.partial(check_shot, model, story.video)
    asked = check_shots(shots, story.next_shot, check)
    # 2. Its chunks, each handed out when the next one has been started.
    made = _make_chunks(model, story, asked, noise)
    return (chunk for _, chunk in each_under_own_settings(hand_out(made, stories=1)))


def _make_chunks(
    model: Model, story: Story, asked: Iterable[str | Shot], noise: NoiseSource | None
) -> Iterator[tuple[int, DecodedChunk] | None]:
    """Starts one chunk after another, as story 0; None before a prompt is waited for."""
    # Asking for a lazy caption may take as long as a person types.
    is_lazy = not isinstance(asked, list)
    coming = iter(asked)
    caches = None
    while True:
        if is_lazy:
            yield None
        shot = next(coming, _END)
        if shot is _END:
            return
        # The caches go from shot to shot.
        live = begin(model, story, shot, caches=caches, noise=noise)
        warn_of_prompt(model, story, live.progress.caption)
        while not live.is_finished:
            live, chunk = advance(model, live)
            yield 0, chunk
        caches = live.caches
        story = live.story
        # What was shown is not held on to: a shot's decoder has gigabytes of state, which must be
        # gone when the next shot begins.
        del live, chunk


def new_story(
    model: Model,
    global_caption: str = "",
    seed: int = 0,
    video: VideoFormat | None = None,
    memory: str = PAPER,
) -> Story:
    """A story without shots.

    Args:
      model: the weights and sizes.
      global_caption: what all shots share. A full stop should end it.
      seed: of all noise, −2⁶³ to 2⁶³ − 1.
      video: pixels and latent frames a shot (default: the model's own).
      memory: the rule by which shots remember earlier ones, of memory/choose.RULES.

    Raises InputError for a value of another kind.
    """
    check_model(model)
    return Story(
        global_caption=global_caption,
        seed=seed,
        preset=model.preset.name,
        video=video or model.preset.video,
        context=model.preset.memory.context,
        fingerprint=model.fingerprint,
        memory=memory,
    )


def warm_up(model: Model, video: VideoFormat | None = None) -> None:
    """Compiles (or fetches) every program of the stream, so that the first prompt need not wait.

    Two shots of two chunks run all programs of a stream; the length of a shot changes none of them.
    """
    video = video or model.preset.video
    short = dataclasses.replace(video, shot_frames=2 * model.preset.memory.chunk)
    story = new_story(model, video=short)
    # A caption without words, so that no vocabulary lacks one.
    for chunk in stream_generate(model, [".", "."], story=story):
        story = chunk.story or story
    # What a storyteller does beside: a picture is given, and another caption in mid-shot.
    black = np.zeros((video.height, video.width, 3), np.uint8)
    live = retell(model, begin(model, story, Shot(".", pictures=(Picture(black),))), ".")
    jax.block_until_ready(live.caches)


def hand_out(
    made: Iterator[tuple[int, DecodedChunk] | None], stories: int
) -> Iterator[tuple[int, Chunk]]:
    """Hands out every story's chunk once the story's next one has been started.

    made: the chunks as they are started, or None before a prompt is waited for: then everything
    that has been started is handed out first.
    """
    ahead: collections.deque[tuple[int, DecodedChunk]] = collections.deque()
    handed_out_at = [0.0] * stories  # when each story's frames last arrived

    def wait_for_oldest() -> tuple[int, Chunk]:
        """The oldest chunk that has been started, once its frames are there."""
        row, chunk = ahead.popleft()
        frames = np.asarray(chunk.pixels)[0]  # waits for the device
        now = time.perf_counter()
        seconds = now - max(handed_out_at[row], chunk.asked)
        handed_out_at[row] = now
        latents = chunk.latents[0]
        return row, Chunk(chunk.shot, chunk.chunk, frames, latents, seconds, chunk.story)

    # One chunk of every story may be ahead: when the next one comes, the oldest is due.
    for chunk in made:
        while ahead and (chunk is None or len(ahead) == stories):
            yield wait_for_oldest()
        if chunk is not None:
            ahead.append(chunk)
    while ahead:
        yield wait_for_oldest()
