"""What a finished shot leaves behind, and its file: an .npz archive without anything executable."""

import dataclasses
import io
import json
import pathlib
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import AnyArray
from shotstream_jax.core.values import number_between
from shotstream_jax.generate.asked import (
    AnyCue,
    Pin,
    Shot,
    StyleCue,
    StyleUse,
    as_cues,
    as_style_uses,
)
from shotstream_jax.memory.select import candidates
from shotstream_jax.presets import VideoFormat
from shotstream_jax.text.prompts import check_caption

# What reading a file that is not a whole record can raise.
DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_FACTS = ("number", "caption", "first_frame", "length", "take", "cues", "pins", "styles", "memory")
_TEXTS = 2**25  # bytes of captions and numbers, at most
_LAST = 2**30  # frames and shots are counted in 32 bits


@dataclasses.dataclass(frozen=True, eq=False)
class ShotRecord:
    """What a finished shot leaves behind.

    number: of the shot, from 0.
    first_frame, length: the shot's pixel frames in the video.
    frames: the numbers in the video of its kept frames.
    latents: [1, h, w, c] of each kept frame, encoded by itself. While the story is live they are on
      the device, perhaps still being computed.
    take: of the shot (generate/asked).
    cues: what changed while it was made, captions and strengths of adapters in order, after the
      caption that it began with; `caption` is the last one, which later shots remember it by.
    pins: frames that it saw in the place of remembered ones.
    styles: adapters that it was made with.
    memory: the rule by which it was asked to remember (memory/choose); None for the story's own.
    """

    number: int
    caption: str
    first_frame: int
    length: int
    frames: np.ndarray
    latents: tuple[AnyArray, ...]
    take: int = 0
    cues: tuple[AnyCue, ...] = ()
    pins: tuple[Pin, ...] = ()
    styles: tuple[StyleUse, ...] = ()
    memory: str | None = None

    @property
    def stop_frame(self) -> int:
        """The number of the first frame after the shot."""
        return self.first_frame + self.length

    @property
    def is_still(self) -> bool:
        """Whether it is a single picture (generate/pins.begin_with_picture)."""
        return self.length == 1

    def check(self, context: int) -> None:
        """Refuses a record without all of the frames that later shots can ask for.

        context: how many frames a shot sees. Raises InputError.
        """
        wanted = candidates(self.number, self.first_frame, self.length, context)
        if not np.array_equal(self.frames, wanted) or len(self.latents) != len(wanted):
            raise InputError(f"the record of shot {self.number + 1} lacks context frames")

    def is_same(self, other: "ShotRecord") -> bool:
        """Whether two records are of the same shot, to the bit."""
        if _facts(self) != _facts(other):
            return False
        mine = _stacked(self)
        others = _stacked(other)
        # Bits and not numbers: what is no number equals itself too.
        return all(mine[name].tobytes() == others[name].tobytes() for name in mine)


def record_bytes(record: ShotRecord) -> bytes:
    """The record's file. Waits for its latents."""
    data = io.BytesIO()
    np.savez(
        data,
        meta=json.dumps(_facts(record), ensure_ascii=False),
        frames=record.frames,
        **_stacked(record),
    )
    return data.getvalue()


def read_record(path: pathlib.Path, context: int, video: VideoFormat) -> ShotRecord:
    """A record, checked: it has every frame that later shots can ask for.

    context: how many frames a shot sees. video: the story's format, which bounds what is read.
    Raises one of DAMAGE for anything else.
    """
    arrays = _read_arrays(path, context, video)
    facts = json.loads(str(arrays["meta"]))
    unknown = set(facts) - set(_FACTS)
    if unknown:
        raise ValueError(f"it says what is not known: {sorted(unknown)[:3]}")
    check_caption(facts["caption"], "its caption")
    # Records of version 0.2 and older have neither take, nor cues, pins, styles and memory.
    asked = Shot(facts["caption"], facts.get("take", 0), memory=facts.get("memory"))
    latents = tuple(_frames_of(arrays, "latents")[:, None])
    record = ShotRecord(
        number=number_between(facts["number"], "its number", 0, _LAST),
        caption=facts["caption"],
        first_frame=number_between(facts["first_frame"], "its first frame", 0, _LAST),
        length=number_between(facts["length"], "its length", 1, _LAST),
        frames=arrays["frames"],
        latents=latents,
        take=asked.take,
        cues=as_cues(facts.get("cues", [])),
        pins=_read_pins(facts.get("pins", []), arrays),
        styles=as_style_uses(facts.get("styles", [])),
        memory=asked.memory,
    )
    # A cue's adapters are among the shot's.
    named = {use.name for use in record.styles}
    for cue in record.cues:
        if isinstance(cue, StyleCue) and set(cue.strengths) - named:
            raise ValueError(f"a cue names other adapters than its own: {sorted(cue.strengths)}")
    record.check(context)
    return record


def _frames_of(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Latents [n, h, w, c] of a file. Raises ValueError for other arrays."""
    found = arrays[name]
    if found.ndim != 4 or found.dtype != np.float32:
        raise ValueError(f"its {name} are {found.dtype} of {found.ndim} dimensions")
    return found


def _read_pins(told: Any, arrays: Mapping[str, np.ndarray]) -> tuple[Pin, ...]:
    """The pinned frames: told is [[shot, caption], …], either may be null."""
    pins = []
    for number, (shot, caption) in enumerate(told):
        latent = _frames_of(arrays, "pins")[number : number + 1]
        if not len(latent):
            raise ValueError("it lacks pinned frames")
        pins.append(Pin(latent, shot, caption))
    return tuple(pins)


def _read_arrays(path: pathlib.Path, context: int, video: VideoFormat) -> dict[str, np.ndarray]:
    """The arrays of an archive, of which no more is unpacked than a record can have."""
    # A shot's candidates and pins, none of which has more numbers than its frame has pixels.
    frames = context * (context + 1)
    most = _TEXTS + frames * (8 + video.height * video.width * 3 * 4)
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > most:
            raise ValueError(f"it unpacks to {unpacked} bytes, a record has at most {most}")
        for member in archive.infolist():
            content = io.BytesIO(archive.read(member))
            name = member.filename.removesuffix(".npy")
            arrays[name] = np.lib.format.read_array(content, allow_pickle=False)
    return arrays


def _facts(record: ShotRecord) -> dict[str, Any]:
    """All of a record but its arrays, as JSON has it."""
    return {
        "number": record.number,
        "caption": record.caption,
        "first_frame": record.first_frame,
        "length": record.length,
        "take": record.take,
        "cues": [list(cue) for cue in record.cues],
        "pins": [[pin.shot, pin.caption] for pin in record.pins],
        "styles": [list(use) for use in record.styles],
        "memory": record.memory,
    }


def _stacked(record: ShotRecord) -> dict[str, Any]:
    """A record's latents as they are stored, [n, h, w, c]."""
    arrays = {"latents": np.concatenate(record.latents)}
    if record.pins:
        arrays["pins"] = np.concatenate([np.asarray(pin.latent) for pin in record.pins])
    return arrays
