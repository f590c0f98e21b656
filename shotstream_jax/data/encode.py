"""One clip's pictures and prompts → its record, by the encoders of a checkpoint."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from shotstream_jax.checkpoint.checkpoint import Checkpoint, open_checkpoint
from shotstream_jax.checkpoint.load import DTYPES
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, UInt8, typechecked
from shotstream_jax.data.clips import Clip, cut_clip, shot_target
from shotstream_jax.data.labels import ClipLabels, cell_means, clip_labels, read_labels
from shotstream_jax.data.records import ClipRecord
from shotstream_jax.media.reader import probe, read_frames
from shotstream_jax.memory.select import candidates
from shotstream_jax.model import Params
from shotstream_jax.presets import Preset, VideoFormat
from shotstream_jax.text.encode import embed_prompt, warn_of_notes
from shotstream_jax.text.notes import make_notes
from shotstream_jax.text.prompts import shot_prompt
from shotstream_jax.text.tokenizer import Tokenizer
from shotstream_jax.text.umt5 import UMT5
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE

# Pixels a frame, of all rows of one call: 8 rows of the tiny model's pictures on a processor. A
# large picture is encoded alone, because its activations fill the memory.
_BATCH_PIXELS = {"cpu": 2**14}
_BATCH_PIXELS_ELSEWHERE = 2**18  # what keeps an accelerator busy


@dataclasses.dataclass(frozen=True)
class PrecomputeRecipe:
    """The fields of a recipe (configs/precompute.py).

    context: latent frames of earlier shots that a shot is given.
    video: its shot_frames is the most latent frames that a training target has.
    negative_prompt: "" stands for embeddings of zeros, which a model sees in training when its
    prompt is dropped.
    """

    checkpoint: str
    dtype: str
    context: int
    video: VideoFormat
    negative_prompt: str


@dataclasses.dataclass(frozen=True, eq=False)
class Encoders:
    """A checkpoint's autoencoder (always float32) and text encoder, without its transformer."""

    preset: Preset
    vae: VAE
    vae_params: Params
    text: UMT5
    text_params: Params
    tokenizer: Tokenizer


def load_encoders(checkpoint: str | Checkpoint, dtype: str) -> Encoders:
    """A checkpoint's encoders; its transformer is not read. dtype: of the text encoder's matmuls.

    Raises InputError if the checkpoint lacks one of them.
    """
    use_persistent_cache()
    opened = open_checkpoint(checkpoint)
    preset = opened.preset
    text_dtype = DTYPES[dtype]
    # The transformer, the largest part, is left on disk.
    return Encoders(
        preset=preset,
        vae=VAE(preset.vae),
        vae_params=opened.load_params("vae"),
        text=UMT5(preset.text, text_dtype),
        text_params=opened.load_params("text", text_dtype),
        tokenizer=opened.tokenizer(),
    )


class Readers(NamedTuple):
    """What gives a clip's frames by their numbers, which ascend.

    pictures: uint8 [n, y, x, 3]. white: how much each pixel matters, 0 … 1 [n, y, x]; labels:
    classes, uint8 [n, y, x, maps]; None where nothing says.
    """

    pictures: Callable[[np.ndarray], np.ndarray]
    white: Callable[[np.ndarray], np.ndarray] | None
    labels: Callable[[np.ndarray], np.ndarray] | None


def encode_clip(encoders: Encoders, recipe: PrecomputeRecipe, clip: Clip) -> ClipRecord:
    """Reads and encodes one clip. Raises InputError if it cannot be used."""
    cut = _cut_shots(encoders.preset, recipe.video, clip)
    return encode_from(encoders, recipe, clip, cut, file_readers(clip, recipe.video))


def file_readers(clip: Clip, video: VideoFormat) -> Readers:
    """What reads the videos of a clip at a format's size."""
    height = video.height
    width = video.width
    white = None
    if clip.mask is not None:
        white = functools.partial(read_white, clip.mask, height=height, width=width)
    labels = None
    if clip.labels is not None:
        labels = functools.partial(read_labels, clip.labels, size=(height, width))
    pictures = functools.partial(read_frames, clip.video, height=height, width=width)
    return Readers(pictures, white, labels)


def encode_from(
    encoders: Encoders,
    recipe: PrecomputeRecipe,
    clip: Clip,
    cut: Sequence[tuple[int, int]],
    readers: Readers,
) -> ClipRecord:
    """Encodes the frames of a clip, whatever they are read from.

    cut: the clip's shots as far as its video has them, [first, stop). Raises InputError if all
    shots are too short.
    """
    video = recipe.video
    # Which frames of the video are needed: each shot's target, and what later shots see of it.
    targets = _target_numbers(encoders.preset, video, clip, cut)
    # A shot reaches at least as far as its target.
    shots = []
    for (first, stop), target in zip(cut, targets, strict=True):
        shots.append((first, max(stop, int(target[-1]) + 1)))
    kept = []
    for number, (first, stop) in enumerate(shots):
        kept.append(candidates(number, first, stop - first, recipe.context))

    # All of them are read in one pass over the video, each once.
    wanted = np.unique(np.concatenate([*targets, *kept]))
    pictures = readers.pictures(wanted)  # [p, y, x, 3]

    def pictures_of(frames: Sequence[int] | np.ndarray) -> np.ndarray:
        """Frames by their numbers in the video, [p, y, x, 3] uint8."""
        return pictures[np.searchsorted(wanted, frames)]

    # Targets [f, h, w, c], one of each shot, and what their masks say of the same cells.
    latents = encode_shots(encoders, list(map(pictures_of, targets)))
    time = encoders.preset.vae.time
    masks = []
    if readers.white is not None:
        masks = latent_masks(readers.white, targets, latents, time)
    # And what the same cells show, of targets and context frames.
    labels = ClipLabels([], [])
    if readers.labels is not None:
        grid = encoders.preset.latent_grid(video)
        labels = clip_labels(readers.labels, targets, kept, grid, time)
    # A context frame is a video of one frame; those of all shots are encoded together.
    alone = [pictures_of([frame]) for frame in np.concatenate(kept)]
    context = np.concatenate(encode_shots(encoders, alone))  # [n of all shots, h, w, c]
    return ClipRecord(
        name=clip.name,
        global_caption=clip.global_caption,
        captions=clip.captions,
        shots=np.asarray(shots),
        targets=latents,
        frames=kept,
        context=_split(context, kept),
        text=encode_prompts(encoders, clip.name, clip.global_caption, clip.captions),
        masks=masks,
        labels=labels.targets,
        context_labels=labels.context,
    )


def _cut_shots(preset: Preset, video: VideoFormat, clip: Clip) -> Sequence[tuple[int, int]]:
    """The clip's shots, [first, stop) frames, cut to what its video has."""
    # A look at the whole file: one that is cut off or damaged is refused before it is encoded.
    info = probe(clip.video)
    last = clip.shots[-1]
    if last[1] > info.frames:
        raise InputError(
            f"shot {len(clip.shots)}, {list(last)}, stops behind the end of {clip.video}, which "
            f"has {info.frames} frames: correct frame_number"
        )
    if abs(info.fps - video.fps) > 0.01:
        logging.info(
            "%s has %.2f frames/s, the recipe %d; its frames are kept as they are",
            clip.name,
            info.fps,
            video.fps,
        )
    _, shots = cut_clip(clip.shots, info.frames, preset.vae.time)
    return shots


def _target_numbers(
    preset: Preset, video: VideoFormat, clip: Clip, cut: Sequence[tuple[int, int]]
) -> list[np.ndarray]:
    """The frames' numbers of each shot's training target."""
    most = preset.vae.pixel_frames(video.shot_frames)
    time = preset.vae.time
    targets = []
    for (first, stop), (_, cut_stop) in zip(clip.shots, cut, strict=True):
        targets.append(shot_target(first, stop, cut_stop, most, time))
    # A clip is of use if at least one shot fills a chunk of latent frames.
    longest = 1 + (max(map(len, targets)) - 1) // time
    chunk = preset.memory.chunk
    if longest < chunk:
        raise InputError(f"its longest shot has {longest} latent frames, a chunk has {chunk}")
    return targets


def _split(rows: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Consecutive rows, as many for each shot as its entry of `like` has."""
    lengths = list(map(len, like))
    # A split point behind every shot but the last one.
    return np.split(rows, np.cumsum(lengths)[:-1])


def read_white(
    path: pathlib.Path, wanted: np.ndarray, height: int, width: int
) -> Float[np.ndarray, "n y x"]:
    """How white some frames of a mask are, 0 to 1, scaled and cut as the pictures are."""
    return read_frames(path, wanted, height, width).mean(axis=-1) / 255


def latent_masks(
    white: Callable[[np.ndarray], np.ndarray],
    targets: Sequence[np.ndarray],
    latents: Sequence[np.ndarray],
    time: int,
) -> list[np.ndarray]:
    """How much each cell [f, h, w] of the shots' latents matters, 0 to 1.

    white: as in Readers. targets: each shot's frames.
    """
    wanted = np.unique(np.concatenate(targets))
    pictures = white(wanted)  # [p of all shots, y, x]
    masks = []
    for target, latent in zip(targets, latents, strict=True):
        mask = pictures[np.searchsorted(wanted, target)]
        masks.append(latent_mask(mask, latent.shape[:3], time))
    return masks


def latent_mask(
    mask: Float[np.ndarray, "p y x"], shape: Sequence[int], time: int
) -> Float[np.ndarray, "f h w"]:
    """Means over the pixels that each latent cell stands for, float16.

    A shot's first latent frame stands for one pixel frame, each later one for `time` frames.
    shape: (f, h, w).
    """
    _, rows, columns = shape
    cells = cell_means(mask[..., None], (rows, columns), time)  # [f, h, w, 1]
    return cells[..., 0].astype(np.float16)


@functools.partial(jax.jit, static_argnames="vae")
@typechecked
def encode_first_pixels(
    vae: VAE, params: Params, frame: UInt8[Array, "b 1 y x 3"]
) -> tuple[codec.VaeStream, Float[Array, "b 1 h w c"]]:
    """First frames of shots, or context frames, each a video by itself.

    Returns the encoder's state and the latents in float16.
    """
    stream, latent = codec.encode_first(vae, params, codec.from_uint8(frame))
    return stream, latent.astype(jnp.float16)


@functools.partial(jax.jit, static_argnames="vae", donate_argnames="stream")
@typechecked
def encode_next_pixels(
    vae: VAE, params: Params, stream: codec.VaeStream, frames: UInt8[Array, "b p y x 3"]
) -> tuple[codec.VaeStream, Float[Array, "b 1 h w c"]]:
    """The pixel frames of the next latent frame; returns as encode_first_pixels."""
    stream, latent = codec.encode_next(vae, params, stream, codec.from_uint8(frames))
    return stream, latent.astype(jnp.float16)


def encode_shots(encoders: Encoders, shots: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Latents [f, h, w, c] of shots of time·n + 1 frames [p, y, x, 3] uint8.

    Shots of one length are encoded together.
    """
    # The shots' numbers by their length.
    by_length: dict[int, list[int]] = {}
    for number, shot in enumerate(shots):
        by_length.setdefault(len(shot), []).append(number)
    pixels = shots[0].shape[1] * shots[0].shape[2]
    allowed = _BATCH_PIXELS.get(jax.default_backend(), _BATCH_PIXELS_ELSEWHERE)
    most = max(1, allowed // pixels)
    latents: dict[int, np.ndarray] = {}
    for length in sorted(by_length):
        alike = by_length[length]
        for part in power_of_two_slices(len(alike), most):
            numbers = alike[part]
            batch = np.stack([shots[number] for number in numbers])  # [b, p, y, x, 3]
            encoded = _encode(encoders, batch)
            latents.update(zip(numbers, encoded, strict=True))
    # In the order in which they came.
    return [latents[number] for number in range(len(shots))]


def power_of_two_slices(count: int, most: int) -> Iterator[slice]:
    """Splits rows into few batches whose sizes are powers of two, at most `most` each.

    A few compiled programs then serve any number. Worked example: 13 rows, at most 9: 8, 4, 1.
    """
    first = 0
    while first < count:
        # The largest power of two that is not above what is left and what is allowed.
        size = 1 << (min(count - first, most).bit_length() - 1)
        yield slice(first, first + size)
        first += size


def _encode(
    encoders: Encoders, pictures: UInt8[np.ndarray, "b p y x 3"]
) -> Float[np.ndarray, "b f h w c"]:
    """Shots of one length. Two programs, whatever the length."""
    vae = encoders.vae
    params = encoders.vae_params
    time = encoders.preset.vae.time
    # The first pixel frame is a latent frame by itself, then `time` of them make one.
    stream, latent = encode_first_pixels(vae, params, jnp.asarray(pictures[:, :1]))
    latents = [latent]
    for first in range(1, pictures.shape[1], time):
        frames = jnp.asarray(pictures[:, first : first + time])
        stream, latent = encode_next_pixels(vae, params, stream, frames)
        latents.append(latent)
    return np.concatenate(jax.device_get(latents), axis=1)


def encode_prompts(
    encoders: Encoders, name: str, global_caption: str, captions: Sequence[str]
) -> list[np.ndarray]:
    """The embedding [l, e] of every shot's prompt. name: of the clip, for warnings."""
    embeddings = []
    for number, caption in enumerate(captions):
        prompt = shot_prompt(global_caption, number, caption)
        what = f"{name}, shot {number + 1}"
        notes = make_notes(
            encoders.tokenizer, global_caption, caption, prompt, encoders.preset.dit.text_len
        )
        warn_of_notes(notes, what)
        embeddings.append(encode_text(encoders, prompt))
    return embeddings


def encode_text(encoders: Encoders, prompt: str) -> Float[np.ndarray, "l e"]:
    """The valid rows of a prompt's embedding, in the encoder's type."""
    tokens, embedding = embed_prompt(
        encoders.text,
        encoders.text_params,
        encoders.tokenizer,
        prompt,
        encoders.preset.dit.text_len,
    )
    # [1, l, e] → [valid, e]
    rows = np.asarray(embedding[0])[: tokens.valid]
    return rows.astype(encoders.text.dtype)


def encode_negative(encoders: Encoders, prompt: str) -> Float[np.ndarray, "l e"]:
    """The negative prompt's embedding; for "" one without rows, which stands for zeros."""
    if not prompt:
        return np.zeros((0, encoders.preset.dit.text_dim), np.float32)
    notes = make_notes(encoders.tokenizer, "", prompt, prompt, encoders.preset.dit.text_len)
    warn_of_notes(notes, "the negative prompt")
    return encode_text(encoders, prompt)
