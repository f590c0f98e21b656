"""The live driver: prompts in one at a time, frames out after every chunk.

Nothing here waits for a device but a finished chunk's frames, and for those only once the next chunk is on its way.
"""

import dataclasses
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import NamedSharding, PartitionSpec

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.conditions import shot_conditions
from shotstream_jax.generate.story import ShotRecord, Story
from shotstream_jax.memory.cache import Caches
from shotstream_jax.memory.select import candidates
from shotstream_jax.model import Model, Params
from shotstream_jax.presets import VideoFormat
from shotstream_jax.text.prompts import check_caption, shot_prompt
from shotstream_jax.text.tokenizer import tokenize
from shotstream_jax.vae.codec import VaeStream

# (shot, chunk) → [steps, 1, f, h, w, c]
Noise = Callable[[int, int], Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Chunk:
    """What leaves the stream: frames [p, y, x, 3] uint8, and the latents [f, h, w, c] that they were decoded from.

    seconds: since the frames before, or since the shot's prompt came if that was later; what the caller did meanwhile
    included. story: after a shot's last chunk, the story so far.
    """

    shot: int
    chunk: int
    frames: np.ndarray
    latents: Array
    seconds: float
    story: Story | None = None


class _Dispatched(NamedTuple):
    """A chunk that is being made. asked: when its shot's prompt came."""

    shot: int
    chunk: int
    pixels: Array
    latents: Array
    story: Story | None
    asked: float

    def arrived(self, last: float) -> Chunk:
        frames = np.asarray(self.pixels)[0]
        seconds = time.perf_counter() - max(last, self.asked)
        return Chunk(self.shot, self.chunk, frames, self.latents[0], seconds, self.story)


def stream_generate(
    model: Model,
    shots: Iterable[str],
    *,
    story: Story | None = None,
    global_caption: str = "",
    seed: int = 0,
    video: VideoFormat | None = None,
    noise: Noise | None = None,
) -> Iterator[Chunk]:
    """Makes a story shot by shot; a generator over compiled steps.

    shots: the shots' captions. It may be lazy: the next one is asked for only when the shot before is done and handed
    out. Of a list the next shot is begun while the last frames of the one before are on their way.
    story: one to continue; it brings its own global caption, seed and format.
    video: pixels and latent frames a shot (default: the model's own).
    noise: the draws of a chunk, in place of the seed's.
    Raises InputError before the work starts if the arguments do not fit each other or the model.
    """
    if isinstance(shots, str):
        raise InputError(f"shots must be several captions, not one text: [{shots[:40]!r}]")
    if story is None:
        video = video or model.preset.video
        story = Story(global_caption, seed, model.preset.name, video, model.preset.memory.context)
    elif global_caption or seed or video:
        raise InputError("a story to be continued brings its own global_caption, seed and video: leave them out")
    story.check(model.preset)
    grid = model.preset.latent_grid(story.video)
    return _stream(model, shots, story, grid, noise or _seeded_noise(model, story, grid))


def warm_up(model: Model, video: VideoFormat | None = None) -> None:
    """Compiles (or fetches) every program of the stream, so that the first prompt need not wait for it.

    Two chunks run them all; a shot's length changes none.
    """
    video = dataclasses.replace(video or model.preset.video, shot_frames=2 * model.preset.memory.chunk)
    for _ in stream_generate(model, ["warm-up", "warm-up"], video=video):
        pass


def _seeded_noise(model: Model, story: Story, grid: tuple[int, int]) -> Noise:
    root, preset = jax.random.key(story.seed), model.preset
    shape = (len(preset.steps.nominal), 1, preset.memory.chunk, *grid, preset.dit.channels)
    return lambda shot, chunk: steps.draw_noise(root, 0, shot, chunk, shape)


def _stream(model: Model, shots: Iterable[str], story: Story, grid: tuple[int, int], noise: Noise) -> Iterator[Chunk]:
    """Hands a chunk out when the next one is on its way."""
    ahead, last = None, 0.0
    for dispatched in _dispatch(model, shots, story, grid, noise):
        if ahead:
            chunk, last = ahead.arrived(last), time.perf_counter()
            yield chunk
        ahead = dispatched
    if ahead:
        yield ahead.arrived(last)


def _dispatch(
    model: Model, shots: Iterable[str], story: Story, grid: tuple[int, int], noise: Noise
) -> Iterator[_Dispatched | None]:
    """All chunks of all shots; None before a prompt has to be waited for."""
    # A loaded story comes without its prompts' embeddings.
    embed = lambda record: _embed(model, story.global_caption, record.number, record.caption)  # noqa: E731
    records = (r if r.text is not None else dataclasses.replace(r, text=embed(r)) for r in story.shots)
    story = dataclasses.replace(story, shots=tuple(records))
    caches = _beside(model.params["dit"], model.student.init_caches(1, *grid))
    captions = iter(shots)
    while True:
        if not isinstance(shots, Sequence):
            yield None
        caption = next(captions, None)
        if caption is None:
            return
        check_caption(caption, f"the caption of shot {story.next_shot + 1}")
        story, caches = yield from _shot(model, caption, story, caches, noise)


def _shot(
    model: Model, caption: str, story: Story, caches: Caches, noise: Noise
) -> Generator[_Dispatched, None, tuple[Story, Caches]]:
    """One shot's chunks. Returns the story with the shot in it, and the caches."""
    preset, params, shot, asked = model.preset, model.params, story.next_shot, time.perf_counter()
    text = _embed(model, story.global_caption, shot, caption)
    context, context_ids, ids, captions = shot_conditions(preset, story, text)
    context = _beside(params["dit"], context)
    caches = steps.prefill(model.student, params["dit"], context, context_ids, captions, caches)
    length = preset.vae.pixel_frames(story.video.shot_frames)
    wanted = candidates(shot, story.next_frame, length, story.context)
    stream, kept, frame = None, [], story.next_frame
    chunks = story.video.shot_frames // preset.memory.chunk
    for chunk in range(chunks):
        x_0, caches = steps.chunk_step(model.student, params["dit"], noise(shot, chunk), ids, caches, preset.steps)
        stream, exact, pixels = _decode(model, x_0, stream)
        pixels.copy_to_host_async()
        kept += _encode_frames(model, exact, wanted - frame)
        frame += pixels.shape[1]
        done = chunk == chunks - 1
        if done:
            record = ShotRecord(shot, caption, story.next_frame, length, wanted, tuple(kept), text)
            story = story.add(record)
        else:  # nobody would read the last chunk's keys and values
            caches = steps.commit(model.student, params["dit"], x_0, ids, caches)
        yield _Dispatched(shot, chunk, pixels, x_0, story if done else None, asked)
    return story, caches


def _decode(model: Model, x_0: Array, stream: VaeStream | None) -> steps.Decoded:
    z = _beside(model.params["vae"], x_0)
    if stream is None:
        return steps.decode_first(model.vae, model.params["vae"], z)
    return steps.decode_next(model.vae, model.params["vae"], z, stream)


def _encode_frames(model: Model, frames: Array, wanted: np.ndarray) -> list[Array]:
    """Latents of those wanted frames that lie in this chunk."""
    inside = wanted[(wanted >= 0) & (wanted < frames.shape[1])]
    taken = (steps.take_frame(frames, jnp.int32(i)) for i in inside)
    return [steps.encode_frame(model.vae, model.params["vae"], frame) for frame in taken]


def _beside(params: Params, x: Any) -> Any:
    """x where these parameters are: the autoencoder may have a device of its own. Nothing is sent if x is there."""
    place = jax.tree.leaves(params)[0].sharding
    if isinstance(place, NamedSharding):  # on every device of its mesh, whole
        place = NamedSharding(place.mesh, PartitionSpec())
    return jax.device_put(x, place)


def _embed(model: Model, global_caption: str, shot: int, caption: str) -> Array:
    """A prompt's embedding [1, l, e]."""
    length = model.preset.dit.text_len
    tokens = tokenize(model.tokenizer, shot_prompt(global_caption, shot, caption), length)
    if tokens.cut:
        logging.warning(
            "the prompt of shot %d is too long: its last %d tokens were cut (%d fit)", shot + 1, tokens.cut, length - 1
        )
    ids, valid = jnp.asarray(tokens.ids[None]), jnp.asarray([tokens.valid])
    return steps.encode_prompt(model.text, model.params["text"], ids, valid)
