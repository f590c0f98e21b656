"""Writing the shards of a folder of encoded clips (data/dataset)."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tqdm.contrib.logging import logging_redirect_tqdm

from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.core.progress import progress_bar
from shotstream_jax.data import dataset as dataset_folder
from shotstream_jax.data.clips import Clip
from shotstream_jax.data.dataset import Broken, Settings
from shotstream_jax.data.encode import (
    Encoders,
    PrecomputeRecipe,
    encode_clip,
    encode_negative,
    load_encoders,
)
from shotstream_jax.data.records import ClipRecord
from shotstream_jax.precompute.broken import with_mended

Results = Iterable[ClipRecord | Broken]


class EncodingJob(NamedTuple):
    """What is to be encoded.

    settings: of the folder that is made. clips: how many each shard has. encode: gives the records
    of one shard, by its number. shares: the clips of each shard's table; none without a table.
    """

    settings: Settings
    clips: list[int]
    encode: Callable[[Encoders, int], Results]
    shares: list[list[Clip]]


@dataclasses.dataclass(frozen=True)
class ShardWork:
    """Shards that are to be written.

    todo: those that are not there. again: clips of others, to be encoded once more.
    """

    recipe: PrecomputeRecipe
    checkpoint: Checkpoint
    job: EncodingJob
    folder: pathlib.Path
    todo: Sequence[int]
    again: Mapping[int, Sequence[Clip]]

    @property
    def shards(self) -> list[int]:
        """All of them."""
        return [*self.todo, *self.again]


def encode_shards(work: ShardWork) -> None:
    """Writes the shards, one after the other, with a bar of their clips, broken ones too."""
    encoders = load_encoders(work.checkpoint, work.recipe.dtype)
    keep_negative(encoders, work)
    total = sum(work.job.clips[shard] for shard in work.shards)
    name = str(work.folder)
    with logging_redirect_tqdm(), progress_bar(total=total, unit="clip", desc=name) as bar:
        for shard in work.shards:
            write_one(encoders, work, shard, bar.update)


def keep_negative(encoders: Encoders, work: ShardWork) -> None:
    """Encodes the negative prompt, if that is not done. All parts would write the same."""
    if not negative_path(work.folder).exists():
        negative = encode_negative(encoders, work.recipe.negative_prompt)
        dataset_folder.write_negative(work.folder, negative)


def write_one(encoders: Encoders, work: ShardWork, shard: int, count: Callable[[], object]) -> None:
    """Writes a shard; `count` is called for each clip."""
    job = work.job
    name = job.settings.shards[shard]
    if shard not in work.again:
        results = _counted(job.encode(encoders, shard), count)
        dataset_folder.write_shard(work.folder, name, results)
        return
    encode = functools.partial(encode_clip, encoders, work.recipe)
    mended = with_mended(work.folder, name, job.shares[shard], work.again[shard], encode)
    dataset_folder.begin_again(work.folder)
    dataset_folder.write_shard(work.folder, name, _counted(mended, count))


def negative_path(folder: pathlib.Path) -> pathlib.Path:
    """Where the negative prompt's embedding is."""
    return folder / "negative.npz"


def _counted(results: Results, count: Callable[[], object]) -> Iterator[ClipRecord | Broken]:
    """The same results, counted as they are taken."""
    for result in results:
        yield result
        count()
