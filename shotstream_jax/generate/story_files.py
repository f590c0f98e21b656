"""The folder of a kept story: story.json, and one small record for each shot (story).

Nothing in it is overwritten; what is read is checked.
"""

import dataclasses
import json
import pathlib
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_new
from shotstream_jax.core.typing import AnyArray
from shotstream_jax.generate.record import DAMAGE, ShotRecord, read_record, record_bytes
from shotstream_jax.memory.choose import PAPER
from shotstream_jax.presets import VideoFormat


def head_path(folder: pathlib.Path) -> pathlib.Path:
    """The file of what all shots share."""
    return folder / "story.json"


def record_path(folder: pathlib.Path, number: int) -> pathlib.Path:
    """The file of a shot's record."""
    return folder / f"shot_{number:06d}.npz"


def saved_shots(folder: pathlib.Path) -> list[int]:
    """The numbers of the shots that a folder holds."""
    numbers = []
    for path in folder.glob("shot_*.npz"):
        name = re.fullmatch(r"shot_(\d{6,})\.npz", path.name)
        if name:
            numbers.append(int(name[1]))
    return numbers


def oldest_remembered(folder: pathlib.Path, at: int, context: int, most_shots: int) -> int:
    """The first of the shots that a story remembers after its first `at` ones.

    context, most_shots: of its last shots, those that it always needs, and all that it remembers.
    """
    # The last C are always needed. Of the further ones those are read that the folder has: a story
    # may have been saved first when it had forgotten some, by another rule.
    saved = set(saved_shots(folder))
    oldest = max(0, at - context)
    while oldest > max(0, at - most_shots) and oldest - 1 in saved:
        oldest -= 1
    return oldest


def add_shot(folder: pathlib.Path, record: ShotRecord, context: int, video: VideoFormat) -> None:
    """Writes a shot's record, or checks that the one that is there is the same.

    context, video: the story's. Raises InputError if another one is there, OSError of the disk.
    """
    path = record_path(folder, record.number)
    if write_new(path, lambda: record_bytes(record)):
        return
    # A record is never overwritten.
    if not read_shot(folder, record.number, context, video).is_same(record):
        raise InputError(
            f"{path} is another version of shot {record.number}: fork the story into a new folder"
        )


def read_head(folder: pathlib.Path, check: Callable[..., object]) -> dict[str, Any]:
    """The fields of story.json.

    check: takes them as arguments, and raises ValueError for wrong ones. Raises InputError if the
    file is not there, or damaged.
    """
    path = head_path(folder)
    try:
        head = json.loads(path.read_text("utf-8"))
        head["video"] = VideoFormat(**head["video"])
        # Older stories do not say by which weights they were made.
        head.setdefault("fingerprint", "")
        # … and remember by the only rule that there was.
        head.setdefault("memory", PAPER)
        check(**head)
    except FileNotFoundError:
        raise InputError(f"{folder} holds no story: there is no story.json") from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged ({error}): take another copy, or start a new story"
        ) from None
    return head


def read_shot(folder: pathlib.Path, number: int, context: int, video: VideoFormat) -> ShotRecord:
    """A shot's record of a folder, checked. Raises InputError."""
    path = record_path(folder, number)
    try:
        record = read_record(path, context, video)
        if record.number != number:
            raise ValueError("it is the record of another shot")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: the story was not saved after that shot") from None
    except DAMAGE as error:
        raise InputError(f"{path} is unreadable, truncated or damaged ({error})") from None
    return record


def with_shared_pins(records: Iterable[ShotRecord]) -> tuple[ShotRecord, ...]:
    """The records, whose pins of one frame are one array, as they were when they were made."""
    frames: dict[bytes, AnyArray] = {}
    shared = []
    for record in records:
        pins = []
        for pin in record.pins:
            latent = frames.setdefault(np.asarray(pin.latent).tobytes(), pin.latent)
            pins.append(dataclasses.replace(pin, latent=latent))
        shared.append(dataclasses.replace(record, pins=tuple(pins)))
    return tuple(shared)
