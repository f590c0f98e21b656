"""What a storyteller asks for: a shot, and its captions that change while it is made."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import AnyArray, Float, UInt8
from shotstream_jax.core.values import as_path, finite_number, number_between, whole_number
from shotstream_jax.media.still import check_fit, fit_pixels, read_picture
from shotstream_jax.memory.choose import check_rule
from shotstream_jax.presets import Preset, VideoFormat
from shotstream_jax.text.prompts import check_caption

_LAST_TAKE = 2**31 - 1  # takes are counted in 32 bits
_LAST_SHOT = 2**31 - 1

Pixels = UInt8[np.ndarray, "y x 3"]


@dataclasses.dataclass(frozen=True, eq=False)
class Pin:
    """A frame that a shot sees whatever else it remembers (generate/pins makes them).

    latent: of the frame, encoded by itself.
    shot: the number of the shot that it is from, from 0; None for a picture, which counts as a
      frame of the shot before.
    caption: that it reads; None for the new shot's own.
    """

    latent: Float[AnyArray, "1 h w c"]
    shot: int | None = None
    caption: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shot", _pinned_shot(self.shot))
        _check_pinned_caption(self.caption)


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A picture that a shot is given; a plain file stands for Picture(file).

    source: a file (PNG, JPEG, WebP and others: media/still), or pixels, of any size.
    fit: "crop" cuts off what has another shape than the story's format, "pad" puts black bars
      beside it.
    shot, caption: as a Pin's.

    Raises InputError for values of another kind.
    """

    source: str | pathlib.Path | Pixels
    fit: str = "crop"
    shot: int | None = None
    caption: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.source, str | os.PathLike | np.ndarray):
            kind = type(self.source).__name__
            raise InputError(f"a picture must be a file or its pixels, not of type {kind}")
        check_fit(self.fit)
        object.__setattr__(self, "shot", _pinned_shot(self.shot))
        _check_pinned_caption(self.caption)

    def pixels(self, video: VideoFormat) -> Pixels:
        """In the story's format. Raises InputError if the file cannot be read."""
        size = (video.height, video.width)
        if isinstance(self.source, np.ndarray):
            return fit_pixels(self.source, *size, self.fit)
        return read_picture(as_path(self.source, "a picture's file"), *size, self.fit)


@dataclasses.dataclass(frozen=True)
class Shot:
    """A shot as it is asked for; a plain caption stands for Shot(caption).

    caption: what it shows.
    take: another take of a shot has noise of its own, and so another picture. Take 0 is the one
      that a plain caption gives.
    frames: how many latent frames it has, a multiple of the chunk; None for the story's own length.
    pins: frames that it sees, each in the place of one that it would remember.
    styles: strengths of the model's adapters by their names; those that are not named have their
      own (shotstream_jax/styles).
    pictures: files, or Pictures, that it sees like pins.
    memory: the rule by which it remembers (memory/choose); None for the story's own.

    Raises InputError for values of another kind.
    """

    caption: str
    take: int = 0
    frames: int | None = None
    pins: tuple[Pin, ...] = ()
    styles: Mapping[str, float] = dataclasses.field(default_factory=dict, hash=False)
    pictures: tuple[Picture, ...] = ()
    memory: str | None = None

    def __post_init__(self) -> None:
        # The dataclass is frozen; numpy's numbers become Python's.
        object.__setattr__(self, "take", number_between(self.take, "take", 0, _LAST_TAKE))
        if self.frames is not None:
            object.__setattr__(self, "frames", whole_number(self.frames, "a shot's frames"))
        object.__setattr__(self, "styles", as_strengths(self.styles))
        object.__setattr__(self, "pins", _as_pins(self.pins))
        object.__setattr__(self, "pictures", _as_pictures(self.pictures))
        if self.memory is not None:
            check_rule(self.memory)

    def video(self, preset: Preset, video: VideoFormat) -> VideoFormat:
        """The story's format with the shot's own length.

        Raises InputError if the model cannot make a shot of that length.
        """
        if self.frames is None:
            return video
        preset.memory.check_shot(self.frames)
        return dataclasses.replace(video, shot_frames=self.frames)


def _pinned_shot(shot: object) -> int | None:
    """The number of the shot that a frame is from, as Python's."""
    if shot is None:
        return None
    return number_between(shot, "a pin's shot", 0, _LAST_SHOT)


def _check_pinned_caption(caption: object) -> None:
    if caption is not None:
        check_caption(caption, "a pin's caption")


def _as_pins(pins: object) -> tuple[Pin, ...]:
    """A shot's pins. Raises InputError for anything else."""
    if not isinstance(pins, list | tuple):
        raise InputError(f"a shot's pins must be a list, not {type(pins).__name__}: write [pin]")
    for pin in pins:
        if not isinstance(pin, Pin):
            kind = type(pin).__name__
            raise InputError(f"a shot's pins must be Pins, not {kind} (generate/pins)")
    return tuple(pins)


def _as_pictures(pictures: object) -> tuple[Picture, ...]:
    """A shot's pictures. Raises InputError for anything else."""
    if not isinstance(pictures, list | tuple):
        kind = type(pictures).__name__
        raise InputError(f"a shot's pictures must be a list, not {kind}: write [picture]")
    found = []
    for picture in pictures:
        found.append(picture if isinstance(picture, Picture) else Picture(picture))
    return tuple(found)


class Cue(NamedTuple):
    """A caption from one of a shot's chunks on.

    chunk: the first one under it, from 0.
    again: whether the chunks before it passed again under it (generate/live.retell).
    """

    chunk: int
    caption: str
    again: bool = True


class StyleCue(NamedTuple):
    """Strengths of adapters from one of a shot's chunks on.

    chunk: the first one with them, from 0.
    strengths: by the adapters' names; others keep theirs.
    """

    chunk: int
    strengths: Mapping[str, float]


AnyCue = Cue | StyleCue


class StyleUse(NamedTuple):
    """An adapter that a shot was made with.

    checksum: of the adapter (shotstream_jax/styles).
    strength: that the shot began with.
    """

    name: str
    checksum: str
    strength: float


def as_shot(asked: object, where: str) -> Shot:
    """A shot, or a plain caption as a shot.

    Raises InputError, which names `where` it stands, if the caption is empty or not text.
    """
    if isinstance(asked, Shot):
        check_caption(asked.caption, where)
        return asked
    return Shot(check_caption(asked, where))


def as_strengths(values: object) -> dict[str, float]:
    """Strengths of adapters by their names, checked. Raises InputError for anything else."""
    if not isinstance(values, Mapping):
        raise InputError(
            f"styles must be strengths by the adapters' names, not {values!r:.40}: {{'film': 0.6}}"
        )
    strengths = {}
    for name, strength in values.items():
        if not isinstance(name, str):
            raise InputError(f"an adapter's name must be text, not {name!r:.40}")
        strengths[name] = finite_number(strength, f"the strength of {name}")
    return strengths


def ready_shot(preset: Preset, video: VideoFormat, asked: object, where: str) -> Shot:
    """A shot that can be made in a story of this format; its pictures are read and fitted.

    Raises InputError for a caption that is no text, a length that the model cannot make, too many
    pins, or ones of another format, and for a picture that cannot be read.
    """
    shot = as_shot(asked, where)
    grid = preset.latent_grid(shot.video(preset, video))
    pinned = len(shot.pins) + len(shot.pictures)
    if pinned > preset.memory.context:
        raise InputError(f"{pinned} frames are pinned; a shot sees {preset.memory.context}")
    # Latents of another size would fail inside a compiled program.
    expected = (1, *grid, preset.dit.channels)
    for pin in shot.pins:
        if np.shape(pin.latent) != expected:
            raise InputError(
                f"a pinned frame has a latent of shape {np.shape(pin.latent)}, the story's are "
                f"{expected}: pin frames of stories of the same format"
            )
    pictures = []
    for picture in shot.pictures:
        pictures.append(dataclasses.replace(picture, source=picture.pixels(video)))
    return dataclasses.replace(shot, pictures=tuple(pictures))


def as_cues(values: object) -> tuple[AnyCue, ...]:
    """Cues as a file has them, checked: [chunk, caption, again] or [chunk, {name: strength}].

    Raises InputError for anything else than a shot's cues in order.
    """
    if not isinstance(values, list | tuple):
        raise InputError(f"cues must be a list, not {values!r:.40}")
    cues = [_as_cue(value) for value in values]
    # The first one is what the shot began with, and each later one comes at a later boundary.
    chunks = [cue.chunk for cue in cues]
    if cues and (not isinstance(cues[0], Cue) or chunks[0] != 0 or chunks != sorted(chunks)):
        raise InputError(f"cues must begin at chunk 0 and go on in order, not at {chunks[:10]}")
    return tuple(cues)


def _as_cue(value: Any) -> AnyCue:
    """One cue of a file."""
    if not isinstance(value, list | tuple) or len(value) not in (2, 3):
        raise InputError(
            f"a cue must be [chunk, caption, again] or [chunk, strengths], not {value!r:.40}"
        )
    chunk = whole_number(value[0], "a cue's chunk")
    if len(value) == 2:
        return StyleCue(chunk, as_strengths(value[1]))
    return Cue(chunk, check_caption(value[1], "a cue's caption"), bool(value[2]))


def as_style_uses(values: object) -> tuple[StyleUse, ...]:
    """Adapters as a file has them, [[name, checksum, strength], …], checked.

    Raises InputError for anything else.
    """
    if not isinstance(values, list | tuple):
        raise InputError(f"styles must be a list, not {values!r:.40}")
    uses = []
    for value in values:
        is_one = isinstance(value, list | tuple) and len(value) == 3
        if not is_one or not isinstance(value[0], str) or not isinstance(value[1], str):
            raise InputError(f"a style must be [name, checksum, strength], not {value!r:.40}")
        strength = finite_number(value[2], f"the strength of {value[0]}")
        uses.append(StyleUse(value[0], value[1], strength))
    return tuple(uses)
