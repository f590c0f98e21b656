"""The characters: each has a silhouette of its own, and a hat whose shape is its own too."""

from collections.abc import Callable

from shotstream_jax.world.actions import Build
from shotstream_jax.world.draw import Colour, Pen, Texture
from shotstream_jax.world.figure import DARK, WHITE, Character
from shotstream_jax.world.wear import shade


def _nothing(pen: Pen) -> None:
    pass


def _oval(v: float, ru: float, rv: float) -> Callable[[Pen, Colour, Texture | None], None]:
    return lambda pen, colour, texture: pen.ellipse(0, v, ru, rv, colour, texture=texture)


BROWN, CREAM = (158, 106, 70), (222, 184, 140)


def _bear_head(pen: Pen) -> None:
    for side in (-1, 1):
        pen.disc(side * 0.25, 1.07, 0.12, BROWN)
        pen.disc(side * 0.25, 1.07, 0.06, CREAM)
    pen.ellipse(0, 0.86, 0.33, 0.29, BROWN)
    pen.ellipse(0, 0.76, 0.15, 0.11, CREAM)
    pen.ellipse(0, 0.8, 0.055, 0.04, DARK)


ORANGE = (236, 122, 42)


def _fox_tail(pen: Pen) -> None:
    pen.line((-0.2, 0.2), (-0.56, 0.5), 0.09, ORANGE, end_r=0.17)
    pen.disc(-0.6, 0.6, 0.13, WHITE)


def _fox_head(pen: Pen) -> None:
    for side in (-1, 1):
        tip, inner, outer = (side * 0.33, 1.36), (side * 0.08, 1.08), (side * 0.36, 0.98)
        pen.polygon([tip, inner, outer] if side > 0 else [tip, outer, inner], ORANGE, corner=0.02)
    pen.polygon(
        [(0, 0.66), (0.33, 0.95), (0.2, 1.1), (-0.2, 1.1), (-0.33, 0.95)], ORANGE, corner=0.05
    )
    pen.polygon([(0, 0.64), (0.14, 0.8), (-0.14, 0.8)], WHITE, corner=0.03)
    pen.disc(0, 0.67, 0.05, DARK)


ROSE, EAR = (246, 184, 196), (226, 120, 146)


def _rabbit_head(pen: Pen) -> None:
    for side in (-1, 1):
        pen.line((side * 0.15, 1.0), (side * 0.24, 1.58), 0.1, ROSE)
        pen.line((side * 0.16, 1.1), (side * 0.235, 1.55), 0.045, EAR)
    pen.ellipse(0, 0.86, 0.31, 0.27, ROSE)
    pen.ellipse(0, 0.79, 0.045, 0.035, EAR)
    pen.box(0, 0.69, 0.05, 0.05, WHITE)


TAN, SPOT = (222, 170, 96), (160, 100, 52)


def _giraffe_head(pen: Pen) -> None:
    for side in (-1, 1):
        pen.line((side * 0.2, 1.36), (side * 0.4, 1.4), 0.055, TAN, end_r=0.035)
    pen.ellipse(0, 1.31, 0.25, 0.22, TAN)
    pen.ellipse(0, 1.2, 0.19, 0.13, CREAM)
    for side in (-1, 1):
        pen.disc(side * 0.07, 1.2, 0.025, SPOT)


def _giraffe_neck(pen: Pen, colour: Colour, texture: Texture | None) -> None:
    pen.line((0, 0.5), (0, 1.25), 0.15, colour)
    for u, v in ((-0.06, 0.92), (0.07, 1.04)):
        pen.disc(u, v, 0.055, SPOT)
    pen.ellipse(0, 0.44, 0.33, 0.28, colour, texture=texture)


STEEL, SCREEN = (150, 160, 172), (52, 62, 80)


def _robot_torso(pen: Pen, colour: Colour, texture: Texture | None) -> None:
    pen.box(0, 0.42, 0.36, 0.27, colour, corner=0.03, texture=texture)


def _robot_head(pen: Pen) -> None:
    for side in (-1, 1):
        pen.box(side * 0.38, 0.95, 0.05, 0.1, shade(STEEL))
    pen.box(0, 0.95, 0.35, 0.25, STEEL, corner=0.03)
    pen.box(0, 0.96, 0.27, 0.16, SCREEN, corner=0.05)


MIST = (226, 228, 244)


def _ghost_body(pen: Pen, colour: Colour, texture: Texture | None) -> None:
    _sheet(pen, 0.0, colour, texture)


def _ghost_edge(pen: Pen) -> None:
    _sheet(pen, 0.035, shade(MIST, 0.72))


def _sheet(pen: Pen, rim: float, colour: Colour, texture: Texture | None = None) -> None:
    for u in (-0.3, 0.0, 0.3):
        pen.disc(u, 0.2, 0.13 + rim, colour)
    pen.disc(0, 0.86, 0.33 + rim, colour)
    sides = [(-0.43, 0.2), (0.43, 0.2), (0.33, 0.86), (-0.33, 0.86)]
    pen.polygon(sides, colour, corner=rim, texture=texture)


def _ghost_head(pen: Pen) -> None:
    pen.disc(0, 0.86, 0.33, MIST)
    pen.ellipse(0, 0.74, 0.055, 0.07, DARK)


GREEN, LEAF = (104, 178, 70), (196, 226, 130)


def _frog_head(pen: Pen) -> None:
    for side in (-1, 1):
        pen.disc(side * 0.27, 0.83, 0.16, GREEN)
        pen.disc(side * 0.27, 0.85, 0.115, WHITE)
    pen.ellipse(0, 0.64, 0.44, 0.24, GREEN)
    pen.arc(0, 0.64, 0.2, 0.022, DARK, up=False)


LILAC, TUSK = (164, 142, 214), (250, 246, 232)


def _elephant_ears(pen: Pen) -> None:
    for side in (-1, 1):
        pen.ellipse(side * 0.43, 0.9, 0.27, 0.31, shade(LILAC, 0.88))
        pen.ellipse(side * 0.43, 0.88, 0.17, 0.21, (226, 170, 206))


def _elephant_head(pen: Pen) -> None:
    pen.ellipse(0, 0.92, 0.31, 0.29, LILAC)
    for side in (-1, 1):
        pen.line((side * 0.11, 0.72), (side * 0.16, 0.6), 0.035, TUSK)
    pen.line((0, 0.84), (0.02, 0.44), 0.095, LILAC, end_r=0.06)
    pen.line((0.02, 0.44), (0.14, 0.4), 0.06, LILAC)


CHARACTERS = {
    "bear": Character(
        BROWN, CREAM, Build(1.2, 0.4), _nothing, _oval(0.4, 0.38, 0.32), _bear_head, middle=0.4,
        shoulder=(0.28, 0.56), hip=(0.18, 0.25), limb=0.1, scarf=(0.62, 0.29), hat="cone", brim=(1.05, 0.3),
        eye=(0.13, 0.92),
    ),
    "fox": Character(
        ORANGE, WHITE, Build(1.2, 0.36), _fox_tail, _oval(0.4, 0.29, 0.33), _fox_head, middle=0.4,
        shoulder=(0.22, 0.56), hip=(0.14, 0.25), limb=0.085, scarf=(0.64, 0.26), hat="bowler", brim=(1.06, 0.3),
        eye=(0.14, 0.93),
    ),
    "rabbit": Character(
        ROSE, (236, 112, 150), Build(1.3, 0.32), _nothing, _oval(0.38, 0.28, 0.32), _rabbit_head, middle=0.38,
        shoulder=(0.2, 0.54), hip=(0.14, 0.22), limb=0.09, scarf=(0.6, 0.27), hat="beanie", brim=(0.99, 0.27),
        eye=(0.13, 0.88),
    ),
    "giraffe": Character(
        TAN, SPOT, Build(1.5, 0.34), _nothing, _giraffe_neck, _giraffe_head, middle=0.44, shoulder=(0.24, 0.58),
        hip=(0.17, 0.25), limb=0.085, scarf=(0.76, 0.23), hat="top hat", brim=(1.43, 0.3), eye=(0.11, 1.36),
    ),
    "robot": Character(
        STEEL, WHITE, Build(1.2, 0.42), _nothing, _robot_torso, _robot_head, middle=0.42, shoulder=(0.36, 0.6),
        hip=(0.2, 0.2), limb=0.09, scarf=(0.7, 0.3), hat="cap", brim=(1.18, 0.34), eye=(0.12, 0.97),
        eyes=(180, 240, 250),
    ),
    "ghost": Character(
        MIST, (150, 150, 196), Build(1.2, 0.42), _ghost_edge, _ghost_body, _ghost_head, middle=0.4,
        shoulder=(0.34, 0.52), hip=None, limb=0.08, scarf=(0.58, 0.4), hat="fez", brim=(1.1, 0.33), eye=(0.13, 0.92),
    ),
    "frog": Character(
        GREEN, LEAF, Build(0.98, 0.46), _nothing, _oval(0.32, 0.42, 0.28), _frog_head, middle=0.32,
        shoulder=(0.34, 0.42), hip=(0.26, 0.16), limb=0.1, scarf=(0.44, 0.38), hat="top hat", brim=(0.86, 0.25),
        eye=(0.27, 0.86),
    ),
    "elephant": Character(
        LILAC, (108, 84, 176), Build(1.2, 0.5), _elephant_ears, _oval(0.42, 0.42, 0.36), _elephant_head, middle=0.42,
        shoulder=(0.32, 0.56), hip=(0.22, 0.22), limb=0.12, scarf=(0.64, 0.34), hat="fez", brim=(1.14, 0.31),
        eye=(0.15, 0.95),
    ),
}  # fmt: skip
