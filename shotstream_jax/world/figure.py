"""How a character is drawn: in a pose, in its look, with shadow and dreams.

Everything is drawn with the feet at (0, 0), v upwards, facing the viewer; what moves to one side moves to the right.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable

from shotstream_jax.world import wear
from shotstream_jax.world.actions import Build, Pose
from shotstream_jax.world.draw import Colour, Pen, Point, Texture

DARK, WHITE, ZZZ = (40, 36, 46), (252, 252, 250), (104, 112, 196)


@dataclasses.dataclass(frozen=True)
class Look:
    """accent: of hat and scarf, one of wear.ACCENTS. pattern: of the body, one of wear.PATTERNS."""

    accent: str
    pattern: str


@dataclasses.dataclass(frozen=True)
class Character:
    """colour: of the fur. second: of the pattern on it. back, torso, head: what is drawn, in this order.

    middle: the height about which the pattern lies. shoulder, hip, eye: (u, v) of the right one of the picture; no hip,
    no legs. limb: half width of arms and legs. scarf, brim (the hat's lower edge): height and half width.
    """

    colour: Colour
    second: Colour
    build: Build
    back: Callable[[Pen], None]
    torso: Callable[[Pen, Colour, Texture | None], None]
    head: Callable[[Pen], None]
    middle: float
    shoulder: Point
    hip: Point | None
    limb: float
    scarf: Point
    hat: str
    brim: Point
    eye: Point
    eyes: Colour = DARK


def draw(pen: Pen, character: Character, look: Look, pose: Pose) -> None:
    """A character in a pose, its feet at the pen's (0, 0) when it stands."""
    wide = 1 / math.sqrt(pose.stretch)
    pen = pen.moved(pose.across, pose.up + pose.pivot).turned(pose.turn).scaled(wide, pose.stretch)
    pen = pen.moved(0, -pose.pivot)
    accent = wear.ACCENTS[look.accent]
    character.back(pen)
    if character.hip is not None:
        _legs(pen, character, pose.legs)
    texture = wear.texture(look.pattern, character.second, character.middle)
    character.torso(pen, character.colour, texture)
    _arms(pen, character, pose.arms)
    wear.scarf(pen, *character.scarf, accent)
    character.head(pen)
    _eyes(pen, character, pose)
    wear.hat(pen, character.hat, *character.brim, accent)


def shadow(pen: Pen, character: Character, pose: Pose) -> None:
    """On the ground under a character; the higher it is, the smaller and paler."""
    half = character.build.half if pose.awake else character.build.height / 2
    near = 1 / (1 + 1.2 * max(pose.up, 0))
    pen.ellipse(
        pose.across, 0.0, 1.05 * half * near, 0.09 * near, (30, 30, 60), opacity=0.28 * near
    )


def dream(pen: Pen, head: float, height: float, seconds: float) -> None:
    """Two letters z that rise over a sleeper's head, one after the other. The pen is not mirrored."""
    for k in (0, 1):
        share = (seconds / 2.4 + k / 2) % 1.0
        size = 0.09 + 0.08 * share
        z = pen.moved(head + 0.2 * math.sin(4 * share), height + 0.15 + 1.2 * share)
        corners = [(-size, size), (size, size), (-size, -size), (size, -size)]
        for start, end in itertools.pairwise(corners):
            z.line(start, end, 0.045, ZZZ, opacity=0.9 * (1 - share**4))


def _legs(pen: Pen, character: Character, swing: float) -> None:
    (u, v), colour = character.hip, wear.shade(character.colour, 0.86)
    for side in (-1, 1):
        lift = max(0.0, side * swing)
        foot = (side * u + 0.12 * side * swing, character.limb + 0.09 * lift)
        pen.line((side * u, v), foot, character.limb, colour)


def _arms(pen: Pen, character: Character, angles: tuple[float, float]) -> None:
    (u, v), colour = character.shoulder, wear.shade(character.colour, 0.9)
    for side, angle in zip((-1, 1), angles, strict=True):
        hand = (side * (u + 0.42 * math.sin(angle)), v - 0.42 * math.cos(angle))
        pen.line((side * u, v), hand, character.limb * 0.85, colour, end_r=character.limb * 1.1)


def _eyes(pen: Pen, character: Character, pose: Pose) -> None:
    u, v = character.eye
    for side in (-1, 1):
        if not pose.awake:
            pen.line((side * u - 0.06, v), (side * u + 0.06, v), 0.025, character.eyes)
            continue
        at = side * u + 0.035 * pose.gaze
        pen.ellipse(at, v, 0.062, 0.082, character.eyes)
        pen.disc(at + 0.02, v + 0.03, 0.022, WHITE)
