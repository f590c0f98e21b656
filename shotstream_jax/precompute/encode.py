"""One clip's pictures and prompts → its record, by the encoders of a checkpoint."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.load import DTYPES
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, UInt8, typechecked
from shotstream_jax.data.clips import Clip, cut_clip, target_frames
from shotstream_jax.data.records import ClipRecord
from shotstream_jax.generate.shot import encode_prompt
from shotstream_jax.media.reader import probe, read_frames
from shotstream_jax.memory.select import candidates
from shotstream_jax.model import Params
from shotstream_jax.presets import Preset, VideoFormat
from shotstream_jax.text.prompts import shot_prompt
from shotstream_jax.text.tokenizer import Tokenizer, tokenize
from shotstream_jax.text.umt5 import UMT5
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE

_BATCH_PIXELS = (
    2**14
)  # of a call's rows: 8 of the miniature's; a large picture goes alone, as memory is short there


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The fields of a recipe. video.shot_frames: latent frames that a training target has at most.

    negative_prompt: "" stands for embeddings of zeros, which is what a model sees in training when it is told nothing.
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


def load_encoders(checkpoint: str, dtype: str) -> Encoders:
    """A checkpoint's encoders; its transformer is not read."""
    use_persistent_cache()
    opened = open_checkpoint(checkpoint)
    preset, tokenizer = opened.preset, opened.tokenizer()
    vae, text = opened.load_params("vae"), opened.load_params("text", DTYPES[dtype])
    return Encoders(preset, VAE(preset.vae), vae, UMT5(preset.text, DTYPES[dtype]), text, tokenizer)


def encode_clip(encoders: Encoders, recipe: Recipe, clip: Clip) -> ClipRecord:
    """Reads and encodes one clip. Raises InputError if it cannot be used."""
    cfg, video = encoders.preset.vae, recipe.video
    info = probe(clip.video)
    if abs(info.fps - video.fps) > 0.01:
        logging.info(
            "%s has %.2f frames/s, the recipe %d; its frames are kept as they are",
            clip.name,
            info.fps,
            video.fps,
        )
    _, shots = cut_clip(clip.shots, info.frames, cfg.time)
    targets = [
        target_frames(a, b - a, cfg.pixel_frames(video.shot_frames), cfg.time) for a, b in shots
    ]
    longest, chunk = (
        max(1 + (len(frames) - 1) // cfg.time for frames in targets),
        encoders.preset.memory.chunk,
    )
    if longest < chunk:
        raise InputError(f"its longest shot has {longest} latent frames, a chunk has {chunk}")
    kept = [candidates(k, a, b - a, recipe.context) for k, (a, b) in enumerate(shots)]
    wanted = np.unique(np.concatenate([*targets, *kept]))
    pictures = read_frames(clip.video, wanted, video.height, video.width)
    taken = lambda frames: pictures[np.searchsorted(wanted, frames)]  # noqa: E731
    latents = encode_shots(encoders, [taken(frames) for frames in targets])
    context = iter(encode_shots(encoders, [taken([frame]) for frames in kept for frame in frames]))
    return ClipRecord(
        name=clip.name,
        global_caption=clip.global_caption,
        captions=clip.captions,
        shots=np.asarray(shots),
        targets=latents,
        frames=kept,
        context=[np.concatenate([next(context) for _ in frames]) for frames in kept],
        text=encode_prompts(encoders, clip.name, clip.global_caption, clip.captions),
        masks=[] if clip.mask is None else read_masks(clip.mask, targets, latents, video, cfg.time),
    )


def read_masks(
    path: pathlib.Path,
    targets: Sequence[np.ndarray],
    latents: Sequence[np.ndarray],
    video: VideoFormat,
    time: int,
) -> list[np.ndarray]:
    """How white each cell [f, h, w] of the shots' latents is in the mask's frames, scaled and cut as the pictures are.

    targets: each shot's frames.
    """
    wanted = np.concatenate(targets)
    pictures = read_frames(path, wanted, video.height, video.width)
    masks = np.split(
        pictures.mean(axis=-1) / 255, np.cumsum([len(frames) for frames in targets])[:-1]
    )
    return [
        latent_mask(mask, latent.shape[:3], time)
        for mask, latent in zip(masks, latents, strict=True)
    ]


def latent_mask(
    mask: Float[np.ndarray, "p y x"], shape: Sequence[int], time: int
) -> Float[np.ndarray, "f h w"]:
    """Means over what each latent cell stands for: the first frame alone, then `time` frames each."""
    frames, rows, columns = shape
    of_time = np.concatenate(
        [mask[:1], mask[1:].reshape(frames - 1, time, *mask.shape[1:]).mean(axis=1)]
    )
    cells = of_time.reshape(frames, rows, mask.shape[1] // rows, columns, mask.shape[2] // columns)
    return cells.mean(axis=(2, 4)).astype(np.float16)


@functools.partial(jax.jit, static_argnames="vae")
@typechecked
def encode_first(
    vae: VAE, params: Params, frame: UInt8[Array, "b 1 y x 3"]
) -> tuple[codec.VaeStream, Float[Array, "b 1 h w c"]]:
    """First frames of shots, or context frames, each a video by itself: (stream, latents in float16)."""
    stream, latent = codec.encode_first(vae, params, codec.from_uint8(frame))
    return stream, latent.astype(jnp.float16)


@functools.partial(jax.jit, static_argnames="vae", donate_argnames="stream")
@typechecked
def encode_next(
    vae: VAE, params: Params, stream: codec.VaeStream, frames: UInt8[Array, "b p y x 3"]
) -> tuple[codec.VaeStream, Float[Array, "b 1 h w c"]]:
    """Each later latent frame's pixel frames."""
    stream, latent = codec.encode_next(vae, params, stream, codec.from_uint8(frames))
    return stream, latent.astype(jnp.float16)


def encode_shots(encoders: Encoders, shots: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Latents [f, h, w, c] of shots of time·n + 1 frames [p, y, x, 3] uint8, those of one length together."""
    latents: dict[int, np.ndarray] = {}
    for length in sorted(set(map(len, shots))):
        alike = [k for k, shot in enumerate(shots) if len(shot) == length]
        for part in batches(len(alike), max(1, _BATCH_PIXELS // shots[0][0, :, :, 0].size)):
            numbers = alike[part]
            made = _encode(encoders, np.stack([shots[k] for k in numbers]))
            latents |= dict(zip(numbers, made, strict=True))
    return [latents[k] for k in range(len(shots))]


def batches(count: int, most: int) -> Iterator[slice]:
    """Splits so many rows into few batches whose sizes are powers of two, so that few programs do for any number.

    Worked example: 13 rows, at most 9 → 8, 4, 1.
    """
    first = 0
    while first < count:
        size = 1 << (min(count - first, most).bit_length() - 1)
        yield slice(first, first + size)
        first += size


def _encode(
    encoders: Encoders, pictures: UInt8[np.ndarray, "b p y x 3"]
) -> Float[np.ndarray, "b f h w c"]:
    """Two programs, whatever the length."""
    vae, params, time = encoders.vae, encoders.vae_params, encoders.preset.vae.time
    stream, latent = encode_first(vae, params, jnp.asarray(pictures[:, :1]))
    latents = [latent]
    for first in range(1, pictures.shape[1], time):
        stream, latent = encode_next(
            vae, params, stream, jnp.asarray(pictures[:, first : first + time])
        )
        latents.append(latent)
    return np.concatenate(jax.device_get(latents), axis=1)


def encode_prompts(
    encoders: Encoders, name: str, global_caption: str, captions: Sequence[str]
) -> list[np.ndarray]:
    """The embedding [l, e] of every shot's prompt."""
    prompts = [shot_prompt(global_caption, k, caption) for k, caption in enumerate(captions)]
    return [
        encode_text(encoders, prompt, f"{name}, shot {k}") for k, prompt in enumerate(prompts, 1)
    ]


def encode_text(encoders: Encoders, prompt: str, what: str) -> Float[np.ndarray, "l e"]:
    """The valid rows of a prompt's embedding, in the encoder's type."""
    length = encoders.preset.dit.text_len
    tokens = tokenize(encoders.tokenizer, prompt, length)
    if tokens.cut:
        logging.warning(
            "%s: the prompt is too long, its last %d tokens were cut (%d fit)",
            what,
            tokens.cut,
            length - 1,
        )
    ids, valid = jnp.asarray(tokens.ids[None]), jnp.asarray([tokens.valid])
    text = encode_prompt(encoders.text, encoders.text_params, ids, valid)
    return np.asarray(text[0])[: tokens.valid].astype(encoders.text.dtype)


def encode_negative(encoders: Encoders, prompt: str) -> Float[np.ndarray, "l e"]:
    if not prompt:
        return np.zeros((0, encoders.preset.dit.text_dim), np.float32)
    return encode_text(encoders, prompt, "the negative prompt")
