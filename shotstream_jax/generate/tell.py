"""One story's side of the stream: what it asks of the transformer, and what it makes of the answers.

    Start → for each chunk: Next (answered by the chunk's latents) → Dispatched

The other side (stream) answers one story, or several with the same steps. Nothing here waits for a device.
"""

import dataclasses
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import NamedSharding, PartitionSpec

from shotstream_jax.core.typing import Array
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.conditions import shot_conditions
from shotstream_jax.generate.story import ShotRecord, Story
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.memory.select import candidates
from shotstream_jax.model import Model, Params
from shotstream_jax.text.prompts import check_caption, shot_prompt
from shotstream_jax.text.tokenizer import clean, tokenize
from shotstream_jax.vae.codec import VaeStream

# (shot, chunk) → [steps, 1, f, h, w, c]
Noise = Callable[[int, int], Array]


class Start(NamedTuple):
    """A new shot: prefill with this."""

    context: Array
    ids: FrameIds
    text: Array


class Next(NamedTuple):
    """The shot's next chunk is wanted, [1, f, h, w, c]. last: nobody will read its keys and values."""

    noise: Array
    ids: FrameIds
    last: bool


class Dispatched(NamedTuple):
    """A chunk whose frames [1, p, y, x, 3] are being made. asked: when its shot's prompt came."""

    shot: int
    chunk: int
    pixels: Array
    latents: Array
    story: Story | None
    asked: float


# None: a prompt has to be waited for.
Telling = Generator[Start | Next | Dispatched | None, Array | None, None]


def tell(model: Model, shots: Iterable[str], story: Story, noise: Noise) -> Telling:
    """All shots of a story."""
    # A loaded story comes without its prompts' embeddings.
    embed = lambda record: _embed(model, story.global_caption, record.number, record.caption)  # noqa: E731
    records = (
        r if r.text is not None else dataclasses.replace(r, text=embed(r)) for r in story.shots
    )
    story = dataclasses.replace(story, shots=tuple(records))
    captions = iter(shots)
    while True:
        if not isinstance(shots, Sequence):
            yield None
        caption = next(captions, None)
        if caption is None:
            return
        check_caption(caption, f"the caption of shot {story.next_shot + 1}")
        story = yield from _shot(model, caption, story, noise)


def _shot(
    model: Model, caption: str, story: Story, noise: Noise
) -> Generator[Start | Next | Dispatched, Array | None, Story]:
    """One shot. Returns the story with the shot in it."""
    preset, shot, asked = model.preset, story.next_shot, time.perf_counter()
    text = _embed(model, story.global_caption, shot, caption)
    context, context_ids, ids, captions = shot_conditions(preset, story, text)
    yield Start(beside(model.params["dit"], context), context_ids, captions)
    length = preset.vae.pixel_frames(story.video.shot_frames)
    wanted = candidates(shot, story.next_frame, length, story.context)
    stream, kept, frame = None, [], story.next_frame
    chunks = story.video.shot_frames // preset.memory.chunk
    for chunk in range(chunks):
        last = chunk == chunks - 1
        x_0 = yield Next(noise(shot, chunk), ids, last)
        stream, exact, pixels = _decode(model, x_0, stream)
        pixels.copy_to_host_async()
        kept += _encode_frames(model, exact, wanted - frame)
        frame += pixels.shape[1]
        if last:
            story = story.add(
                ShotRecord(shot, caption, story.next_frame, length, wanted, tuple(kept), text)
            )
        yield Dispatched(shot, chunk, pixels, x_0, story if last else None, asked)
    return story


def _decode(model: Model, x_0: Array, stream: VaeStream | None) -> steps.Decoded:
    z = beside(model.params["vae"], x_0)
    with model.on_mesh("vae"):
        if stream is None:
            return steps.decode_first(model.vae, model.params["vae"], z)
        return steps.decode_next(model.vae, model.params["vae"], z, stream)


def _encode_frames(model: Model, frames: Array, wanted: np.ndarray) -> list[Array]:
    """Latents of those wanted frames that lie in this chunk."""
    inside = wanted[(wanted >= 0) & (wanted < frames.shape[1])]
    taken = (steps.take_frame(frames, jnp.int32(i)) for i in inside)
    with model.on_mesh("vae"):
        return [steps.encode_frame(model.vae, model.params["vae"], frame) for frame in taken]


def beside(params: Params, x: Any) -> Any:
    """x where these parameters are: the autoencoder may have a device of its own. Nothing is sent if x is there."""
    place = jax.tree.leaves(params)[0].sharding
    if isinstance(place, NamedSharding):  # on every device of its mesh, whole
        place = NamedSharding(place.mesh, PartitionSpec())
    return jax.device_put(x, place)


def _embed(model: Model, global_caption: str, shot: int, caption: str) -> Array:
    """A prompt's embedding [1, l, e]."""
    length, prompt = model.preset.dit.text_len, shot_prompt(global_caption, shot, caption)
    if unknown := model.tokenizer.unknown(clean(prompt)):
        words = ", ".join(unknown)
        logging.warning(
            "shot %d has words that %s's vocabulary lacks: %s", shot + 1, model.preset.name, words
        )
    tokens = tokenize(model.tokenizer, prompt, length)
    if tokens.cut:
        logging.warning(
            "the prompt of shot %d is too long: its last %d tokens were cut (%d fit)",
            shot + 1,
            tokens.cut,
            length - 1,
        )
    ids, valid = jnp.asarray(tokens.ids[None]), jnp.asarray([tokens.valid])
    with model.on_mesh("text"):
        return steps.encode_prompt(model.text, model.params["text"], ids, valid)
