"""Encode a table of clips once, before training: latents of every shot, context frames, prompts.

  python -m shotstream_jax.precompute --csv examples/film/clips.csv --out out/film
  python -m shotstream_jax.precompute --config configs/precompute.py:wan-1.3b --config.checkpoint=DIR \\
      --csv clips.csv --out DATA --shards 64 --part 3/16

  python -m shotstream_jax.precompute --config.checkpoint=TEACHER --latents-from DATA --out DATA2

The table is described in data/clips.py, the folder in data/records.py. Shard s holds the rows s, s + N, …; `--part p/P`
makes the shards p, p + P, …, so that several machines can share a folder. What an interrupted run has finished is kept
by the next one; the run that finds all shards there writes dataset.json. A clip that cannot be used is skipped, named
in the log and listed in dataset.json. With --latents-from only the prompts are encoded (by a text encoder that has been
trained), the rest is copied.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from absl import logging
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from shotstream_jax import cli
from shotstream_jax.checkpoint.load import DTYPES, preset_of
from shotstream_jax.core.errors import InputError
from shotstream_jax.data import records
from shotstream_jax.data.clips import Clip, read_clips
from shotstream_jax.data.records import Broken, ClipRecord, Dataset, Settings
from shotstream_jax.precompute.encode import (
    Encoders,
    Recipe,
    encode_clip,
    encode_negative,
    encode_prompts,
    load_encoders,
)
from shotstream_jax.presets import Preset
from shotstream_jax.text.prompts import check_caption

SHARDS = 4
Results = Iterable[ClipRecord | Broken]


class Work(NamedTuple):
    """What is to be encoded. clips: how many of each shard. make: the records of a shard."""

    settings: Settings
    clips: list[int]
    make: Callable[[Encoders, int], Results]


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.precompute", __doc__)
    p.add_recipe("precompute")
    p.add_argument("--csv", metavar="FILE", help="the table of clips")
    p.add_argument(
        "--latents-from", metavar="DIR", help="in place of a table: a folder that was made with one"
    )
    p.add_argument(
        "--out", required=True, metavar="DIR", help="the folder to make, or to go on with"
    )
    p.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help=f"files to spread the clips over (default: {SHARDS})",
    )
    p.add_argument(
        "--part",
        default="0/1",
        metavar="p/P",
        help="this run's share of the shards, p from 0 (default: 0/1)",
    )
    p.add_argument(
        "--allow-gaps", action="store_true", help="frames between two shots may belong to none"
    )
    return p


def main(argv: Sequence[str]) -> None:
    # Whatever can be refused is refused before a model is loaded.
    args, config = parser().parse(argv)
    recipe = cli.build(Recipe, config, "config")
    preset = preset_of(recipe.checkpoint)
    check(recipe, preset)
    if bool(args.csv) == bool(args.latents_from):
        raise InputError("name what to encode: --csv FILE or --latents-from DIR")
    work = from_table(args, recipe, preset) if args.csv else from_latents(args, recipe, preset)
    settings, folder = work.settings, pathlib.Path(args.out)
    mine = own_shards(settings.shard_count, args.part)
    records.claim_folder(folder, settings)
    todo = [shard for shard in mine if not records.shard_done(folder, settings.shards[shard])]
    if len(todo) < len(mine):
        logging.info(
            "%s: %d of %d shards are there already", folder, len(mine) - len(todo), len(mine)
        )
    if todo or not (folder / "negative.npz").exists():
        encode_shards(recipe, work, folder, todo)
    if not records.finish_dataset(folder, settings):
        done = sum(records.shard_done(folder, shard) for shard in settings.shards)
        logging.info(
            "%s: %d of %d shards are there; the other parts are to come",
            folder,
            done,
            settings.shard_count,
        )
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
    if not match or int(match[1]) >= int(match[2]):
        raise InputError(f"--part {part} must be p/P with p from 0 to P - 1, like 0/4")
    if int(match[1]) >= shards:
        raise InputError(
            f"--part {part} has nothing to do: there are {shards} shards; raise --shards"
        )
    return list(range(int(match[1]), shards, int(match[2])))


def from_table(args: Namespace, recipe: Recipe, preset: Preset) -> Work:
    """Clips of video files."""
    shards = SHARDS if args.shards is None else args.shards
    if shards < 1:
        raise InputError(f"--shards {shards} must be at least 1")
    clips = read_clips(args.csv, args.allow_gaps)
    shares = [clips[shard::shards] for shard in range(shards)]

    def make(encoders: Encoders, shard: int) -> Iterator[ClipRecord | Broken]:
        for clip in shares[shard]:
            try:
                yield encode_clip(encoders, recipe, clip)
            except InputError as error:
                logging.warning("%s is skipped: %s", clip.name, error)
                yield Broken(clip.name, str(error))

    return Work(
        settings_of(recipe, preset, pathlib.Path(args.csv), clips, shards),
        list(map(len, shares)),
        make,
    )


def from_latents(args: Namespace, recipe: Recipe, preset: Preset) -> Work:
    """A folder's clips with other embeddings of their prompts; pictures, context and captions are that folder's."""
    if args.shards is not None or args.allow_gaps:
        raise InputError(
            "--shards and --allow-gaps are for a table: with --latents-from they are that folder's"
        )
    dataset = records.open_dataset(args.latents_from)
    if dataset.settings.preset != preset.name:
        raise InputError(
            f"{args.latents_from} was made for {dataset.settings.preset}, {recipe.checkpoint} is {preset.name}"
        )
    settings = dataclasses.replace(
        dataset.settings,
        checkpoint=recipe.checkpoint,
        dtype=recipe.dtype,
        negative_prompt=recipe.negative_prompt,
    )
    shards = range(settings.shard_count)
    clips = [sum(1 for _ in records.shard_entries(dataset, shard)) for shard in shards]
    return Work(settings, clips, functools.partial(_told_again, dataset))


def _told_again(dataset: Dataset, encoders: Encoders, shard: int) -> Iterator[ClipRecord | Broken]:
    for entry in records.shard_entries(dataset, shard):
        if isinstance(entry, Broken):
            yield entry
            continue
        record = dataset.record(entry)
        text = encode_prompts(encoders, record.name, record.global_caption, record.captions)
        yield dataclasses.replace(record, text=text)


def settings_of(
    recipe: Recipe, preset: Preset, csv: pathlib.Path, clips: list[Clip], shards: int
) -> Settings:
    where = csv.parent  # the folder's own place may differ between machines
    table = [
        (c.name, os.path.relpath(c.video, where), c.global_caption, c.captions, c.shots)
        + ((os.path.relpath(c.mask, where),) if c.mask else ())
        for c in clips
    ]
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


def encode_shards(recipe: Recipe, work: Work, folder: pathlib.Path, todo: list[int]) -> None:
    """The shards that are still to be made, one after the other."""
    encoders = load_encoders(recipe.checkpoint, recipe.dtype)
    if not (folder / "negative.npz").exists():
        records.write_negative(folder, encode_negative(encoders, recipe.negative_prompt))
    total = sum(work.clips[shard] for shard in todo)
    with logging_redirect_tqdm(), tqdm(total=total, unit="clip", desc=str(folder)) as bar:
        for shard in todo:
            records.write_shard(
                folder, work.settings.shards[shard], _counted(work.make(encoders, shard), bar)
            )


def _counted(results: Results, bar: tqdm) -> Iterator[ClipRecord | Broken]:
    for result in results:
        yield result
        bar.update()


if __name__ == "__main__":
    cli.run(main)
