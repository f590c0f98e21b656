"""Encode a table of clips once, before training: latents of every shot, context frames, prompts.

  shotstream precompute --csv examples/film/clips.csv --out out/film
  shotstream precompute --config precompute:wan-1.3b \\
      --config.checkpoint=DIR --csv clips.csv --out DATA --shards 64 --part 3/16
  shotstream precompute --config.checkpoint=TEACHER --latents-from DATA --out DATA2
  shotstream precompute --world world/settings.json --out DATA3

The table is described in data/clips.py, the folder in data/dataset.py. Shard s holds the rows s,
s + N, …; `--part p/P` makes the shards p, p + P, …, so that several machines can share a folder.
What an interrupted run has finished is kept by the next one; the run that finds all shards there
writes dataset.json. A clip that cannot be used is skipped, named in the log and listed in
dataset.json; the same command looks at it again if its files have changed since (and at all such
clips with --retry-broken). With --latents-from only the prompts are encoded (by a text encoder that
has been trained), the rest is copied. With --world stories are drawn while they are needed, by
processes of their own: the settings are those that `shotstream world` writes, and no video is.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Any

from absl import logging

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import Checkpoint, open_checkpoint
from shotstream_jax.checkpoint.checksum import part_checksum
from shotstream_jax.checkpoint.load import DTYPES
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.lock import locked
from shotstream_jax.core.ray_cluster import prepare_for_ray
from shotstream_jax.core.settings import own_settings
from shotstream_jax.data import dataset as dataset_folder
from shotstream_jax.data.clips import Clip, read_clips
from shotstream_jax.data.dataset import Broken, Dataset, Settings
from shotstream_jax.data.encode import (
    Encoders,
    PrecomputeRecipe,
    encode_clip,
    encode_prompts,
)
from shotstream_jax.data.records import ClipRecord
from shotstream_jax.data.samples import losses_text, whole_targets
from shotstream_jax.precompute.broken import encode_or_name, to_look_at
from shotstream_jax.precompute.drawn import encode_drawn, read_world, world_checksum
from shotstream_jax.precompute.shards import (
    EncodingJob,
    ShardWork,
    encode_shards,
    negative_path,
)
from shotstream_jax.presets import Preset
from shotstream_jax.text.prompts import check_caption

SHARDS = 4


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("shotstream_jax.precompute", __doc__)
    p.add_recipe("precompute")
    p.add_argument("--csv", metavar="FILE", help="the table of clips")
    p.add_argument(
        "--latents-from",
        metavar="DIR",
        help="in place of a table: a folder that was made with one",
    )
    p.add_argument(
        "--world",
        metavar="FILE.json",
        help="in place of a table: the settings of a drawn world, which is drawn meanwhile",
    )
    p.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="the folder to make, or to go on with",
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
        "--allow-gaps",
        action="store_true",
        help="frames between two shots may belong to none",
    )
    p.add_argument(
        "--retry-broken",
        action="store_true",
        help="look again at all clips that could not be encoded (else: if their files changed)",
    )
    p.add_argument(
        "--ray",
        action="store_true",
        help="a process for each device of the cluster of RAY_ADDRESS, else of this machine",
    )
    return p


@own_settings()
def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    # Every mistake that can be seen in the options is refused before a model is loaded.
    args, config = parser().parse(argv)
    recipe = cli.build(PrecomputeRecipe, config, "config")
    checkpoint = open_checkpoint(recipe.checkpoint)
    check_recipe(recipe, checkpoint.preset)
    if sum(map(bool, (args.csv, args.world, args.latents_from))) != 1:
        raise InputError("name what to encode: --csv FILE, --world FILE.json or --latents-from DIR")
    if args.csv:
        job = job_from_table(args, recipe, checkpoint)
    elif args.world:
        job = job_from_world(args, recipe, checkpoint)
    else:
        job = job_from_latents(args, recipe, checkpoint)
    if args.ray:
        prepare_for_ray()
    settings = job.settings
    folder = pathlib.Path(args.out)
    mine = own_shards(settings.shard_count, args.part)
    dataset_folder.claim_folder(folder, settings)

    # The folder is now this run's, or one with the same settings. Shards that an earlier run has
    # finished are kept, but for broken clips that are worth another look.
    todo = [
        shard for shard in mine if not dataset_folder.shard_done(folder, settings.shards[shard])
    ]
    again = _worth_another_look(job, folder, sorted(set(mine) - set(todo)), args.retry_broken)
    if len(todo) < len(mine):
        kept = len(mine) - len(todo)
        logging.info("%s: %d of %d shards are there already", folder, kept, len(mine))
    if todo or again or not negative_path(folder).exists():
        with _locked_shards(folder, settings, sorted([*todo, *again])):
            work = ShardWork(recipe, checkpoint, job, folder, todo, again)
            if args.ray and work.shards:
                _encode_on_ray(work)
            else:
                encode_shards(work)
    finish(folder, settings)


def _worth_another_look(
    job: EncodingJob, folder: pathlib.Path, shards: Sequence[int], all_of_them: bool
) -> dict[int, list[Clip]]:
    """Broken clips of complete shards that are encoded once more; those of a table only."""
    again: dict[int, list[Clip]] = {}
    if not job.shares:
        return again
    for shard in shards:
        name = job.settings.shards[shard]
        clips = to_look_at(folder, name, job.shares[shard], all_of_them)
        if clips:
            again[shard] = clips
    return again


def finish(folder: pathlib.Path, settings: Settings) -> None:
    """Completes the folder if all shards are there; logs how far it is."""
    if dataset_folder.finish_dataset(folder, settings):
        dataset = dataset_folder.open_dataset(folder)
        whole, lost = whole_targets(dataset)
        lost |= {"clips that could not be encoded": len(dataset.broken)}
        longest = settings.shot_frames
        what = f"{len(dataset)} clips, {whole} targets of {longest} latent frames"
        logging.info("%s: %s%s", folder, what, losses_text(lost))
        return
    done = 0
    for shard in settings.shards:
        done += dataset_folder.shard_done(folder, shard)
    logging.info(
        "%s: %d of %d shards are there; the other parts are to come",
        folder,
        done,
        settings.shard_count,
    )


def check_recipe(recipe: PrecomputeRecipe, preset: Preset) -> None:
    """Raises InputError for a recipe that does not fit the model."""
    if recipe.dtype not in DTYPES:
        raise InputError(f"dtype {recipe.dtype!r} is not known; choose one of {', '.join(DTYPES)}")
    if recipe.context < 1:
        raise InputError(
            f"context {recipe.context} must be at least 1 frame; "
            f"the model's own is {preset.memory.context}"
        )
    if recipe.negative_prompt:
        check_caption(recipe.negative_prompt, "config.negative_prompt")
    preset.latent_grid(recipe.video)


def own_shards(shards: int, part: str) -> list[int]:
    """The shards that a part "p/P" makes: p, p + P, … below `shards`."""
    match = re.fullmatch(r"(\d+)/(\d+)", part)
    if not match or int(match[1]) >= int(match[2]):
        raise InputError(f"--part {part} must be p/P with p from 0 to P - 1, like 0/4")
    first = int(match[1])
    parts = int(match[2])
    if first >= shards:
        raise InputError(
            f"--part {part} has nothing to do: there are {shards} shards; raise --shards"
        )
    return list(range(first, shards, parts))


def job_from_table(
    args: Namespace, recipe: PrecomputeRecipe, checkpoint: Checkpoint
) -> EncodingJob:
    """The clips of a table of video files."""
    shards = SHARDS if args.shards is None else args.shards
    if shards < 1:
        raise InputError(f"--shards {shards} must be at least 1")
    clips = read_clips(args.csv, args.allow_gaps)
    # Shard s has the clips s, s + shards, …
    shares = [clips[shard::shards] for shard in range(shards)]

    def encode(encoders: Encoders, shard: int) -> Iterator[ClipRecord | Broken]:
        """The records of a shard's clips; one that cannot be used is named and skipped."""
        for clip in shares[shard]:
            yield encode_or_name(functools.partial(encode_clip, encoders, recipe), clip)

    settings = table_settings(recipe, checkpoint, pathlib.Path(args.csv), clips, shards)
    return EncodingJob(settings, list(map(len, shares)), encode, shares)


def job_from_world(
    args: Namespace, recipe: PrecomputeRecipe, checkpoint: Checkpoint
) -> EncodingJob:
    """Stories that are drawn meanwhile."""
    if args.allow_gaps or args.retry_broken:
        raise InputError("--allow-gaps and --retry-broken are for a table, not for --world")
    shards = SHARDS if args.shards is None else args.shards
    if shards < 1:
        raise InputError(f"--shards {shards} must be at least 1")
    source = read_world(args.world, recipe)
    # Shard s has the stories s, s + shards, …
    shares = [range(shard, len(source), shards) for shard in range(shards)]

    def encode(encoders: Encoders, shard: int) -> Iterator[ClipRecord | Broken]:
        """The records of a shard's stories."""
        return encode_drawn(encoders, recipe, source, shares[shard])

    settings = encoding_settings(recipe, checkpoint, "world", world_checksum(source), shards)
    return EncodingJob(settings, list(map(len, shares)), encode, [])


def job_from_latents(
    args: Namespace, recipe: PrecomputeRecipe, checkpoint: Checkpoint
) -> EncodingJob:
    """The clips of a finished folder with new embeddings of their prompts.

    Pictures, context and captions are that folder's, and so is the autoencoder's checksum.
    """
    if args.shards is not None or args.allow_gaps or args.retry_broken:
        raise InputError(
            "--shards, --allow-gaps and --retry-broken are for a table: with --latents-from they "
            "are that folder's"
        )
    dataset = dataset_folder.open_dataset(args.latents_from)
    made_for = dataset.settings.preset
    if made_for != checkpoint.preset.name:
        raise InputError(
            f"{args.latents_from} was made for {made_for}, "
            f"{recipe.checkpoint} is {checkpoint.preset.name}"
        )
    # What the text encoder decides is new, the autoencoder's part stays.
    settings = dataclasses.replace(
        dataset.settings,
        checkpoint=recipe.checkpoint,
        dtype=recipe.dtype,
        negative_prompt=recipe.negative_prompt,
        text_sha256=part_checksum(checkpoint, "text"),
    )
    # As many entries as each shard of that folder has, broken clips too.
    clips = []
    for shard in range(settings.shard_count):
        entries = list(dataset_folder.shard_entries(dataset, shard))
        clips.append(len(entries))
    return EncodingJob(settings, clips, functools.partial(_embed_again, dataset), [])


def _embed_again(dataset: Dataset, encoders: Encoders, shard: int) -> Iterator[ClipRecord | Broken]:
    """A shard's records with their prompts embedded by these encoders."""
    for entry in dataset_folder.shard_entries(dataset, shard):
        if isinstance(entry, Broken):
            yield entry
            continue
        record = dataset.record(entry)
        text = encode_prompts(encoders, record.name, record.global_caption, record.captions)
        yield dataclasses.replace(record, text=text)


def table_settings(
    recipe: PrecomputeRecipe,
    checkpoint: Checkpoint,
    csv: pathlib.Path,
    clips: Sequence[Clip],
    shards: int,
) -> Settings:
    """The settings of a folder that is made from a table."""
    rows = [_table_row(clip, csv.parent) for clip in clips]
    checksum = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return encoding_settings(recipe, checkpoint, csv.name, checksum, shards)


def encoding_settings(
    recipe: PrecomputeRecipe, checkpoint: Checkpoint, csv: str, clips_sha256: str, shards: int
) -> Settings:
    """The settings of a folder. csv: the name of what lists its clips, and their checksum."""
    return Settings(
        format=dataset_folder.FORMAT_VERSION,
        preset=checkpoint.preset.name,
        context=recipe.context,
        dtype=recipe.dtype,
        checkpoint=recipe.checkpoint,
        negative_prompt=recipe.negative_prompt,
        csv=csv,
        clips_sha256=clips_sha256,
        shard_count=shards,
        text_sha256=part_checksum(checkpoint, "text"),
        vae_sha256=part_checksum(checkpoint, "vae"),
        **dataclasses.asdict(recipe.video),
    )


def _table_row(clip: Clip, folder: pathlib.Path) -> tuple[Any, ...]:
    """One row for the table's checksum; paths are relative, as machines may keep it elsewhere."""
    video = os.path.relpath(clip.video, folder)
    row: tuple[Any, ...] = (clip.name, video, clip.global_caption, clip.captions, clip.shots)
    # Nothing for what is not there, as in tables of before there was any.
    if clip.mask is not None:
        row = (*row, os.path.relpath(clip.mask, folder))
    if clip.labels is not None:
        row = (*row, "labels", os.path.relpath(clip.labels, folder))
    return row


def _encode_on_ray(work: ShardWork) -> None:
    """Ray is there only if it is asked for."""
    from shotstream_jax.precompute.ray_shards import encode_on_ray

    encode_on_ray(work)


@contextlib.contextmanager
def _locked_shards(
    folder: pathlib.Path, settings: Settings, shards: Sequence[int]
) -> Iterator[None]:
    """Keeps other runs away from these shards; others of the folder may be theirs."""
    with contextlib.ExitStack() as locks:
        for shard in shards:
            name = settings.shards[shard]
            remedy = "wait for it, or share the work by --part"
            locks.enter_context(locked(folder / f"{name}.lock", f"{folder}/{name}", remedy))
        yield


if __name__ == "__main__":
    cli.run(main)
