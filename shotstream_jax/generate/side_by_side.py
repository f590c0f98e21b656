"""Several independent stories side by side.

One step of the transformer makes the next chunk of every story; each story has its own prompts,
seed, number of shots and length of a shot. Everything else each does by itself (generate/progress).
For batches: the frames of live shots that take turns (generate/live) are to the bit those that each
story has alone, these are not quite.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence

import jax.numpy as jnp

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.settings import each_under_own_settings
from shotstream_jax.core.typing import Array
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.asked import Shot
from shotstream_jax.generate.check import check_shot, check_story, warn_of_unknown_weights
from shotstream_jax.generate.live import NoiseSource, empty_caches, fill_caches, seeded_noise
from shotstream_jax.generate.progress import (
    DecodedChunk,
    ShotProgress,
    add_chunk,
    begin_shot,
    warn_of_prompt,
)
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import Chunk, hand_out
from shotstream_jax.memory.cache import Caches, FrameIds
from shotstream_jax.model import Model
from shotstream_jax.text.prompts import check_shots


def stream_stories(
    model: Model, stories: Sequence[tuple[Story, Iterable[str | Shot]]]
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
        check_story(model, story, len(stories))
        warn_of_unknown_weights(model, story)
        # Each has its own prompts and noise; the transformer's steps they share.
        check = functools.partial(check_shot, model, story.video)
        asked = check_shots(shots, story.next_shot, check)
        runs.append(_StoryRun(story, iter(asked), not isinstance(asked, list)))
    grids = {model.preset.latent_grid(story.video) for story, _ in stories}
    if len(grids) > 1:
        raise InputError(
            f"stories side by side must have one picture size; their latents are {sorted(grids)}"
        )
    handed_out = hand_out(_make_chunks(model, runs, grids.pop()), len(stories))
    return each_under_own_settings(handed_out)


@dataclasses.dataclass
class _StoryRun:
    """One story while it is streamed.

    story: as it was after its last finished shot.
    asked: the shots to come. is_lazy: asking for one may take as long as a person types.
    live: the shot in the making; None between two shots, and when the story has ended.
    noise: of its chunks.
    """

    story: Story
    asked: Iterator[str | Shot]
    is_lazy: bool
    live: ShotProgress | None = None
    noise: NoiseSource | None = None
    has_ended: bool = False


def _make_chunks(
    model: Model, runs: Sequence[_StoryRun], grid: tuple[int, int]
) -> Iterator[tuple[int, DecodedChunk] | None]:
    """Starts the next chunk of all stories with one step of the transformer, again and again.

    Yields (which story, its chunk), or None before a prompt is waited for.
    """
    caches = empty_caches(model, len(runs), grid)
    while True:
        # 1. Each story that is between two shots begins its next one, or ends.
        started: list[tuple[int, ShotProgress]] = []
        for row, run in enumerate(runs):
            if run.live is not None or run.has_ended:
                continue
            if run.is_lazy:
                yield None
            _begin_next_shot(model, run)
            if run.live is not None:
                started.append((row, run.live))
        live = {row: run.live for row, run in enumerate(runs) if run.live is not None}
        if not live:
            return

        # 2. Their context and captions go into the caches.
        for row, progress in started:
            caches = _prefill_row(model, progress, row, caches)

        # 3. One step makes the next chunk of every story: x_0 [stories, f, h, w, c].
        noise, ids = _inputs_side_by_side(model, runs, live)
        params = model.transformer([run.live.strengths if run.live else {} for run in runs])
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
    """Begins the next shot that is asked for; if none is, the story has ended."""
    try:
        asked = next(run.asked)
    except StopIteration:
        run.has_ended = True
        return
    run.live = begin_shot(model, run.story, asked)
    warn_of_prompt(model, run.story, run.live.caption)
    run.noise = seeded_noise(model, run.story, run.live.shot.take)


def _prefill_row(model: Model, progress: ShotProgress, row: int, caches: Caches) -> Caches:
    """Puts one story's context and captions into its place in the caches."""
    stories = caches.fill.shape[0]
    if stories == 1:
        return fill_caches(model, progress, caches)
    # With several stories, one is filled alone and then put beside the others.
    height, width = progress.conditions.context.shape[2:4]
    alone = fill_caches(model, progress, empty_caches(model, 1, (height, width)))
    with model.on_mesh():
        return steps.put_story(caches, alone, jnp.int32(row))


def _inputs_side_by_side(
    model: Model, runs: Sequence[_StoryRun], live: dict[int, ShotProgress]
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
        noise = runs[source].noise
        assert noise is not None  # every shot that goes on has its own
        noises.append(noise(shot.number, shot.chunks_made))
        phases.append(ids.phase)
        captions.append(ids.caption)
    # A single story's arrays have the right shape already.
    if len(runs) == 1:
        return noises[0], FrameIds(phases[0], captions[0])
    ids = FrameIds(jnp.concatenate(phases), jnp.concatenate(captions))
    return jnp.concatenate(noises, axis=1), ids
