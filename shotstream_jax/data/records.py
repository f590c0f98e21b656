"""The record of an encoded clip, and its bytes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from flax.serialization import msgpack_restore, msgpack_serialize

from shotstream_jax.core.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class ClipRecord:
    """An encoded clip of m shots; every list has an entry a shot.

    shots [m, 2]: [first, stop) frames of the video, cut as the clip is (clips.cut_clip), but not
      before the end of the shot's target.
    targets [f, h, w, c] float16: normalised latents of the shot's target frames
      (clips.shot_target); any f ≥ 1.
    frames [n]: numbers in the video of the frames that any later shot can ask for
      (memory.select.candidates).
    context [n, h, w, c] float16: the latent of each of those, encoded by itself.
    text [l, e]: the valid rows of the prompt's embedding, in the type that the encoder ran in.
    masks [f, h, w] float16: how much of each cell of a target matters more, 0 … 1; no entries if no
      table says.
    labels [f, h, w, maps] uint8: what each cell of a target shows, a class in each map, 0: nothing
      (data/labels); no entries if no table says.
    context_labels [n, h, w, maps] uint8: the same of the context frames.
    """

    name: str
    global_caption: str
    captions: tuple[str, ...]
    shots: np.ndarray
    targets: list[np.ndarray]
    frames: list[np.ndarray]
    context: list[np.ndarray]
    text: list[np.ndarray]
    masks: list[np.ndarray] = dataclasses.field(default_factory=list)
    labels: list[np.ndarray] = dataclasses.field(default_factory=list)
    context_labels: list[np.ndarray] = dataclasses.field(default_factory=list)


def pack(record: ClipRecord) -> bytes:
    """A record as bytes; the same record gives the same bytes."""
    fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    fields["captions"] = list(record.captions)
    return msgpack_serialize(fields)


def unpack(data: bytes) -> ClipRecord:
    """The inverse of `pack`. Raises InputError if the bytes are not a record."""
    try:
        fields = msgpack_restore(data)
        fields["captions"] = tuple(fields["captions"])
        record = ClipRecord(**fields)
        _check_lengths(record)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"a clip's record is damaged or of another format ({error}): precompute it again"
        ) from None
    return record


def _check_lengths(record: ClipRecord) -> None:
    """Every list has an entry a shot; there may be no masks and no labels at all."""
    lists: list[Sequence[Any]] = [
        record.captions,
        record.targets,
        record.frames,
        record.context,
        record.text,
    ]
    for optional in (record.masks, record.labels, record.context_labels):
        if optional:
            lists.append(optional)
    for entries in lists:
        if len(entries) != len(record.shots):
            raise ValueError("its lists differ in length")
