"""What has become of a shot so far, without the transformer's side of it.

    begin_shot → for each chunk: the transformer makes its latents, add_chunk → finished_story

The transformer's side is the caller's: a live shot makes chunks with the student's cached steps
(generate/live), a teacher samples a whole shot at once (generate/teacher_stories). Everything else
about a story is here: prompts, conditions, decoding, and the context frames that later shots can
ask for. Nothing here waits for a device, but for a text encoder that is in the host's memory.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import to_device_of
from shotstream_jax.core.typing import Array, Float
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.asked import (
    AnyCue,
    Cue,
    Pin,
    Pixels,
    Shot,
    StyleCue,
    StyleUse,
    as_strengths,
    ready_shot,
)
from shotstream_jax.generate.conditions import Told, next_shot_conditions
from shotstream_jax.generate.likeness import shot_embedding
from shotstream_jax.generate.record import ShotRecord
from shotstream_jax.generate.remember import remembered_frames
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.style_uses import (
    strengths_now,
    styles_at_start,
    styles_that_count,
    with_uses,
)
from shotstream_jax.memory.select import ContextPick, candidates
from shotstream_jax.model import Model
from shotstream_jax.presets import OWN_HISTORY
from shotstream_jax.text.encode import warn_of_notes
from shotstream_jax.text.notes import Notes, make_notes
from shotstream_jax.text.prompts import check_caption, shot_prompt
from shotstream_jax.vae.codec import AnyDecoder, VaeStream, from_uint8

_MOST_CUES = 200  # a shot's changes, whose captions must fit into its record


@dataclasses.dataclass(frozen=True, eq=False)
class ShotProgress:
    """A shot of which some chunks have been made.

    story: the story before this shot.
    shot: what was asked for.
    cues: what changed in it, after the caption that it began with; empty if nothing did.
    styles: adapters that it is made with, and the strengths that it began with.
    chunks: how many it will have.
    remembered: the frames that it sees beside its pins, whatever it is told later.
    conditions: of the shot, with batch 1.
    wanted: the numbers in the video of the frames that later shots can ask for.
    asked: when the prompt came, in seconds of time.perf_counter.
    chunks_made: how many chunks there are so far.
    frames_made: how many pixel frames they have.
    streams: the state after them of each decoder that has seen them, by its part of the model;
      empty before the first chunk, so each shot is decoded from the start.
    kept: the latents [1, h, w, c] of the wanted frames among them.
    """

    story: Story
    shot: Shot
    chunks: int
    remembered: ContextPick
    conditions: Conditions
    wanted: np.ndarray
    asked: float
    chunks_made: int = 0
    frames_made: int = 0
    streams: Mapping[str, VaeStream] = dataclasses.field(default_factory=dict)
    kept: tuple[Array, ...] = ()
    cues: tuple[AnyCue, ...] = ()
    styles: tuple[StyleUse, ...] = ()

    @property
    def number(self) -> int:
        """The shot's number in the story, from 0."""
        return self.story.next_shot

    @property
    def caption(self) -> str:
        """What the shot is told now."""
        told = [cue.caption for cue in self.cues if isinstance(cue, Cue)]
        return told[-1] if told else self.shot.caption

    @property
    def strengths(self) -> Mapping[str, float]:
        """The strengths of its adapters now, by their checksums."""
        return strengths_now(self.styles, self.cues)

    @property
    def is_finished(self) -> bool:
        """Whether all of its chunks have been made."""
        return self.chunks_made == self.chunks


class DecodedChunk(NamedTuple):
    """A chunk whose frames are on their way.

    pixels: uint8 frames, perhaps still being computed.
    latents: what they are decoded from.
    asked: when the shot's prompt came, in seconds of time.perf_counter.
    story: after a shot's last chunk, the story with the shot; None before.
    """

    shot: int
    chunk: int
    pixels: Float[Array, "1 p y x 3"]
    latents: Float[Array, "1 f h w c"]
    asked: float
    story: Story | None


def begin_shot(model: Model, story: Story, asked: str | Shot) -> ShotProgress:
    """The story's next shot, with nothing made of it yet.

    Raises InputError for what cannot be made (generate/asked.ready_shot).
    """
    # The time to the first frames is counted from here.
    began = time.perf_counter()
    where = f"the caption of shot {story.next_shot + 1}"
    shot = _pictures_pinned(model, ready_shot(model.preset, story.video, asked, where))
    latent_frames = shot.video(model.preset, story.video).shot_frames
    length = model.preset.vae.pixel_frames(latent_frames)
    remembered = remembered_frames(model, story, shot)
    return ShotProgress(
        story=story,
        shot=shot,
        chunks=latent_frames // model.preset.memory.chunk,
        remembered=remembered,
        conditions=conditions_under(model, story, shot.caption, shot.pins, remembered),
        wanted=candidates(story.next_shot, story.next_frame, length, story.context),
        asked=began,
        styles=styles_at_start(model, shot.styles),
    )


def _pictures_pinned(model: Model, shot: Shot) -> Shot:
    """The shot with its pictures as pins; they are of the story's size already."""
    pins = list(shot.pins)
    for picture in shot.pictures:
        assert isinstance(picture.source, np.ndarray)
        latent = encode_picture(model, picture.source)
        pins.append(Pin(latent, picture.shot, picture.caption))
    return dataclasses.replace(shot, pins=tuple(pins), pictures=())


def encode_picture(model: Model, pixels: Pixels) -> Float[Array, "1 h w c"]:
    """A picture of the story's size, encoded like any context frame."""
    params = model.params["vae"]
    frame = from_uint8(to_device_of(params, jnp.asarray(pixels[None])))
    with model.on_mesh("vae"):
        return steps.encode_context_frame(model.vae, params, frame)


def conditions_under(
    model: Model, story: Story, caption: str, pins: Sequence[Pin], remembered: ContextPick
) -> Conditions:
    """Conditions of the story's next shot under a caption; the embeddings are the model's."""

    def embed(told: Told) -> Array:
        """The embedding [1, l, e] of a shot's prompt."""
        return shot_embedding(model, story, told)

    return next_shot_conditions(model.preset, story, caption, pins, remembered, embed)


def tell(model: Model, progress: ShotProgress, caption: str, again: bool) -> ShotProgress:
    """The shot under another caption from its next chunk on.

    Raises InputError for a caption that is no text.
    """
    caption = check_caption(caption, f"the caption of shot {progress.number + 1}")
    _check_cues(progress)
    return dataclasses.replace(
        progress,
        conditions=conditions_under(
            model, progress.story, caption, progress.shot.pins, progress.remembered
        ),
        cues=(*_cues_so_far(progress), Cue(progress.chunks_made, caption, again)),
    )


def set_styles(
    model: Model, progress: ShotProgress, strengths: Mapping[str, float]
) -> ShotProgress:
    """The shot with other strengths of the model's adapters from its next chunk on.

    strengths: by the adapters' names. Raises InputError for an adapter that the model has not.
    """
    strengths = as_strengths(strengths)
    _check_cues(progress)
    return dataclasses.replace(
        progress,
        styles=with_uses(model, progress.styles, strengths),
        cues=(*_cues_so_far(progress), StyleCue(progress.chunks_made, strengths)),
    )


def _check_cues(progress: ShotProgress) -> None:
    """Refuses more changes in a shot than its record holds."""
    if len(progress.cues) > _MOST_CUES:
        raise InputError(
            f"shot {progress.number + 1} was changed {_MOST_CUES} times: cut it, and begin the next"
        )


def _cues_so_far(progress: ShotProgress) -> tuple[AnyCue, ...]:
    """The shot's cues; the first one is what it began with."""
    return progress.cues or (Cue(0, progress.shot.caption),)


def shortened(model: Model, progress: ShotProgress) -> ShotProgress:
    """A shot of only the chunks that were made, with nothing made of it yet."""
    latent_frames = progress.chunks_made * model.preset.memory.chunk
    length = model.preset.vae.pixel_frames(latent_frames)
    story = progress.story
    # What was told last may not have come to a chunk.
    cues = tuple(cue for cue in progress.cues if cue.chunk < progress.chunks_made)
    return dataclasses.replace(
        progress,
        shot=dataclasses.replace(progress.shot, frames=latent_frames),
        chunks=progress.chunks_made,
        wanted=candidates(story.next_shot, story.next_frame, length, story.context),
        chunks_made=0,
        frames_made=0,
        streams={},
        kept=(),
        cues=cues if len(cues) > 1 else (),
    )


def add_chunk(
    model: Model, live: ShotProgress, latents: Float[Array, "1 f h w c"]
) -> tuple[ShotProgress, DecodedChunk]:
    """Decodes the shot's next chunk, and keeps those of its frames that later shots can ask for."""
    # 1. Decode, and start the copy to the host that will be waited for later.
    streams = dict(live.streams)
    decoder, part = model.shown_by
    streams[part], frames, pixels = _decode(model, decoder, part, latents, live.streams)
    pixels.copy_to_host_async()
    # 2. The wanted frames are numbered in the video, where this chunk begins at `first_frame`.
    # Exact memory is the autoencoder's: it decodes up to the last of them whatever is shown.
    first_frame = live.story.next_frame + live.frames_made
    wanted = live.wanted - first_frame
    is_exact = model.history == OWN_HISTORY
    if part != "vae" and is_exact and wanted.max() >= 0:
        streams["vae"], frames, _ = _decode(model, model.vae, "vae", latents, live.streams)
    # 3. Encode them.
    new_latents = _encode_frames(model, frames, wanted)
    # 4. The shot with the chunk in it.
    grown = dataclasses.replace(
        live,
        chunks_made=live.chunks_made + 1,
        frames_made=live.frames_made + pixels.shape[1],
        streams=streams,
        kept=(*live.kept, *new_latents),
    )
    chunk = DecodedChunk(
        shot=live.number,
        chunk=live.chunks_made,
        pixels=pixels,
        latents=latents,
        asked=live.asked,
        story=finished_story(grown) if grown.is_finished else None,
    )
    return grown, chunk


def finished_story(live: ShotProgress) -> Story:
    """The story with a shot whose chunks are all made."""
    # From here on the shot is only its caption and the frames that later shots can ask for.
    record = ShotRecord(
        number=live.number,
        caption=live.caption,
        first_frame=live.story.next_frame,
        length=live.frames_made,
        frames=live.wanted,
        latents=live.kept,
        take=live.shot.take,
        cues=live.cues,
        pins=live.shot.pins,
        memory=live.shot.memory,
        styles=styles_that_count(live.styles, live.cues),
    )
    return live.story.add(record)


def prompt_notes(model: Model, story: Story, caption: str) -> Notes:
    """What to know about a caption of the story's next shot before it is made.

    Raises InputError for a caption that is no text.
    """
    caption = check_caption(caption, f"the caption of shot {story.next_shot + 1}")
    prompt = shot_prompt(story.global_caption, story.next_shot, caption)
    length = model.preset.dit.text_len
    return make_notes(model.tokenizer, story.global_caption, caption, prompt, length)


def warn_of_prompt(model: Model, story: Story, caption: str) -> None:
    """Says what there is to say about a caption of the story's next shot (`prompt_notes`)."""
    warn_of_notes(prompt_notes(model, story, caption), f"shot {story.next_shot + 1}")


def _decode(
    model: Model,
    decoder: AnyDecoder,
    part: str,
    latents: Array,
    streams: Mapping[str, VaeStream],
) -> steps.Decoded:
    """The frames of a chunk; the first chunk of a shot starts the decoder's state.

    part: of the model's parameters, the decoder's own.
    """
    params = model.params[part]
    latents = to_device_of(params, latents)
    # The whole chunk, or as many of its latent frames as the model decodes at a time.
    streams = dict(streams)
    pieces = []
    with model.on_mesh(part):
        for z in _pieces(latents, model.decode_frames):
            if part not in streams:
                decoded = steps.decode_first_chunk(decoder, params, z)
            else:
                decoded = steps.decode_next_chunk(decoder, params, z, streams[part])
            streams[part] = decoded[0]
            pieces.append(decoded[1:])
        if len(pieces) == 1:
            return decoded
        return streams[part], *steps.join_pieces(pieces)


def _pieces(latents: Array, frames: int) -> list[Array]:
    """A chunk in pieces of so many latent frames; 0: in one piece."""
    if frames == 0 or frames >= latents.shape[1]:
        return [latents]
    return [latents[:, first : first + frames] for first in range(0, latents.shape[1], frames)]


def _encode_frames(model: Model, frames: Array, wanted: np.ndarray) -> list[Array]:
    """The latents of the wanted frames that lie in this chunk, each encoded by itself.

    frames [1, p, y, x, 3]: the chunk's, in [−1, 1].
    wanted: frame numbers counted from the chunk's first frame; some lie outside.
    """
    inside = wanted[(wanted >= 0) & (wanted < frames.shape[1])]
    latents = []
    with model.on_mesh("vae"):
        for index in inside:
            frame = steps.take_frame(frames, jnp.int32(index))
            latents.append(steps.encode_context_frame(model.vae, model.params["vae"], frame))
    return latents
