"""What the characters wear: hats, scarves, and patterns of the body. Its colours are told by no caption."""

import numpy as np

from shotstream_jax.world.draw import Colour, Pen, Plane, Texture

ACCENTS: dict[str, Colour] = {
    "red": (222, 44, 52),
    "blue": (38, 84, 226),
    "turquoise": (8, 196, 198),
    "magenta": (232, 62, 190),
    "yellow": (255, 222, 36),
}
PATTERNS = ("plain", "stripes", "dots")


def texture(pattern: str, colour: Colour, v: float) -> Texture | None:
    """A pattern about the height v of a body."""
    if pattern == "plain":
        return None
    return Texture(colour, {"stripes": _stripes, "dots": _dots}[pattern](v))


def _stripes(middle: float, period: float = 0.25):
    """Level stripes, as wide as the gaps between them."""

    def distance(u: Plane, v: Plane) -> Plane:
        t = (v - middle) * (1 / period)
        return (np.abs(t - np.rint(t)) - 0.25) * period

    return distance


def _dots(middle: float, period: float = 0.27, r: float = 0.082):
    def distance(u: Plane, v: Plane) -> Plane:
        a, b = u * (1 / period) + 0.5, (v - middle) * (1 / period) + 0.5
        a, b = a - np.rint(a), b - np.rint(b)
        return np.sqrt(a * a + b * b) * period - r

    return distance


def scarf(pen: Pen, v: float, half: float, colour: Colour) -> None:
    """Round the neck at height v, one end hanging."""
    pen.line((half * 0.45, v), (half * 0.6, v - 0.24), 0.075, shade(colour))
    pen.box(0, v, half, 0.075, colour, corner=0.07)


def hat(pen: Pen, shape: str, v: float, half: float, colour: Colour) -> None:
    """A hat whose brim lies at height v and is 2·half wide."""
    dark = shade(colour)
    if shape == "cone":
        pen.polygon(
            [(-half * 0.8, v), (half * 0.8, v), (0.03, v + half * 1.75), (-0.03, v + half * 1.75)],
            colour,
        )
        pen.disc(0, v + half * 1.8, 0.07, (255, 255, 255))
    elif shape == "bowler":
        pen.arc(0, v, half * 0.38, half * 0.38, colour)
    elif shape == "top hat":
        pen.box(0, v + half * 0.62, half * 0.68, half * 0.62, colour, corner=0.02)
        pen.box(0, v + half * 0.25, half * 0.68, 0.05, dark)
    elif shape == "beanie":
        pen.arc(0, v, half / 2, half / 2, colour)
        pen.disc(0, v + half, 0.085, (255, 255, 255))
    elif shape == "fez":
        pen.polygon(
            [(-half * 0.8, v), (half * 0.8, v), (half * 0.55, v + half), (-half * 0.55, v + half)],
            colour,
        )
        pen.line((0, v + half), (half * 0.75, v + half * 0.5), 0.03, dark)
    elif shape == "cap":
        pen.arc(0, v, half * 0.42, half * 0.42, colour)
        pen.line((0.1, v + 0.03), (half * 1.35, v + 0.02), 0.05, dark)
    if shape in ("bowler", "top hat"):
        pen.box(0, v, half, 0.05, colour, corner=0.05)


def shade(colour: Colour, by: float = 0.72) -> Colour:
    """The same, darker."""
    return tuple(round(by * c) for c in colour)
