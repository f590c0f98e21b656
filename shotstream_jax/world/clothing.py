"""The characters' clothing: hats, scarves, and the pattern of the body.

No caption names its colours.
"""

from functools import partial

from shotstream_jax.world import shapes
from shotstream_jax.world.draw import Colour, Pen, Texture, darken

ACCENTS: dict[str, Colour] = {
    "red": (222, 44, 52),
    "blue": (38, 84, 226),
    "turquoise": (8, 196, 198),
    "magenta": (232, 62, 190),
    "yellow": (255, 222, 36),
}
PATTERNS = ("plain", "stripes", "dots")

_WHITE = (255, 255, 255)


def body_texture(pattern: str, colour: Colour, middle: float) -> Texture | None:
    """One of PATTERNS, in a colour, laid about v = `middle`; None for "plain"."""
    if pattern == "plain":
        return None
    if pattern == "stripes":
        stripes = partial(shapes.stripes_distance, middle=middle, period=0.25)
        return Texture(colour, stripes)
    dots = partial(shapes.dots_distance, middle=middle, period=0.27, radius=0.082)
    return Texture(colour, dots)


def draw_scarf(pen: Pen, v: float, half: float, colour: Colour, size: float) -> None:
    """A scarf round the neck at height v, 2·half wide, one end hanging down.

    size: how many times as thick and as long as usual.
    """
    thickness = 0.075 * size
    knot = (half * 0.45, v)
    loose_end = (half * 0.6, v - 0.24 * size)
    pen.line(knot, loose_end, thickness, darken(colour))
    # The turn round the neck, over the loose end.
    pen.box(0, v, half, thickness, colour, corner=0.07)


def draw_hat(pen: Pen, shape: str, v: float, half: float, colour: Colour, size: float) -> None:
    """A hat whose brim lies at height v and is 2·half·size wide. shape: one of HATS."""
    # Larger about the middle of its brim, which stays where it is.
    at_brim = pen.moved(0, v)
    HATS[shape](at_brim.scaled(size, size), 0, half, colour)


# The hats, each about its brim at height v, which is 2·half wide.


def _cone(pen: Pen, v: float, half: float, colour: Colour) -> None:
    corners = [
        (-half * 0.8, v),
        (half * 0.8, v),
        (0.03, v + half * 1.75),
        (-0.03, v + half * 1.75),
    ]
    pen.polygon(corners, colour)
    # The pompom.
    pen.disc(0, v + half * 1.8, 0.07, _WHITE)


def _bowler(pen: Pen, v: float, half: float, colour: Colour) -> None:
    pen.arc(0, v, half * 0.38, half * 0.38, colour)
    _brim(pen, v, half, colour)


def _top_hat(pen: Pen, v: float, half: float, colour: Colour) -> None:
    pen.box(0, v + half * 0.62, half * 0.68, half * 0.62, colour, corner=0.02)
    # The ribbon.
    pen.box(0, v + half * 0.25, half * 0.68, 0.05, darken(colour))
    _brim(pen, v, half, colour)


def _beanie(pen: Pen, v: float, half: float, colour: Colour) -> None:
    pen.arc(0, v, half / 2, half / 2, colour)
    # The pompom.
    pen.disc(0, v + half, 0.085, _WHITE)


def _fez(pen: Pen, v: float, half: float, colour: Colour) -> None:
    corners = [
        (-half * 0.8, v),
        (half * 0.8, v),
        (half * 0.55, v + half),
        (-half * 0.55, v + half),
    ]
    pen.polygon(corners, colour)
    # The tassel.
    top = (0, v + half)
    tassel_end = (half * 0.75, v + half * 0.5)
    pen.line(top, tassel_end, 0.03, darken(colour))


def _cap(pen: Pen, v: float, half: float, colour: Colour) -> None:
    pen.arc(0, v, half * 0.42, half * 0.42, colour)
    # The peak, to the right.
    peak_start = (0.1, v + 0.03)
    peak_end = (half * 1.35, v + 0.02)
    pen.line(peak_start, peak_end, 0.05, darken(colour))


def _brim(pen: Pen, v: float, half: float, colour: Colour) -> None:
    pen.box(0, v, half, 0.05, colour, corner=0.05)


HATS = {
    "cone": _cone,
    "bowler": _bowler,
    "top hat": _top_hat,
    "beanie": _beanie,
    "fez": _fez,
    "cap": _cap,
}
