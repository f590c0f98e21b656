"""Encode a table of clips once, before training: latents of every shot, context frames, prompts.

  python -m shotstream_jax.precompute --csv examples/film/clips.csv --out out/film
  python -m shotstream_jax.precompute --config configs/precompute.py:wan-1.3b --config.checkpoint=DIR \\
      --csv clips.csv --out DATA --shards 64 --part 3/16

The table is described in data/clips.py, the folder in data/records.py. Shard s holds the rows s, s + N, …; `--part p/P`
makes the shards p, p + P, …, so that several machines can share a folder. What an interrupted run has finished is kept
by the next one; the run that finds all shards there writes dataset.json. A clip that cannot be used is skipped, named
in the log and listed in dataset.json.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from shotstream_jax import cli
from shotstream_jax.convert import native
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, UInt8, typechecked
from shotstream_jax.data import records
from shotstream_jax.data.clips import Clip, cut_clip, read_clips, target_frames
from shotstream_jax.data.reader import probe, read_frames
from shotstream_jax.data.records import Broken, ClipRecord, Settings
from shotstream_jax.generate.shot import encode_prompt
from shotstream_jax.load import DTYPES, cast, load, load_part, load_tokenizer, preset_of
from shotstream_jax.memory.select import candidates
from shotstream_jax.model import Params
from shotstream_jax.presets import Preset, VideoFormat
from shotstream_jax.text.prompts import check_caption, shot_prompt
from shotstream_jax.text.tokenizer import Tokenizer, tokenize
from shotstream_jax.text.umt5 import UMT5
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE


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


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.precompute", __doc__)
    p.add_recipe("configs/precompute.py")
    p.add_argument("--csv", required=True, metavar="FILE", help="the table of clips")
    p.add_argument("--out", required=True, metavar="DIR", help="the folder to make, or to go on with")
    p.add_argument("--shards", type=int, default=4, metavar="N", help="files to spread the clips over (default: 4)")
    p.add_argument(
        "--part", default="0/1", metavar="p/P", help="this run's share of the shards, p from 0 (default: 0/1)"
    )
    p.add_argument("--allow-gaps", action="store_true", help="frames between two shots may belong to none")
    return p


def main(argv: Sequence[str]) -> None:
    # Whatever can be refused is refused before a model is loaded.
    args, config = parser().parse(argv)
    recipe = cli.build(Recipe, config, "config")
    preset = preset_of(recipe.checkpoint)
    check(recipe, preset)
    mine = own_shards(args.shards, args.part)
    clips = read_clips(args.csv, args.allow_gaps)
    folder = pathlib.Path(args.out)
    settings = settings_of(recipe, preset, pathlib.Path(args.csv), clips, args.shards)
    records.claim_folder(folder, settings)
    todo = [shard for shard in mine if not records.shard_done(folder, settings.shards[shard])]
    if len(todo) < len(mine):
        logging.info("%s: %d of %d shards are there already", folder, len(mine) - len(todo), len(mine))
    if todo or not (folder / "negative.npz").exists():
        encode_shards(recipe, clips, folder, settings, todo)
    if not records.finish_dataset(folder, settings):
        done = sum(records.shard_done(folder, shard) for shard in settings.shards)
        logging.info("%s: %d of %d shards are there; the other parts are to come", folder, done, args.shards)
        return
    dataset = records.open_dataset(folder)
    logging.info("%s: %d clips, %d broken ones skipped", folder, len(dataset), len(dataset.broken))


def check(recipe: Recipe, preset: Preset) -> None:
    """Refuses a recipe that the model cannot follow."""
    if recipe.dtype not in DTYPES:
        raise InputError(f"dtype {recipe.dtype!r} is not known; choose one of {', '.join(DTYPES)}")
    if recipe.context < 1:
        raise InputError(
            f"context {recipe.context} must be at least 1 frame; the model's own is {preset.memory.context}"
        )
    if recipe.negative_prompt:
        check_caption(recipe.negative_prompt, "config.negative_prompt")
    preset.latent_grid(recipe.video)


def own_shards(shards: int, part: str) -> list[int]:
    """The shards that a part p/P makes."""
    match = re.fullmatch(r"(\d+)/(\d+)", part)
    if shards < 1:
        raise InputError(f"--shards {shards} must be at least 1")
    if not match or int(match[1]) >= int(match[2]):
        raise InputError(f"--part {part} must be p/P with p from 0 to P - 1, like 0/4")
    if int(match[1]) >= shards:
        raise InputError(f"--part {part} has nothing to do: there are {shards} shards; raise --shards")
    return list(range(int(match[1]), shards, int(match[2])))


def settings_of(recipe: Recipe, preset: Preset, csv: pathlib.Path, clips: list[Clip], shards: int) -> Settings:
    where = csv.parent  # the folder's own place may differ between machines
    table = [(c.name, os.path.relpath(c.video, where), c.global_caption, c.captions, c.shots) for c in clips]
    return Settings(
        format=records.FORMAT_VERSION,
        preset=preset.name,
        context=recipe.context,
        dtype=recipe.dtype,
        checkpoint=recipe.checkpoint,
        negative_prompt=recipe.negative_prompt,
        csv=csv.name,
        clips_sha256=hashlib.sha256(json.dumps(table).encode()).hexdigest(),
        shard_count=shards,
        **dataclasses.asdict(recipe.video),
    )


def encode_shards(recipe: Recipe, clips: list[Clip], folder: pathlib.Path, settings: Settings, todo: list[int]) -> None:
    """The shards that are still to be made, one after the other."""
    encoders = load_encoders(recipe.checkpoint, recipe.dtype)
    if not (folder / "negative.npz").exists():
        records.write_negative(folder, encode_negative(encoders, recipe.negative_prompt))
    shares = {shard: clips[shard :: settings.shard_count] for shard in todo}
    total = sum(map(len, shares.values()))
    with logging_redirect_tqdm(), tqdm(total=total, unit="clip", desc=str(folder)) as bar:
        for shard, share in shares.items():
            records.write_shard(folder, settings.shards[shard], _results(encoders, recipe, share, bar))


def _results(encoders: Encoders, recipe: Recipe, clips: list[Clip], bar: tqdm) -> Iterator[ClipRecord | Broken]:
    result: ClipRecord | Broken
    for clip in clips:
        try:
            result = encode_clip(encoders, recipe, clip)
        except InputError as error:
            logging.warning("%s is skipped: %s", clip.name, error)
            result = Broken(clip.name, str(error))
        yield result
        bar.update()


def load_encoders(checkpoint: str, dtype: str) -> Encoders:
    """A checkpoint's encoders; its transformer is not read."""
    use_persistent_cache()
    preset, folder = preset_of(checkpoint), pathlib.Path(checkpoint)
    if folder.is_dir():
        if lacking := [part for part in ("vae", "text") if part not in native.read_config(folder)["parts"]]:
            raise InputError(f"{folder} lacks {', '.join(lacking)}: import it with both")
        tokenizer = load_tokenizer(preset, folder)
        vae, text = load_part(preset, "vae", folder), load_part(preset, "text", folder, DTYPES[dtype])
    else:
        model = load(checkpoint)
        tokenizer, vae = model.tokenizer, model.params["vae"]
        text = cast({"text": model.params["text"]}, DTYPES[dtype])["text"]
    return Encoders(preset, VAE(preset.vae), vae, UMT5(preset.text, DTYPES[dtype]), text, tokenizer)


def encode_clip(encoders: Encoders, recipe: Recipe, clip: Clip) -> ClipRecord:
    """Reads and encodes one clip. Raises InputError if it cannot be used."""
    cfg, video = encoders.preset.vae, recipe.video
    info = probe(clip.video)
    if abs(info.fps - video.fps) > 0.01:
        logging.info(
            "%s has %.2f frames/s, the recipe %d; its frames are kept as they are", clip.name, info.fps, video.fps
        )
    _, shots = cut_clip(clip.shots, info.frames, cfg.time)
    targets = [target_frames(a, b - a, cfg.pixel_frames(video.shot_frames), cfg.time) for a, b in shots]
    longest, chunk = max(1 + (len(frames) - 1) // cfg.time for frames in targets), encoders.preset.memory.chunk
    if longest < chunk:
        raise InputError(f"its longest shot has {longest} latent frames, a chunk has {chunk}")
    kept = [candidates(k, a, b - a, recipe.context) for k, (a, b) in enumerate(shots)]
    wanted = np.unique(np.concatenate([*targets, *kept]))
    pictures = read_frames(clip.video, wanted, video.height, video.width)
    taken = lambda frames: pictures[np.searchsorted(wanted, frames)]  # noqa: E731
    prompts = [shot_prompt(clip.global_caption, k, caption) for k, caption in enumerate(clip.captions)]
    return ClipRecord(
        name=clip.name,
        global_caption=clip.global_caption,
        captions=clip.captions,
        shots=np.asarray(shots),
        targets=[encode_shot(encoders, taken(frames)) for frames in targets],
        frames=kept,
        context=[encode_alone(encoders, taken(frames)) for frames in kept],
        text=[encode_text(encoders, prompt, f"{clip.name}, shot {k}") for k, prompt in enumerate(prompts, 1)],
    )


@functools.partial(jax.jit, static_argnames="vae")
@typechecked
def encode_first(
    vae: VAE, params: Params, frame: UInt8[Array, "1 y x 3"]
) -> tuple[codec.VaeStream, Float[Array, "1 h w c"]]:
    """A shot's first frame, or a context frame, which is a video by itself: (stream, latent in float16)."""
    stream, latent = codec.encode_first(vae, params, codec.from_uint8(frame)[None])
    return stream, latent[0].astype(jnp.float16)


@functools.partial(jax.jit, static_argnames="vae", donate_argnames="stream")
@typechecked
def encode_next(
    vae: VAE, params: Params, stream: codec.VaeStream, frames: UInt8[Array, "p y x 3"]
) -> tuple[codec.VaeStream, Float[Array, "1 h w c"]]:
    """Each later latent frame's pixel frames."""
    stream, latent = codec.encode_next(vae, params, stream, codec.from_uint8(frames)[None])
    return stream, latent[0].astype(jnp.float16)


def encode_shot(encoders: Encoders, pictures: UInt8[np.ndarray, "p y x 3"]) -> Float[np.ndarray, "f h w c"]:
    """The latents of time·n + 1 frames. Two programs, whatever the length."""
    vae, params, time = encoders.vae, encoders.vae_params, encoders.preset.vae.time
    stream, latent = encode_first(vae, params, jnp.asarray(pictures[:1]))
    latents = [latent]
    for first in range(1, len(pictures), time):
        stream, latent = encode_next(vae, params, stream, jnp.asarray(pictures[first : first + time]))
        latents.append(latent)
    return np.concatenate(jax.device_get(latents))


def encode_alone(encoders: Encoders, pictures: UInt8[np.ndarray, "p y x 3"]) -> Float[np.ndarray, "p h w c"]:
    """The latent of each frame, encoded by itself."""
    each = (jnp.asarray(picture[None]) for picture in pictures)
    latents = [encode_first(encoders.vae, encoders.vae_params, frame)[1] for frame in each]
    return np.concatenate(jax.device_get(latents))


def encode_text(encoders: Encoders, prompt: str, what: str) -> Float[np.ndarray, "l e"]:
    """The valid rows of a prompt's embedding, in the encoder's type."""
    length = encoders.preset.dit.text_len
    tokens = tokenize(encoders.tokenizer, prompt, length)
    if tokens.cut:
        logging.warning(
            "%s: the prompt is too long, its last %d tokens were cut (%d fit)", what, tokens.cut, length - 1
        )
    ids, valid = jnp.asarray(tokens.ids[None]), jnp.asarray([tokens.valid])
    text = encode_prompt(encoders.text, encoders.text_params, ids, valid)
    return np.asarray(text[0])[: tokens.valid].astype(encoders.text.dtype)


def encode_negative(encoders: Encoders, prompt: str) -> Float[np.ndarray, "l e"]:
    if not prompt:
        return np.zeros((0, encoders.preset.dit.text_dim), np.float32)
    return encode_text(encoders, prompt, "the negative prompt")


if __name__ == "__main__":
    cli.run(main)
