"""Clips that could not be encoded: looked at again when their files have changed, or on request."""

import pathlib
from collections.abc import Callable, Iterator, Sequence

from absl import logging

from shotstream_jax.core.errors import InputError
from shotstream_jax.data import dataset as dataset_folder
from shotstream_jax.data.clips import Clip
from shotstream_jax.data.dataset import Broken
from shotstream_jax.data.records import ClipRecord

Encode = Callable[[Clip], ClipRecord]


def files_state(clip: Clip) -> str:
    """Size and time of change of a clip's videos: another text when one has changed."""
    states = []
    for path in (clip.video, clip.mask, clip.labels):
        if path is None:
            continue
        try:
            found = path.stat()
            states.append(f"{found.st_size} {found.st_mtime_ns}")
        except OSError:
            states.append("missing")
    return ", ".join(states)


def encode_or_name(encode: Encode, clip: Clip) -> ClipRecord | Broken:
    """A clip's record; of one that cannot be used its name and the reason, which is logged too."""
    files = files_state(clip)
    try:
        return encode(clip)
    except InputError as error:
        logging.warning("%s is skipped: %s", clip.name, error)
        return Broken(clip.name, str(error), files)


def to_look_at(
    folder: pathlib.Path, shard: str, clips: Sequence[Clip], all_of_them: bool
) -> list[Clip]:
    """The broken clips of a complete shard whose files have changed since, or all of them."""
    by_name = {clip.name: clip for clip in clips}
    found = []
    for entry in dataset_folder.broken_clips(folder, shard):
        clip = by_name[entry.name]
        if all_of_them or entry.files != files_state(clip):
            found.append(clip)
    return found


def with_mended(
    folder: pathlib.Path, shard: str, clips: Sequence[Clip], again: Sequence[Clip], encode: Encode
) -> Iterator[ClipRecord | Broken]:
    """All clips of a complete shard, those in `again` encoded anew, in the table's order."""
    records = dataset_folder.shard_records(folder, shard)
    broken = {entry.name: entry for entry in dataset_folder.broken_clips(folder, shard)}
    names = {clip.name for clip in again}
    for clip in clips:
        if clip.name in names:
            yield encode_or_name(encode, clip)
        elif clip.name in broken:
            yield broken[clip.name]
        else:
            yield next(records)
