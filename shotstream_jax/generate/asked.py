"""What a storyteller asks for: a shot, and its captions that change while it is made."""

import dataclasses
from typing import NamedTuple

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import AnyArray, Float
from shotstream_jax.core.values import number_between, whole_number
from shotstream_jax.presets import Preset, VideoFormat
from shotstream_jax.text.prompts import check_caption

_MOST_TAKES = 2**31


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


@dataclasses.dataclass(frozen=True)
class Shot:
    """A shot as it is asked for; a plain caption stands for Shot(caption).

    caption: what it shows.
    take: another take of a shot has noise of its own, and so another picture. Take 0 is the one
      that a plain caption gives.
    frames: how many latent frames it has, a multiple of the chunk; None for the story's own length.
    pins: frames that it sees, each in the place of one that it would remember.

    Raises InputError for values of another kind.
    """

    caption: str
    take: int = 0
    frames: int | None = None
    pins: tuple[Pin, ...] = ()

    def __post_init__(self) -> None:
        # The dataclass is frozen; numpy's numbers become Python's.
        object.__setattr__(self, "take", number_between(self.take, "take", 0, _MOST_TAKES))
        if self.frames is not None:
            object.__setattr__(self, "frames", whole_number(self.frames, "a shot's frames"))
        object.__setattr__(self, "pins", tuple(self.pins))
        for pin in self.pins:
            if not isinstance(pin, Pin):
                raise InputError(f"a shot's pins must be Pins, not {pin!r:.40} (generate/pins)")

    def video(self, preset: Preset, video: VideoFormat) -> VideoFormat:
        """The story's format with the shot's own length.

        Raises InputError if the model cannot make a shot of that length.
        """
        if self.frames is None:
            return video
        preset.memory.check_shot(self.frames)
        return dataclasses.replace(video, shot_frames=self.frames)


class Cue(NamedTuple):
    """A caption from one of a shot's chunks on.

    chunk: the first one under it, from 0.
    again: whether the chunks before it passed again under it (generate/live.retell).
    """

    chunk: int
    caption: str
    again: bool = True


def as_shot(asked: object, where: str) -> Shot:
    """A shot, or a plain caption as a shot.

    Raises InputError, which names `where` it stands, if the caption is empty or not text.
    """
    if isinstance(asked, Shot):
        check_caption(asked.caption, where)
        return asked
    return Shot(check_caption(asked, where))


def as_cues(values: object) -> tuple[Cue, ...]:
    """Cues as a file has them, checked.

    Raises InputError for anything else than a shot's cues in order.
    """
    if not isinstance(values, list | tuple):
        raise InputError(f"cues must be a list, not {values!r:.40}")
    cues = []
    for value in values:
        if not isinstance(value, list | tuple) or len(value) != 3:
            raise InputError(f"a cue must be [chunk, caption, again], not {value!r:.40}")
        chunk, caption, again = value
        chunk = whole_number(chunk, "a cue's chunk")
        cues.append(Cue(chunk, check_caption(caption, "a cue's caption"), bool(again)))
    # The first one is what the shot began with, and each later one comes at a later boundary.
    chunks = [cue.chunk for cue in cues]
    if cues and (chunks[0] != 0 or chunks != sorted(chunks)):
        raise InputError(f"cues must begin at chunk 0 and go on in order, not at {chunks[:10]}")
    return tuple(cues)
