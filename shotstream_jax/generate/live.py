"""A shot in the making, as a value: its conditions, and what has become of its chunks so far.

    begin_shot → for each chunk: the transformer makes its latents, add_chunk → finished_story

The transformer's side is the caller's: the live stream makes chunks with the student's cached steps
(generate/stream), a teacher samples a whole shot at once (generate/teacher_stories). Everything
else about a story is here: prompts, conditions, decoding, and the context frames that later shots
can ask for. Nothing here waits for a device, but for a text encoder that is in the host's memory.
"""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from shotstream_jax.core.typing import Array, Float, Params
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.conditions import next_shot_conditions
from shotstream_jax.generate.story import ShotRecord, Story
from shotstream_jax.memory.select import candidates
from shotstream_jax.model import Model
from shotstream_jax.presets import OWN_HISTORY
from shotstream_jax.text.encode import embed_prompt, warn_of_words
from shotstream_jax.text.prompts import shot_prompt
from shotstream_jax.vae.codec import AnyDecoder, VaeStream


@dataclasses.dataclass(frozen=True, eq=False)
class LiveShot:
    """A shot of which some chunks have been made.

    story: the story before this shot.
    text [1, l, e]: the embedding of the shot's prompt.
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
    caption: str
    text: Array
    conditions: Conditions
    wanted: np.ndarray
    asked: float
    chunks_made: int = 0
    frames_made: int = 0
    streams: Mapping[str, VaeStream] = dataclasses.field(default_factory=dict)
    kept: tuple[Array, ...] = ()

    @property
    def number(self) -> int:
        """The shot's number in the story, from 0."""
        return self.story.next_shot


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


def chunks_of_shot(model: Model, story: Story) -> int:
    """How many chunks each shot of a story has."""
    return story.video.shot_frames // model.preset.memory.chunk


def begin_shot(model: Model, story: Story, caption: str) -> LiveShot:
    """The story's next shot, with nothing made of it yet."""
    # The time to the first frames is counted from here.
    asked = time.perf_counter()
    story = _with_embeddings(model, story)
    text = _embed(model, story.global_caption, story.next_shot, caption)
    length = model.preset.vae.pixel_frames(story.video.shot_frames)
    return LiveShot(
        story=story,
        caption=caption,
        text=text,
        conditions=next_shot_conditions(model.preset, story, text),
        wanted=candidates(story.next_shot, story.next_frame, length, story.context),
        asked=asked,
    )


def add_chunk(
    model: Model, live: LiveShot, latents: Float[Array, "1 f h w c"]
) -> tuple[LiveShot, DecodedChunk]:
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
    is_last = grown.chunks_made == chunks_of_shot(model, live.story)
    chunk = DecodedChunk(
        shot=live.number,
        chunk=live.chunks_made,
        pixels=pixels,
        latents=latents,
        asked=live.asked,
        story=finished_story(grown) if is_last else None,
    )
    return grown, chunk


def finished_story(live: LiveShot) -> Story:
    """The story with a shot whose chunks are all made."""
    # From here on the shot is only its caption and the frames that later shots can ask for.
    record = ShotRecord(
        number=live.number,
        caption=live.caption,
        first_frame=live.story.next_frame,
        length=live.frames_made,
        frames=live.wanted,
        latents=live.kept,
        text=live.text,
    )
    return live.story.add(record)


def to_device_of(params: Params, x: Any) -> Any:
    """Arrays where these parameters are: the autoencoder may have a device of its own.

    On a mesh every device gets the whole array. Nothing is sent if the arrays are there already.
    """
    # All parameters of a part lie on the same devices, so any of them tells.
    sharding = jax.tree.leaves(params)[0].sharding
    if isinstance(sharding, NamedSharding):
        sharding = NamedSharding(sharding.mesh, PartitionSpec())
    return jax.device_put(x, sharding)


def _with_embeddings(model: Model, story: Story) -> Story:
    """A story loaded from disk comes without its prompts' embeddings: this encodes them again."""
    records = []
    for record in story.shots:
        if record.text is None:
            text = _embed(model, story.global_caption, record.number, record.caption)
            record = dataclasses.replace(record, text=text)
        records.append(record)
    return dataclasses.replace(story, shots=tuple(records))


def _embed(model: Model, global_caption: str, shot: int, caption: str) -> Array:
    """The embedding [1, l, e] of a shot's prompt."""
    prompt = shot_prompt(global_caption, shot, caption)
    length = model.preset.dit.text_len
    what = f"shot {shot + 1}"
    warn_of_words(model.tokenizer, global_caption, caption, what)
    with model.on_mesh("text"):
        _, text = embed_prompt(
            model.text,
            model.params["text"],
            model.tokenizer,
            prompt,
            length,
            what=what,
        )
    return text


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
