"""The places: a palette, a backdrop and a landmark each, and a layout that is drawn by lot once a story.

World units: the ground's line where characters stand is v = 0, the horizon v = 0.5; a character is about one unit tall.
No caption tells the layout: on which side the landmark stands, its variant (a colour), and how many small things lie on
the other side in front.
"""

import dataclasses
from collections.abc import Callable

from shotstream_jax.world.draw import Colour, Pen
from shotstream_jax.world.wear import shade

SIDES = ("left", "right")
VARIANTS, MOST_ITEMS = 3, 3
HORIZON, LANDMARK_AT = 0.5, 1.3
REACH = 9.0  # how far to each side a backdrop is drawn


@dataclasses.dataclass(frozen=True)
class Layout:
    """side: of the landmark. variant: its colour, from 0. items: small things in front."""

    side: str
    variant: int
    items: int


@dataclasses.dataclass(frozen=True)
class Place:
    """sky: at the horizon and above. ground: at the horizon and in front. back: what stands on the horizon.

    landmark: draws about (0, 0), its foot, in a colour of `colours`. item: a small thing about (0, 0).
    """

    sky: tuple[Colour, Colour]
    ground: tuple[Colour, Colour]
    back: Callable[[Pen, int], None]
    landmark: Callable[[Pen, Colour], None]
    colours: tuple[Colour, Colour, Colour]
    item: Callable[[Pen], None]


def draw(pen: Pen, place: Place, layout: Layout, centre: float) -> None:
    """A place without characters, over the whole picture. centre: the camera's u; what is far moves half as much."""
    side = 1 if layout.side == "right" else -1
    pen.sky(HORIZON, HORIZON + 2.4, *place.sky)
    place.back(pen.moved(centre / 2, 0.0), side)
    pen.ground(HORIZON, -0.7, *place.ground)
    spot = pen.moved(side * LANDMARK_AT, 0.3)
    spot.ellipse(0, 0, 0.62, 0.08, shade(place.ground[1], 0.75), opacity=0.6)
    place.landmark(spot, place.colours[layout.variant])
    for k in range(layout.items):
        place.item(pen.moved(-side * (0.4 + 0.5 * k), -0.3 + 0.06 * (k % 2)))


SUN, CLOUD, WHITE = (255, 236, 150), (255, 255, 255), (252, 252, 250)


def _cloud(pen: Pen, u: float, v: float, size: float) -> None:
    for du, dv, r in ((-0.3, 0, 0.16), (0, 0.06, 0.24), (0.3, 0, 0.18)):
        pen.ellipse(u + size * du, v + size * dv, 1.3 * size * r, size * r, CLOUD, opacity=0.85)


def _meadow(pen: Pen, side: int) -> None:
    pen.disc(-side * 1.1, 2.0, 0.24, SUN)
    for u in (-3.4, 0.5, 4.1):
        _cloud(pen, u + 0.6 * side, 1.85, 1.1)
    for u, r in ((-5.4, 2.0), (-2, 2.2), (1.6, 1.8), (4.8, 2.4)):
        pen.ellipse(u, HORIZON - 0.2, r, 0.3 * r, (150, 206, 136))


def _tree(pen: Pen, crown: Colour) -> None:
    pen.line((0, 0), (0, 0.7), 0.1, (128, 88, 60))
    pen.disc(-0.26, 0.95, 0.32, shade(crown, 0.9))
    pen.disc(0.26, 0.95, 0.32, shade(crown, 0.9))
    pen.disc(0, 1.15, 0.42, crown)


def _flower(pen: Pen) -> None:
    for du, dv in ((-0.06, 0), (0.06, 0), (0, 0.06), (0, -0.06)):
        pen.disc(du, dv, 0.052, (255, 250, 240))
    pen.disc(0, 0, 0.045, (250, 190, 50))


def _sea(pen: Pen, side: int) -> None:
    pen.disc(-side * 1.3, 1.9, 0.3, (255, 244, 190))
    _cloud(pen, 0.7 * side, 1.9, 0.9)
    _cloud(pen, -3.2 * side, 1.7, 1.1)
    pen.box(0, HORIZON + 0.1, REACH, 0.2, (64, 150, 206))
    for u in (-3.3, -1.7, 0.2, 1.9, 3.6):
        pen.line((u, HORIZON + 0.14), (u + 0.4, HORIZON + 0.14), 0.018, (190, 226, 244))
    pen.polygon(
        [(-side * 2.1 - 0.25, 0.78), (-side * 2.1 + 0.25, 0.78), (-side * 2.1, 1.25)], WHITE
    )


def _parasol(pen: Pen, colour: Colour) -> None:
    pen.line((0, 0), (0, 1.0), 0.04, (150, 120, 90))
    pen.arc(0, 0.85, 0.36, 0.36, colour)
    pen.polygon([(-0.2, 0.85), (0.2, 0.85), (0.04, 1.56), (-0.04, 1.56)], WHITE)


def _shell(pen: Pen) -> None:
    pen.arc(0, -0.04, 0.06, 0.06, (240, 150, 130))
    pen.disc(0, -0.03, 0.045, (255, 220, 205))


def _woods(pen: Pen, side: int) -> None:
    for u in (-4.9, -3.7, -2.4, -1.2, 0.1, 1.2, 2.3, 3.5, 4.8):
        pen.polygon(
            [(u - 0.55, HORIZON), (u + 0.55, HORIZON), (u, 2.0 + 0.25 * (u > 0))],
            (62, 110, 92),
            corner=0.05,
        )
    for u in (-4.2, -2.9, -1.8, -0.6, 0.7, 1.8, 2.9, 4.1):
        pen.box(u, 1.6, 0.1, 1.4, (92, 74, 66))


def _mushroom(pen: Pen, cap: Colour) -> None:
    pen.polygon([(-0.17, 0), (0.17, 0), (0.12, 0.75), (-0.12, 0.75)], (240, 230, 208), corner=0.04)
    pen.arc(0, 0.62, 0.31, 0.31, cap)
    for u, v in ((-0.3, 0.8), (0.02, 1.02), (0.32, 0.78)):
        pen.disc(u, v, 0.085, WHITE)


def _fern(pen: Pen) -> None:
    for du in (-0.12, 0.0, 0.12):
        pen.line((0, -0.06), (du, 0.12), 0.03, (150, 200, 90), end_r=0.015)


def _street(pen: Pen, side: int) -> None:
    row = (
        (-4.6, 1.3, 0),
        (-3.5, 1.7, 1),
        (-2.4, 1.2, 2),
        (-1.3, 1.5, 1),
        (-0.2, 1.25, 0),
        (0.9, 1.6, 2),
        (2.0, 1.3, 1),
    )
    walls = ((214, 170, 150), (196, 160, 170), (222, 190, 158))
    for u, top, kind in (*row, (3.1, 1.7, 0), (4.2, 1.25, 2)):
        pen.box(u, (HORIZON + top) / 2, 0.53, (top - HORIZON) / 2, walls[kind])
        for du in (-0.25, 0.2):
            pen.box(u + du, top - 0.28, 0.09, 0.12, (255, 232, 170))


def _house(pen: Pen, wall: Colour) -> None:
    pen.box(0, 0.5, 0.48, 0.5, wall)
    pen.polygon([(-0.6, 0.98), (0.6, 0.98), (0, 1.5)], (120, 76, 80), corner=0.02)
    pen.box(-0.2, 0.27, 0.11, 0.27, (100, 70, 60))
    pen.box(0.2, 0.62, 0.13, 0.13, (255, 238, 180))


def _pot(pen: Pen) -> None:
    pen.polygon([(-0.06, -0.1), (0.06, -0.1), (0.09, 0.02), (-0.09, 0.02)], (190, 96, 66))
    pen.disc(0, 0.1, 0.1, (96, 160, 84))


def _peaks(pen: Pen, side: int) -> None:
    for u, top in ((-4.4, 1.6), (-2.7, 2.1), (-0.6, 1.7), (1.3, 2.2), (3.4, 1.7), (5.2, 2.0)):
        pen.polygon([(u - 1.3, HORIZON - 0.1), (u + 1.3, HORIZON - 0.1), (u, top)], (150, 170, 204))
        share = 0.3
        base = top - share * (top - HORIZON + 0.1)
        pen.polygon([(u - 1.3 * share, base), (u + 1.3 * share, base), (u, top)], (248, 250, 254))


def _tent(pen: Pen, cloth: Colour) -> None:
    pen.polygon([(-0.62, 0), (0.62, 0), (0, 1.15)], cloth, corner=0.03)
    pen.polygon([(-0.2, 0), (0.2, 0), (0, 0.7)], shade(cloth, 0.5))
    pen.line((0, 1.15), (0, 1.4), 0.025, (110, 90, 80))


def _stone(pen: Pen) -> None:
    pen.ellipse(0, 0, 0.14, 0.1, (128, 138, 158))
    pen.ellipse(0, 0.045, 0.11, 0.055, WHITE)


def _space(pen: Pen, side: int) -> None:
    for k in range(40):
        pen.disc(
            ((k * 1.618) % 1 * 2 - 1) * 5,
            0.7 + (k * 0.7549) % 1 * 2.6,
            0.025 + 0.015 * (k % 3),
            (236, 232, 250),
        )
    pen.disc(-side * 1.1, 1.85, 0.34, (76, 140, 220))
    pen.ellipse(-side * 1.02, 1.92, 0.15, 0.1, (120, 196, 130))
    pen.ellipse(-side * 1.2, 1.72, 0.11, 0.08, (120, 196, 130))


def _rocket(pen: Pen, body: Colour) -> None:
    for side in (-1, 1):
        fin = [(side * 0.15, 0.05), (side * 0.45, 0.0), (side * 0.2, 0.55)]
        pen.polygon(fin if side > 0 else fin[::-1], shade(body, 0.7), corner=0.02)
    pen.ellipse(0, 0.75, 0.26, 0.75, body)
    pen.disc(0, 0.9, 0.13, (250, 250, 255))
    pen.disc(0, 0.9, 0.09, (90, 150, 200))


def _crater(pen: Pen) -> None:
    pen.ellipse(0, 0, 0.19, 0.075, (112, 108, 132))
    pen.ellipse(0, -0.02, 0.14, 0.045, (92, 88, 112))


PLACES = {
    "meadow": Place(
        ((222, 240, 250), (142, 200, 244)), ((158, 212, 112), (122, 186, 86)), _meadow, _tree,
        ((78, 150, 80), (246, 170, 190), (240, 160, 60)), _flower,
    ),
    "beach": Place(
        ((236, 246, 250), (130, 206, 240)), ((250, 230, 180), (240, 208, 146)), _sea, _parasol,
        ((236, 96, 80), (90, 110, 214), (248, 196, 60)), _shell,
    ),
    "forest": Place(
        ((134, 176, 140), (70, 112, 104)), ((98, 128, 70), (78, 104, 60)), _woods, _mushroom,
        ((206, 62, 56), (150, 90, 190), (238, 160, 54)), _fern,
    ),
    "town": Place(
        ((255, 214, 176), (246, 170, 150)), ((178, 170, 176), (150, 142, 152)), _street, _house,
        ((246, 206, 110), (130, 170, 214), (236, 136, 136)), _pot,
    ),
    "snow": Place(
        ((234, 240, 250), (170, 198, 230)), ((250, 252, 255), (222, 232, 246)), _peaks, _tent,
        ((240, 140, 50), (130, 80, 180), (60, 160, 100)), _stone,
    ),
    "moon": Place(
        ((74, 62, 122), (32, 28, 68)), ((176, 172, 190), (146, 140, 162)), _space, _rocket,
        ((226, 84, 72), (240, 240, 246), (84, 196, 150)), _crater,
    ),
}  # fmt: skip
