"""The characters. Each has its own silhouette, and a hat of its own shape.

A character's parts are drawn by functions here, facing the viewer, with the feet at (0, 0) and v
upwards. Functions named `…_head` are drawn over the scarf, all others under it (world/figure).
"""

from functools import partial

from shotstream_jax.world.actions import Build
from shotstream_jax.world.draw import Colour, Pen, Texture, darken
from shotstream_jax.world.figure import DARK, WHITE, Character

_BROWN = (158, 106, 70)
_CREAM = (222, 184, 140)
_ORANGE = (236, 122, 42)
_ROSE = (246, 184, 196)
_DARK_ROSE = (226, 120, 146)
_TAN = (222, 170, 96)
_SPOT = (160, 100, 52)
_STEEL = (150, 160, 172)
_SCREEN = (52, 62, 80)
_MIST = (226, 228, 244)
_GREEN = (104, 178, 70)
_LEAF = (196, 226, 130)
_LILAC = (164, 142, 214)
_EAR = (226, 170, 206)
_TUSK = (250, 246, 232)

_SIDES = (-1, 1)  # left and right of the picture


def _no_back(pen: Pen) -> None:
    """For characters with nothing behind the torso."""


def _oval_torso(
    pen: Pen,
    colour: Colour,
    texture: Texture | None,
    v: float,
    radius_u: float,
    radius_v: float,
) -> None:
    """An ellipse about (0, v)."""
    pen.ellipse(0, v, radius_u, radius_v, colour, texture=texture)


# Bear


def _bear_head(pen: Pen) -> None:
    # The ears.
    for side in _SIDES:
        u = side * 0.25
        pen.disc(u, 1.07, 0.12, _BROWN)
        pen.disc(u, 1.07, 0.06, _CREAM)
    # The face, the muzzle and the nose.
    pen.ellipse(0, 0.86, 0.33, 0.29, _BROWN)
    pen.ellipse(0, 0.76, 0.15, 0.11, _CREAM)
    pen.ellipse(0, 0.8, 0.055, 0.04, DARK)


# Fox


def _fox_tail(pen: Pen) -> None:
    pen.line((-0.2, 0.2), (-0.56, 0.5), 0.09, _ORANGE, end_radius=0.17)
    # Its white tip.
    pen.disc(-0.6, 0.6, 0.13, WHITE)


def _fox_head(pen: Pen) -> None:
    # The ears: a polygon must be counter-clockwise, so the order differs on the two sides.
    left_ear = [
        (-0.33, 1.36),
        (-0.36, 0.98),
        (-0.08, 1.08),
    ]
    right_ear = [
        (0.33, 1.36),
        (0.08, 1.08),
        (0.36, 0.98),
    ]
    pen.polygon(left_ear, _ORANGE, corner=0.02)
    pen.polygon(right_ear, _ORANGE, corner=0.02)
    face = [
        (0, 0.66),
        (0.33, 0.95),
        (0.2, 1.1),
        (-0.2, 1.1),
        (-0.33, 0.95),
    ]
    pen.polygon(face, _ORANGE, corner=0.05)
    muzzle = [
        (0, 0.64),
        (0.14, 0.8),
        (-0.14, 0.8),
    ]
    pen.polygon(muzzle, WHITE, corner=0.03)
    # The nose.
    pen.disc(0, 0.67, 0.05, DARK)


# Rabbit


def _rabbit_head(pen: Pen) -> None:
    # The ears, and their insides.
    for side in _SIDES:
        pen.line((side * 0.15, 1.0), (side * 0.24, 1.58), 0.1, _ROSE)
        pen.line((side * 0.16, 1.1), (side * 0.235, 1.55), 0.045, _DARK_ROSE)
    # The face, the nose and the teeth.
    pen.ellipse(0, 0.86, 0.31, 0.27, _ROSE)
    pen.ellipse(0, 0.79, 0.045, 0.035, _DARK_ROSE)
    pen.box(0, 0.69, 0.05, 0.05, WHITE)


# Giraffe


def _giraffe_neck(pen: Pen, colour: Colour, texture: Texture | None) -> None:
    # The neck, with two spots.
    pen.line((0, 0.5), (0, 1.25), 0.15, colour)
    pen.disc(-0.06, 0.92, 0.055, _SPOT)
    pen.disc(0.07, 1.04, 0.055, _SPOT)
    # The body.
    pen.ellipse(0, 0.44, 0.33, 0.28, colour, texture=texture)


def _giraffe_head(pen: Pen) -> None:
    # The ears.
    for side in _SIDES:
        pen.line((side * 0.2, 1.36), (side * 0.4, 1.4), 0.055, _TAN, end_radius=0.035)
    # The face, the muzzle and the nostrils.
    pen.ellipse(0, 1.31, 0.25, 0.22, _TAN)
    pen.ellipse(0, 1.2, 0.19, 0.13, _CREAM)
    for side in _SIDES:
        pen.disc(side * 0.07, 1.2, 0.025, _SPOT)


# Robot


def _robot_torso(pen: Pen, colour: Colour, texture: Texture | None) -> None:
    pen.box(0, 0.42, 0.36, 0.27, colour, corner=0.03, texture=texture)


def _robot_head(pen: Pen) -> None:
    # The ears, the head and the screen.
    for side in _SIDES:
        pen.box(side * 0.38, 0.95, 0.05, 0.1, darken(_STEEL))
    pen.box(0, 0.95, 0.35, 0.25, _STEEL, corner=0.03)
    pen.box(0, 0.96, 0.27, 0.16, _SCREEN, corner=0.05)


# Ghost


def _ghost_edge(pen: Pen) -> None:
    # A larger sheet in a darker colour, behind the torso.
    _ghost_sheet(pen, 0.035, darken(_MIST, 0.72))


def _ghost_torso(pen: Pen, colour: Colour, texture: Texture | None) -> None:
    _ghost_sheet(pen, 0.0, colour, texture)


def _ghost_sheet(pen: Pen, rim: float, colour: Colour, texture: Texture | None = None) -> None:
    """The ghost's outline, grown by a rim to all sides."""
    # The waves of the hem.
    for u in (-0.3, 0.0, 0.3):
        pen.disc(u, 0.2, 0.13 + rim, colour)
    # The round head.
    pen.disc(0, 0.86, 0.33 + rim, colour)
    # What is between them.
    sides = [
        (-0.43, 0.2),
        (0.43, 0.2),
        (0.33, 0.86),
        (-0.33, 0.86),
    ]
    pen.polygon(sides, colour, corner=rim, texture=texture)


def _ghost_head(pen: Pen) -> None:
    # The face and the mouth.
    pen.disc(0, 0.86, 0.33, _MIST)
    pen.ellipse(0, 0.74, 0.055, 0.07, DARK)


# Frog


def _frog_head(pen: Pen) -> None:
    # The bulges of the eyes.
    for side in _SIDES:
        u = side * 0.27
        pen.disc(u, 0.83, 0.16, _GREEN)
        pen.disc(u, 0.85, 0.115, WHITE)
    # The face and the mouth.
    pen.ellipse(0, 0.64, 0.44, 0.24, _GREEN)
    pen.arc(0, 0.64, 0.2, 0.022, DARK, upper=False)


# Elephant


def _elephant_ears(pen: Pen) -> None:
    # The ears, and their insides.
    for side in _SIDES:
        u = side * 0.43
        pen.ellipse(u, 0.9, 0.27, 0.31, darken(_LILAC, 0.88))
        pen.ellipse(u, 0.88, 0.17, 0.21, _EAR)


def _elephant_head(pen: Pen) -> None:
    pen.ellipse(0, 0.92, 0.31, 0.29, _LILAC)
    # The tusks.
    for side in _SIDES:
        pen.line((side * 0.11, 0.72), (side * 0.16, 0.6), 0.035, _TUSK)
    # The trunk, in two pieces.
    pen.line((0, 0.84), (0.02, 0.44), 0.095, _LILAC, end_radius=0.06)
    pen.line((0.02, 0.44), (0.14, 0.4), 0.06, _LILAC)


CHARACTERS = {
    "bear": Character(
        colour=_BROWN,
        pattern_colour=_CREAM,
        build=Build(1.2, 0.4),
        back=_no_back,
        torso=partial(_oval_torso, v=0.4, radius_u=0.38, radius_v=0.32),
        head=_bear_head,
        middle=0.4,
        shoulder=(0.28, 0.56),
        hip=(0.18, 0.25),
        limb=0.1,
        scarf=(0.62, 0.29),
        hat="cone",
        brim=(1.05, 0.3),
        eye=(0.13, 0.92),
    ),
    "fox": Character(
        colour=_ORANGE,
        pattern_colour=WHITE,
        build=Build(1.2, 0.36),
        back=_fox_tail,
        torso=partial(_oval_torso, v=0.4, radius_u=0.29, radius_v=0.33),
        head=_fox_head,
        middle=0.4,
        shoulder=(0.22, 0.56),
        hip=(0.14, 0.25),
        limb=0.085,
        scarf=(0.64, 0.26),
        hat="bowler",
        brim=(1.06, 0.3),
        eye=(0.14, 0.93),
    ),
    "rabbit": Character(
        colour=_ROSE,
        pattern_colour=(236, 112, 150),
        build=Build(1.3, 0.32),
        back=_no_back,
        torso=partial(_oval_torso, v=0.38, radius_u=0.28, radius_v=0.32),
        head=_rabbit_head,
        middle=0.38,
        shoulder=(0.2, 0.54),
        hip=(0.14, 0.22),
        limb=0.09,
        scarf=(0.6, 0.27),
        hat="beanie",
        brim=(0.99, 0.27),
        eye=(0.13, 0.88),
    ),
    "giraffe": Character(
        colour=_TAN,
        pattern_colour=_SPOT,
        build=Build(1.5, 0.34),
        back=_no_back,
        torso=_giraffe_neck,
        head=_giraffe_head,
        middle=0.44,
        shoulder=(0.24, 0.58),
        hip=(0.17, 0.25),
        limb=0.085,
        scarf=(0.76, 0.23),
        hat="top hat",
        brim=(1.43, 0.3),
        eye=(0.11, 1.36),
    ),
    "robot": Character(
        colour=_STEEL,
        pattern_colour=WHITE,
        build=Build(1.2, 0.42),
        back=_no_back,
        torso=_robot_torso,
        head=_robot_head,
        middle=0.42,
        shoulder=(0.36, 0.6),
        hip=(0.2, 0.2),
        limb=0.09,
        scarf=(0.7, 0.3),
        hat="cap",
        brim=(1.18, 0.34),
        eye=(0.12, 0.97),
        eye_colour=(180, 240, 250),
    ),
    "ghost": Character(
        colour=_MIST,
        pattern_colour=(150, 150, 196),
        build=Build(1.2, 0.42),
        back=_ghost_edge,
        torso=_ghost_torso,
        head=_ghost_head,
        middle=0.4,
        shoulder=(0.34, 0.52),
        hip=None,
        limb=0.08,
        scarf=(0.58, 0.4),
        hat="fez",
        brim=(1.1, 0.33),
        eye=(0.13, 0.92),
    ),
    "frog": Character(
        colour=_GREEN,
        pattern_colour=_LEAF,
        build=Build(0.98, 0.46),
        back=_no_back,
        torso=partial(_oval_torso, v=0.32, radius_u=0.42, radius_v=0.28),
        head=_frog_head,
        middle=0.32,
        shoulder=(0.34, 0.42),
        hip=(0.26, 0.16),
        limb=0.1,
        scarf=(0.44, 0.38),
        hat="top hat",
        brim=(0.86, 0.25),
        eye=(0.27, 0.86),
    ),
    "elephant": Character(
        colour=_LILAC,
        pattern_colour=(108, 84, 176),
        build=Build(1.2, 0.5),
        back=_elephant_ears,
        torso=partial(_oval_torso, v=0.42, radius_u=0.42, radius_v=0.36),
        head=_elephant_head,
        middle=0.42,
        shoulder=(0.32, 0.56),
        hip=(0.22, 0.22),
        limb=0.12,
        scarf=(0.64, 0.34),
        hat="fez",
        brim=(1.14, 0.31),
        eye=(0.15, 0.95),
    ),
}
