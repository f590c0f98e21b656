"""How a character is drawn: its body in a pose, its look, its shadow, and a sleeper's dream.

Everything is drawn with the feet at (0, 0), v upwards, facing the viewer. A motion to one side goes
to the right; the caller's pen mirrors it.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable

from shotstream_jax.world import clothing
from shotstream_jax.world.actions import Build, Pose
from shotstream_jax.world.draw import Colour, Pen, Texture, darken
from shotstream_jax.world.shapes import Point

DARK = (40, 36, 46)
WHITE = (252, 252, 250)
_LETTER = (104, 112, 196)
_SHADOW = (30, 30, 60)

_ARM_LENGTH = 0.42
_SIDES = (-1, 1)  # left and right of the picture


@dataclasses.dataclass(frozen=True)
class Look:
    """What a character keeps in all shots of a story.

    accent: colour of hat and scarf, one of clothing.ACCENTS.
    pattern: of the body, one of clothing.PATTERNS.
    """

    accent: str
    pattern: str


@dataclasses.dataclass(frozen=True)
class Character:
    """The body of a character, in world units with the feet at (0, 0).

    colour: of the fur. pattern_colour: of the pattern on it.
    back, torso, head: functions that draw these parts; the torso gets its colour and texture.
    middle: the height about which the pattern is laid.
    shoulder, hip, eye: (u, v) of the right one in the picture; without a hip there are no legs.
    limb: half width of arms and legs.
    scarf, brim: height and half width of the scarf and of the hat's lower edge.
    hat: one of clothing.HATS.
    """

    colour: Colour
    pattern_colour: Colour
    build: Build
    back: Callable[[Pen], None]
    torso: Callable[[Pen, Colour, Texture | None], None]
    head: Callable[[Pen], None]
    middle: float
    shoulder: Point
    hip: Point | None
    limb: float
    scarf: tuple[float, float]
    hat: str
    brim: tuple[float, float]
    eye: Point
    eye_colour: Colour = DARK


def draw_figure(
    pen: Pen,
    character: Character,
    look: Look,
    pose: Pose,
    clothing_size: float,
) -> None:
    """Draws a character in a pose; standing, its feet are at the pen's (0, 0).

    clothing_size: how many times as large as usual hat and scarf are.
    """
    # Turn and stretch about the pivot, then put the origin back at the feet.
    body = pen.moved(pose.across, pose.up + pose.pivot)
    body = body.turned(pose.turn)
    body = body.scaled(1 / math.sqrt(pose.stretch), pose.stretch)
    body = body.moved(0, -pose.pivot)

    # From back to front, each part over the one before.
    accent = clothing.ACCENTS[look.accent]
    texture = clothing.body_texture(look.pattern, character.pattern_colour, character.middle)
    character.back(body)
    if character.hip is not None:
        _draw_legs(body, character, character.hip, pose.legs)
    character.torso(body, character.colour, texture)
    _draw_arms(body, character, pose.arms)
    clothing.draw_scarf(body, *character.scarf, accent, clothing_size)
    character.head(body)
    _draw_eyes(body, character, pose)
    clothing.draw_hat(body, character.hat, *character.brim, accent, clothing_size)


def draw_shadow(pen: Pen, character: Character, pose: Pose) -> None:
    """Draws the shadow on the ground; the higher the character, the smaller and paler it is."""
    half = character.build.half
    if not pose.awake:  # it lies on the ground
        half = character.build.height / 2
    # 1 on the ground, less above it.
    near = 1 / (1 + 1.2 * max(pose.up, 0))
    pen.ellipse(
        pose.across,
        0.0,
        1.05 * half * near,
        0.09 * near,
        _SHADOW,
        opacity=0.28 * near,
    )


def draw_dream(pen: Pen, head: float, height: float, seconds: float) -> None:
    """Draws two letters z that rise over a sleeper, one after the other.

    The pen must not be mirrored, or the letters would be.
    head: u of the head.
    height: v at which the letters begin.
    """
    for number in (0, 1):
        # Share of the letter's way up; it sways, grows and fades.
        share = (seconds / 2.4 + number / 2) % 1.0
        size = 0.09 + 0.08 * share
        opacity = 0.9 * (1 - share**4)
        u = head + 0.2 * math.sin(4 * share)
        v = height + 0.15 + 1.2 * share

        # A z in three strokes.
        letter = pen.moved(u, v)
        corners = [
            (-size, size),
            (size, size),
            (-size, -size),
            (size, -size),
        ]
        for start, end in itertools.pairwise(corners):
            letter.line(start, end, 0.045, _LETTER, opacity=opacity)


def _draw_legs(pen: Pen, character: Character, hip: Point, swing: float) -> None:
    """Both legs. swing: −1 to 1; the leg that is forward is lifted."""
    colour = darken(character.colour, 0.86)
    u, v = hip
    for side in _SIDES:
        # Only the leg that is forward is lifted; a line's round end stands on the ground.
        lift = max(0.0, side * swing)
        foot_u = side * u + 0.12 * side * swing
        foot_v = character.limb + 0.09 * lift
        pen.line((side * u, v), (foot_u, foot_v), character.limb, colour)


def _draw_arms(pen: Pen, character: Character, angles: tuple[float, float]) -> None:
    """Both arms, at the angles of Pose.arms."""
    colour = darken(character.colour, 0.9)
    u, v = character.shoulder
    for side, angle in zip(_SIDES, angles, strict=True):
        # The hand, a bit thicker than the arm; at the angle 0 the arm hangs down.
        hand_u = side * (u + _ARM_LENGTH * math.sin(angle))
        hand_v = v - _ARM_LENGTH * math.cos(angle)
        pen.line(
            (side * u, v),
            (hand_u, hand_v),
            character.limb * 0.85,
            colour,
            end_radius=character.limb * 1.1,
        )


def _draw_eyes(pen: Pen, character: Character, pose: Pose) -> None:
    """Both eyes: a line if they are closed, else a disc with a highlight."""
    u, v = character.eye
    for side in _SIDES:
        if pose.awake:
            pupil_u = side * u + 0.035 * pose.gaze
            pen.ellipse(pupil_u, v, 0.062, 0.082, character.eye_colour)
            pen.disc(pupil_u + 0.02, v + 0.03, 0.022, WHITE)
        else:
            left = side * u - 0.06
            right = side * u + 0.06
            pen.line((left, v), (right, v), 0.025, character.eye_colour)
