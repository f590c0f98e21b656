"""The live drivers: prompts in one at a time, frames out after every chunk.

One story, or several side by side.

A step of the transformer makes the next chunk of every story; each story has its own prompts, seed,
number of shots and length of a shot. The host waits for a device only to hand out a chunk's frames,
and only after the next chunk has been started. A model on a mesh (checkpoint/load) uses all devices
of the mesh for each chunk; callers need not set the mesh.
"""

import collections
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import Mesh

from shotstream_jax.core import rng
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, UInt8
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.live import (
    DecodedChunk,
    LiveShot,
    add_chunk,
    begin_shot,
    to_device_of,
)
from shotstream_jax.generate.story import Story
from shotstream_jax.memory.cache import Caches, FrameIds
from shotstream_jax.model import Model
from shotstream_jax.presets import Preset, VideoFormat
from shotstream_jax.text.prompts import check_caption, check_shots

# (shot, chunk) → the chunk's noise [steps, 1, f, h, w, c]
NoiseSource = Callable[[int, int], Array]


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
    shots: Iterable[str],
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
      shots: the captions of the shots, as texts. Of a list (any sequence, or an array) all are
        checked now, and the next shot is begun while the last frames of the shot before are on
        their way. Any other iterable is lazy: the next caption is asked for only when the shot
        before is done and handed out, and checked then; the shots before it are not lost.
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
    _check(model, story, stories=1)
    # 2. Its run, by itself.
    run = _new_run(model, story, shots, noise)
    grid = model.preset.latent_grid(story.video)
    handed_out = _hand_out(_make_chunks(model, [run], grid), stories=1)
    return (chunk for _, chunk in handed_out)


def stream_stories(
    model: Model, stories: Sequence[tuple[Story, Iterable[str]]]
) -> Iterator[tuple[int, Chunk]]:
    """Several independent stories side by side.

    Args:
      model: the weights and sizes.
      stories: (story, captions of its next shots); `new_story` makes one. A story that ends early
        leaves its place in the batch empty. Lazy captions hold all stories up while they are waited
        for.

    Yields:
      (which story, its chunk), the chunks of each story in order.

    Raises:
      InputError: as stream_generate.
    """
    # All stories are checked before any work is done.
    if not stories:
        raise InputError("there are no stories to stream")
    runs = []
    for story, shots in stories:
        _check(model, story, len(stories))
        # Each has its own prompts and noise; the transformer's steps they share.
        runs.append(_new_run(model, story, shots))
    grids = {model.preset.latent_grid(story.video) for story, _ in stories}
    if len(grids) > 1:
        raise InputError(
            f"stories side by side must have one picture size; their latents are {sorted(grids)}"
        )
    return _hand_out(_make_chunks(model, runs, grids.pop()), len(stories))


def new_story(
    model: Model, global_caption: str = "", seed: int = 0, video: VideoFormat | None = None
) -> Story:
    """A story without shots. video: pixels and latent frames a shot (default: the model's own).

    Raises InputError for a value of another kind.
    """
    _check_model(model)
    return Story(
        global_caption=global_caption,
        seed=seed,
        preset=model.preset.name,
        video=video or model.preset.video,
        context=model.preset.memory.context,
        fingerprint=model.fingerprint,
    )


def warm_up(model: Model, video: VideoFormat | None = None) -> None:
    """Compiles (or fetches) every program of the stream, so that the first prompt need not wait.

    Two shots of two chunks run all programs; the length of a shot changes none of them.
    """
    video = video or model.preset.video
    short = dataclasses.replace(video, shot_frames=2 * model.preset.memory.chunk)
    # A caption without words, so that no vocabulary lacks one.
    for _ in stream_generate(model, [".", "."], video=short):
        pass


def check_stream_mesh(preset: Preset, mesh: Mesh, video: VideoFormat, stories: int = 1) -> None:
    """Refuses a mesh over which heads, a frame's tokens or the stories do not divide."""
    preset.check_mesh(mesh.shape, preset.latent_grid(video))
    if stories % mesh.shape["data"]:
        raise InputError(
            f"{stories} stories do not divide over mesh.data={mesh.shape['data']}: each device "
            "along data has a part of the stories; for a single story use sequence or tensor"
        )


def _check(model: Model, story: Story, stories: int) -> None:
    """Refuses what the model cannot stream."""
    _check_model(model)
    if not isinstance(story, Story):
        raise InputError(f"story must be a Story, not {story!r:.40}: Story.load reads a kept one")
    story.check(model.preset, model.fingerprint)
    if story.shots and model.fingerprint and not story.fingerprint:
        logging.warning("the story does not say by which weights it was made: they may be others")
    model.preset.latent_grid(story.video)
    mesh = model.mesh()
    if mesh is not None:
        check_stream_mesh(model.preset, mesh, story.video, stories)


def _check_model(model: object) -> None:
    """Refuses what is no model, like a checkpoint's name."""
    if not isinstance(model, Model):
        raise InputError(f"model must be what load() gives, not {model!r:.40}")


def _new_run(
    model: Model, story: Story, shots: Iterable[str], noise: NoiseSource | None = None
) -> "_StoryRun":
    """A story's run, its captions checked. noise: in place of the seed's."""
    captions = check_shots(shots, story.next_shot)
    if noise is None:
        noise = _seeded_noise(model, story)
    return _StoryRun(story, iter(captions), not isinstance(captions, list), noise)


def _seeded_noise(model: Model, story: Story) -> NoiseSource:
    """The noise that a story's seed stands for."""
    preset = model.preset
    root = rng.seed_key(story.seed)
    grid = preset.latent_grid(story.video)
    shape = (len(preset.steps.nominal), 1, preset.memory.chunk, *grid, preset.dit.channels)

    def noise(shot: int, chunk: int) -> Array:
        """A chunk's noise."""
        return steps.draw_noise(root, 0, shot, chunk, shape)

    return noise


def _hand_out(
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


@dataclasses.dataclass
class _StoryRun:
    """One story while it is streamed.

    story: as it was after its last finished shot.
    captions: of the shots to come. is_lazy: asking for one may take as long as a person types.
    live: the shot in the making; None between two shots, and when the story has ended.
    """

    story: Story
    captions: Iterator[str]
    is_lazy: bool
    noise: NoiseSource
    live: LiveShot | None = None
    has_ended: bool = False


def _make_chunks(
    model: Model, runs: Sequence[_StoryRun], grid: tuple[int, int]
) -> Iterator[tuple[int, DecodedChunk] | None]:
    """Starts the next chunk of all stories with one step of the transformer, again and again.

    Yields (which story, its chunk), or None before a prompt is waited for.
    """
    params = model.params["dit"]
    caches = _new_caches(model, len(runs), grid)
    while True:
        # 1. Each story that is between two shots begins its next one, or ends.
        started: list[tuple[int, Conditions]] = []
        for row, run in enumerate(runs):
            if run.live is not None or run.has_ended:
                continue
            if run.is_lazy:
                yield None
            _begin_next_shot(model, run)
            if run.live is not None:
                started.append((row, run.live.conditions))
        live = {row: run.live for row, run in enumerate(runs) if run.live is not None}
        if not live:
            return

        # 2. Their context and captions go into the caches.
        for row, conditions in started:
            caches = _prefill(model, conditions, row, caches)

        # 3. One step makes the next chunk of every story: x_0 [stories, f, h, w, c].
        noise, ids = _inputs_side_by_side(model, runs, live)
        with model.on_mesh():
            x_0, caches = steps.chunk_step(
                model.student, params, noise, ids, caches, model.preset.steps
            )

        # 4. Each story decodes its own chunk.
        for row, shot in live.items():
            latents = x_0
            if len(runs) > 1:
                latents = steps.take_story(x_0, jnp.int32(row))
            grown, chunk = add_chunk(model, shot, latents)
            if chunk.story is None:
                runs[row].live = grown
            else:
                runs[row].live = None
                runs[row].story = chunk.story
            yield row, chunk
        # What was shown is not held on to: a shot's decoder has gigabytes of state, which must be
        # gone when the next shot begins.
        del live, shot, grown, chunk

        # 5. The clean chunk goes into the local cache, unless every shot is finished: nobody reads
        # the keys and values of a shot's last chunk.
        if any(run.live is not None for run in runs):
            with model.on_mesh():
                caches = steps.commit(model.student, params, x_0, ids, caches)


def _begin_next_shot(model: Model, run: _StoryRun) -> None:
    """Takes the story's next caption and begins its shot; without a caption the story has ended."""
    try:
        caption = next(run.captions)
    except StopIteration:
        run.has_ended = True
        return
    caption = check_caption(caption, f"the caption of shot {run.story.next_shot + 1}")
    run.live = begin_shot(model, run.story, caption)


def _prefill(model: Model, conditions: Conditions, row: int, caches: Caches) -> Caches:
    """Puts one story's context and captions into its place in the caches."""
    params = model.params["dit"]
    context = to_device_of(params, conditions.context)
    ids = conditions.context_ids()
    several = caches.fill.shape[0] > 1
    # With several stories, one is filled alone and then put beside the others.
    target = _new_caches(model, 1, context.shape[2:4]) if several else caches
    with model.on_mesh():
        filled = steps.prefill(model.student, params, context, ids, conditions.text, target)
        if several:
            filled = steps.put_story(caches, filled, jnp.int32(row))
    return filled


def _new_caches(model: Model, stories: int, grid: tuple[int, ...]) -> Caches:
    """Empty caches where the transformer is."""
    height, width = grid
    with model.on_mesh():
        caches = steps.new_caches(model.student, stories, height, width)
    if model.mesh() is not None:
        return caches
    return to_device_of(model.params["dit"], caches)


def _inputs_side_by_side(
    model: Model, runs: Sequence[_StoryRun], live: dict[int, LiveShot]
) -> tuple[Array, FrameIds]:
    """The noise [steps, stories, f, h, w, c] and ids [stories, f] of all stories' next chunks.

    A story that has ended keeps its place: it gets the inputs of one that goes on, and nobody looks
    at what becomes of them.
    """
    # A story that goes on, in place of those that have ended.
    placeholder = next(iter(live))
    noises = []
    phases = []
    captions = []
    for row in range(len(runs)):
        source = row if row in live else placeholder
        shot = live[source]
        ids = shot.conditions.shot_ids(model.preset.memory.chunk)
        noises.append(runs[source].noise(shot.number, shot.chunks_made))
        phases.append(ids.phase)
        captions.append(ids.caption)
    # A single story's arrays have the right shape already.
    if len(runs) == 1:
        return noises[0], FrameIds(phases[0], captions[0])
    ids = FrameIds(jnp.concatenate(phases), jnp.concatenate(captions))
    return jnp.concatenate(noises, axis=1), ids
