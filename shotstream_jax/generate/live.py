"""A shot in the making, as a value: what an interactive storyteller does with a stream.

    live = begin(model, story, "The frog is dancing.")
    while not live.is_finished:
        live, chunk = advance(model, live)          # frames are on their way
        live = retell(model, live, "The frog is sleeping.")   # from the next chunk on
        live = restyle(model, live, {"film": 0.6})            # likewise
    story = live.story                              # or, earlier: story = cut(model, live)

Each call uses its live shot up: the caches are written in place, so only what it returns can go on.
Live shots of several stories may take turns; each has the bits that it has alone. Nothing here
waits for a device, but for a text encoder that is in the host's memory.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from shotstream_jax.core import rng
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.settings import own_settings
from shotstream_jax.core.sharding import to_device_of
from shotstream_jax.core.typing import AnyArray, Array, Params
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.asked import Cue, Shot
from shotstream_jax.generate.check import check_story
from shotstream_jax.generate.progress import (
    DecodedChunk,
    ShotProgress,
    add_chunk,
    begin_shot,
    finished_story,
    set_styles,
    shortened,
    tell,
)
from shotstream_jax.generate.record import ShotRecord
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.style_uses import StylesAgain
from shotstream_jax.memory.cache import Caches
from shotstream_jax.model import Model
from shotstream_jax.presets import VideoFormat
from shotstream_jax.vae.codec import AnyDecoder

# (shot, chunk) → the chunk's noise [steps, 1, f, h, w, c]
NoiseSource = Callable[[int, int], Array]


@dataclasses.dataclass(frozen=True, eq=False)
class LiveShot:
    """A shot in the making.

    progress: what has become of it so far: its captions, its decoder, what later shots can ask for.
    caches: of the transformer.
    noise: of its chunks.
    made: the latents [1, f, h, w, c] of its chunks so far.
    committed: how many of them are in the local cache: all, or all but the last.
    """

    progress: ShotProgress
    caches: Caches
    noise: NoiseSource
    made: tuple[Array, ...] = ()
    committed: int = 0

    @property
    def is_finished(self) -> bool:
        """Whether all of its chunks have been made."""
        return self.progress.is_finished

    @property
    def story(self) -> Story:
        """The story with this shot. Raises InputError if it is not finished."""
        if not self.is_finished:
            raise InputError(
                f"shot {self.progress.number + 1} has {self.progress.chunks_made} of its "
                f"{self.progress.chunks} chunks: advance it to its end, or cut it"
            )
        return finished_story(self.progress)


@own_settings()
def begin(
    model: Model,
    story: Story,
    shot: str | Shot,
    *,
    caches: Caches | None = None,
    noise: NoiseSource | None = None,
) -> LiveShot:
    """The story's next shot, whose context and captions are in the caches.

    Args:
      model: the weights and sizes.
      story: that it goes on.
      shot: its caption, or a Shot with a take or a length of its own.
      caches: of a shot that is done with, which are used up; by default new ones.
      noise: in place of the seed's and the take's.

    Raises:
      InputError: for a story that the model cannot go on with, or a shot that it cannot make.
    """
    check_story(model, story)
    progress = begin_shot(model, story, shot)
    if noise is None:
        noise = seeded_noise(model, story, progress.shot.take)
    if caches is None:
        caches = empty_caches(model, 1, model.preset.latent_grid(story.video))
    return LiveShot(progress, fill_caches(model, progress, caches), noise)


@own_settings()
def advance(model: Model, live: LiveShot) -> tuple[LiveShot, DecodedChunk]:
    """Starts the shot's next chunk; its frames are on their way when this returns.

    Raises InputError if the shot is finished, or used up.
    """
    # 1. The clean chunk before goes into the local cache. That waits until now, so that nothing is
    # computed beside a chunk's decoding; nobody reads that of a shot's last chunk.
    _check_next_chunk(live)
    live = _with_all_committed(model, live)
    # 2. The transformer makes the chunk.
    progress = live.progress
    params = model.transformer([progress.strengths])
    noise = live.noise(progress.number, progress.chunks_made)
    ids = progress.conditions.shot_ids(model.preset.memory.chunk)
    with model.on_mesh():
        x_0, caches = steps.chunk_step(
            model.student, params, noise, ids, live.caches, model.preset.steps
        )
    # 3. The decoder follows at once.
    return _with_chunk(model, dataclasses.replace(live, caches=caches), x_0)


@own_settings()
def advance_with(model: Model, live: LiveShot, latents: AnyArray) -> tuple[LiveShot, DecodedChunk]:
    """The shot's next chunk from the latents that `advance` has made of it before.

    What it returns, and all that follows, has the bits of `advance`, in a third of the time.

    Raises InputError as `advance`, and for latents of another shape.
    """
    _check_next_chunk(live)
    preset = model.preset
    grid = preset.latent_grid(live.progress.story.video)
    expected = (1, preset.memory.chunk, *grid, preset.dit.channels)
    if latents.shape != expected:
        raise InputError(f"a chunk's latents have the shape {expected}, not {latents.shape}")
    live = _with_all_committed(model, live)
    return _with_chunk(model, live, to_device_of(model.params["dit"], latents))


def _with_chunk(model: Model, live: LiveShot, x_0: Array) -> tuple[LiveShot, DecodedChunk]:
    """The shot with another chunk, which is decoded, and not yet in the local cache."""
    progress, chunk = add_chunk(model, live.progress, x_0)
    return dataclasses.replace(live, progress=progress, made=(*live.made, x_0)), chunk


@own_settings()
def retell(model: Model, live: LiveShot, caption: str, *, again: bool = False) -> LiveShot:
    """The shot under another caption, from its next chunk on.

    Later shots remember the shot by its last caption.

    Args:
      model: the weights and sizes.
      live: is used up.
      caption: what the rest of the shot shows.
      again: whether the chunks that there are pass again under the new caption, so that the next
        one sees them as if they had been told so. By default only the caption is replaced: that
        costs nearly nothing, and turned the miniature's pictures as well (docs/stories.md).

    Raises:
      InputError: for a caption that is no text, or if the shot is finished, or used up.
    """
    if live.is_finished:
        raise InputError(f"shot {live.progress.number + 1} is finished: nothing is left to tell")
    _check_unused(live)
    progress = tell(model, live.progress, caption, again)
    # Only the captions' keys and values are written anew …
    if not again:
        live = _with_all_committed(model, live)
        params = model.transformer([progress.strengths])
        text = progress.conditions.text
        with model.on_mesh():
            caches = steps.replace_captions(model.student, params, text, live.caches)
        return dataclasses.replace(live, progress=progress, caches=caches)
    # … or all that depends on them: context, captions, and the shot's chunks one after another.
    caches = fill_caches(model, progress, live.caches)
    live = dataclasses.replace(live, progress=progress, caches=caches, committed=0)
    return _with_all_committed(model, live)


@own_settings()
def restyle(model: Model, live: LiveShot, strengths: Mapping[str, float]) -> LiveShot:
    """The shot with other strengths of the model's adapters, from its next chunk on.

    What is in the caches stays as it was made: keys and values of the context, of the captions, and
    of the shot's chunks. `retell` with the shot's caption makes the captions' anew, with again=True
    all of them.

    Args:
      model: the weights, sizes and adapters (shotstream_jax/styles).
      live: is used up.
      strengths: by the adapters' names; those that are not named keep theirs.

    Raises:
      InputError: for an adapter that the model has not, a strength that is no number, or if the
        shot is finished, or used up.
    """
    if live.is_finished:
        raise InputError(f"shot {live.progress.number + 1} is finished: nothing is left to style")
    _check_unused(live)
    progress = set_styles(model, live.progress, strengths)
    live = _with_all_committed(model, live)
    return dataclasses.replace(live, progress=progress)


@own_settings()
def cut(model: Model, live: LiveShot) -> Story:
    """The story with the shot ended here, as if it had been asked for with this length.

    The frames that later shots can ask for are those of the shorter shot, so it is decoded again.
    Raises InputError if there is no chunk of it yet.
    """
    before = live.progress
    if live.is_finished:
        return live.story
    if not live.made:
        raise InputError(f"nothing of shot {before.number + 1} is made yet: it cannot be cut")
    progress = shortened(model, before)
    for x_0 in live.made:
        progress, _ = add_chunk(model, progress, x_0)
    return finished_story(progress)


@own_settings()
def remake(model: Model, story: Story, record: ShotRecord) -> LiveShot:
    """A shot once more from its record, to the bit, finished.

    story: as it was before the shot. Raises InputError if the record is not of its next shot or of
    a still picture, or if the model lacks an adapter that the shot was made with.
    """
    frames = _frames_to_remake(model, story, record)
    # The first cue is what the shot began with, the others come at their chunks.
    styles = StylesAgain(model, record.styles)
    told = list(record.cues[1:])
    first = record.cues[0] if record.cues else None
    caption = first.caption if isinstance(first, Cue) else record.caption
    shot = Shot(caption, record.take, frames, record.pins, styles.at_start, memory=record.memory)
    live = begin(model, story, shot)
    while not live.is_finished:
        while told and told[0].chunk == live.progress.chunks_made:
            cue = told.pop(0)
            if isinstance(cue, Cue):
                live = retell(model, live, cue.caption, again=cue.again)
            else:
                live = restyle(model, live, styles.named_here(cue.strengths))
        live, _ = advance(model, live)
    return live


def _frames_to_remake(model: Model, story: Story, record: ShotRecord) -> int:
    """The latent frames of a record's shot. Raises InputError if it cannot be made again here."""
    check_story(model, story)
    story.check_next(record)
    if record.is_still and model.preset.memory.chunk > 1:
        raise InputError(
            f"shot {record.number + 1} is a still picture, which no model made: "
            "story.add(record) goes on after it"
        )
    frames = model.preset.vae.latent_frames(record.length)
    if model.preset.vae.pixel_frames(frames) != record.length:
        raise InputError(
            f"the record of shot {record.number + 1} has {record.length} frames, which are no "
            "whole number of latent ones: another model made it"
        )
    return frames


def _with_all_committed(model: Model, live: LiveShot) -> LiveShot:
    """The shot with all of its chunks in the local cache, under what it is told now."""
    params = model.transformer([live.progress.strengths])
    ids = live.progress.conditions.shot_ids(model.preset.memory.chunk)
    caches = live.caches
    for x_0 in live.made[live.committed :]:
        with model.on_mesh():
            caches = steps.commit(model.student, params, x_0, ids, caches)
    return dataclasses.replace(live, caches=caches, committed=len(live.made))


def _check_next_chunk(live: LiveShot) -> None:
    """Refuses a shot that is finished, or used up."""
    if live.is_finished:
        number = live.progress.number + 1
        raise InputError(f"shot {number} is finished: begin the next one")
    _check_unused(live)


def _check_unused(live: LiveShot) -> None:
    """Refuses a live shot whose caches went into what another call returned."""
    if any(leaf.is_deleted() for leaf in jax.tree.leaves(live.caches)):
        raise InputError(
            f"this live shot {live.progress.number + 1} is used up: go on with what the last call "
            "on it returned"
        )


def place_bytes(model: Model, video: VideoFormat | None = None) -> int:
    """Bytes that a live shot takes on the devices, beside the weights and what a program needs.

    Its caches, its decoders' states, a chunk of frames on their way, and its own latents.

    video: pixels and latent frames a shot (default: the model's own).
    """
    video = video or model.preset.video
    height, width = model.preset.latent_grid(video)
    channels = model.preset.dit.channels
    # Every chunk's latents, to be told again or cut; each is decoded as it comes.
    latents = jax.ShapeDtypeStruct((1, video.shot_frames, height, width, channels), jnp.float32)
    chunk = jax.ShapeDtypeStruct((1, model.preset.memory.chunk, *latents.shape[2:]), jnp.float32)
    decoder, part = model.shown_by
    held = [latents, jax.eval_shape(lambda: steps.new_caches(model.student, 1, height, width))]
    held += _two_chunks(decoder, model.params[part], chunk)
    # What is remembered is decoded by the autoencoder, whatever is shown.
    if part != "vae":
        state, _, _ = _two_chunks(model.vae, model.params["vae"], chunk)
        held.append(state)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(held))


def _two_chunks(decoder: AnyDecoder, params: Params, z: jax.ShapeDtypeStruct) -> steps.Decoded:
    """The shapes of a later chunk's state, frames and bytes."""
    state, _, _ = steps.decode_first_chunk.eval_shape(decoder, params, z)
    return steps.decode_next_chunk.eval_shape(decoder, params, z, state)


def seeded_noise(model: Model, story: Story, take: int) -> NoiseSource:
    """The noise that a story's seed and a shot's take stand for."""
    preset = model.preset
    root = rng.seed_key(story.seed)
    grid = preset.latent_grid(story.video)
    shape = (len(preset.steps.nominal), 1, preset.memory.chunk, *grid, preset.dit.channels)

    def noise(shot: int, chunk: int) -> Array:
        """A chunk's noise."""
        return steps.draw_noise(root, take, shot, chunk, shape)

    return noise


def fill_caches(model: Model, progress: ShotProgress, caches: Caches) -> Caches:
    """A shot's context and captions in the caches, which are used up."""
    conditions = progress.conditions
    params = model.transformer([progress.strengths])
    context = to_device_of(model.params["dit"], conditions.context)
    with model.on_mesh():
        return steps.prefill(
            model.student, params, context, conditions.context_ids(), conditions.text, caches
        )


def empty_caches(model: Model, stories: int, grid: tuple[int, int]) -> Caches:
    """Empty caches of so many stories where the transformer is; grid: latent rows and columns."""
    height, width = grid
    with model.on_mesh():
        caches = steps.new_caches(model.student, stories, height, width)
    if model.mesh() is not None:
        return caches
    return to_device_of(model.params["dit"], caches)
