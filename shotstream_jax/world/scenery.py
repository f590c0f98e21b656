"""The scenery of the places: backdrops on the horizon, landmarks, and small things in front.

Lengths are in world units: the ground's line, where the characters stand, is v = 0, and the horizon
v = 0.5. A backdrop gets the side of the landmark (−1 left, 1 right), so that the sun stands on the
other one. Landmarks and small things are drawn about (0, 0), landmarks with their foot there.
"""

from shotstream_jax.world.draw import Colour, Pen, darken

HORIZON = 0.5

_REACH = 9.0  # how far to each side a backdrop is drawn
_SUN = (255, 236, 150)
_PALE_SUN = (255, 244, 190)
_CLOUD = (255, 255, 255)
_WHITE = (252, 252, 250)
_WINDOW = (255, 232, 170)


# Meadow


def draw_hills(pen: Pen, side: int) -> None:
    """The meadow's backdrop: a sun, clouds and hills."""
    pen.disc(-side * 1.1, 2.0, 0.24, _SUN)
    for u in (-3.4, 0.5, 4.1):
        _draw_cloud(pen, u + 0.6 * side, 1.85, 1.1)
    hills = [
        (-5.4, 2.0),
        (-2, 2.2),
        (1.6, 1.8),
        (4.8, 2.4),
    ]
    for u, radius in hills:
        pen.ellipse(u, HORIZON - 0.2, radius, 0.3 * radius, (150, 206, 136))


def draw_tree(pen: Pen, crown: Colour) -> None:
    """The meadow's landmark: a trunk, and a crown of three discs."""
    pen.line((0, 0), (0, 0.7), 0.1, (128, 88, 60))
    pen.disc(-0.26, 0.95, 0.32, darken(crown, 0.9))
    pen.disc(0.26, 0.95, 0.32, darken(crown, 0.9))
    pen.disc(0, 1.15, 0.42, crown)


def draw_flower(pen: Pen) -> None:
    """The meadow's small thing."""
    petal = (255, 250, 240)
    for u, v in ((-0.06, 0), (0.06, 0), (0, 0.06), (0, -0.06)):
        pen.disc(u, v, 0.052, petal)
    pen.disc(0, 0, 0.045, (250, 190, 50))


# Beach


def draw_sea(pen: Pen, side: int) -> None:
    """The beach's backdrop: a sun, clouds, the sea with waves, and a sail."""
    pen.disc(-side * 1.3, 1.9, 0.3, _PALE_SUN)
    _draw_cloud(pen, 0.7 * side, 1.9, 0.9)
    _draw_cloud(pen, -3.2 * side, 1.7, 1.1)
    pen.box(0, HORIZON + 0.1, _REACH, 0.2, (64, 150, 206))
    wave_v = HORIZON + 0.14
    for u in (-3.3, -1.7, 0.2, 1.9, 3.6):
        pen.line((u, wave_v), (u + 0.4, wave_v), 0.018, (190, 226, 244))
    mast = -side * 2.1
    sail = [
        (mast - 0.25, 0.78),
        (mast + 0.25, 0.78),
        (mast, 1.25),
    ]
    pen.polygon(sail, _WHITE)


def draw_parasol(pen: Pen, colour: Colour) -> None:
    """The beach's landmark: a pole, a round roof, and a white stripe on it."""
    pen.line((0, 0), (0, 1.0), 0.04, (150, 120, 90))
    pen.arc(0, 0.85, 0.36, 0.36, colour)
    stripe = [
        (-0.2, 0.85),
        (0.2, 0.85),
        (0.04, 1.56),
        (-0.04, 1.56),
    ]
    pen.polygon(stripe, _WHITE)


def draw_shell(pen: Pen) -> None:
    """The beach's small thing."""
    pen.arc(0, -0.04, 0.06, 0.06, (240, 150, 130))
    pen.disc(0, -0.03, 0.045, (255, 220, 205))


# Forest


def draw_woods(pen: Pen, side: int) -> None:
    """The forest's backdrop: dark firs, and bare trunks before them."""
    for u in (-4.9, -3.7, -2.4, -1.2, 0.1, 1.2, 2.3, 3.5, 4.8):
        top = 2.25 if u > 0 else 2.0
        fir = [
            (u - 0.55, HORIZON),
            (u + 0.55, HORIZON),
            (u, top),
        ]
        pen.polygon(fir, (62, 110, 92), corner=0.05)
    for u in (-4.2, -2.9, -1.8, -0.6, 0.7, 1.8, 2.9, 4.1):
        pen.box(u, 1.6, 0.1, 1.4, (92, 74, 66))


def draw_mushroom(pen: Pen, cap: Colour) -> None:
    """The forest's landmark: a stem, and a cap with white spots."""
    stem = [
        (-0.17, 0),
        (0.17, 0),
        (0.12, 0.75),
        (-0.12, 0.75),
    ]
    pen.polygon(stem, (240, 230, 208), corner=0.04)
    pen.arc(0, 0.62, 0.31, 0.31, cap)
    for u, v in ((-0.3, 0.8), (0.02, 1.02), (0.32, 0.78)):
        pen.disc(u, v, 0.085, _WHITE)


def draw_fern(pen: Pen) -> None:
    """The forest's small thing."""
    for u in (-0.12, 0.0, 0.12):
        pen.line((0, -0.06), (u, 0.12), 0.03, (150, 200, 90), end_radius=0.015)


# Town


def draw_street(pen: Pen, side: int) -> None:
    """The town's backdrop: a row of houses with two windows each."""
    walls = [
        (214, 170, 150),
        (196, 160, 170),
        (222, 190, 158),
    ]
    houses = [  # middle, height of the roof, number of the wall's colour
        (-4.6, 1.3, 0),
        (-3.5, 1.7, 1),
        (-2.4, 1.2, 2),
        (-1.3, 1.5, 1),
        (-0.2, 1.25, 0),
        (0.9, 1.6, 2),
        (2.0, 1.3, 1),
        (3.1, 1.7, 0),
        (4.2, 1.25, 2),
    ]
    for u, top, wall in houses:
        middle = (HORIZON + top) / 2
        half_height = (top - HORIZON) / 2
        pen.box(u, middle, 0.53, half_height, walls[wall])
        pen.box(u - 0.25, top - 0.28, 0.09, 0.12, _WINDOW)
        pen.box(u + 0.2, top - 0.28, 0.09, 0.12, _WINDOW)


def draw_house(pen: Pen, wall: Colour) -> None:
    """The town's landmark: a wall, a roof, a door and a window."""
    pen.box(0, 0.5, 0.48, 0.5, wall)
    pen.polygon([(-0.6, 0.98), (0.6, 0.98), (0, 1.5)], (120, 76, 80), corner=0.02)
    pen.box(-0.2, 0.27, 0.11, 0.27, (100, 70, 60))
    pen.box(0.2, 0.62, 0.13, 0.13, (255, 238, 180))


def draw_flower_pot(pen: Pen) -> None:
    """The town's small thing."""
    pot = [
        (-0.06, -0.1),
        (0.06, -0.1),
        (0.09, 0.02),
        (-0.09, 0.02),
    ]
    pen.polygon(pot, (190, 96, 66))
    pen.disc(0, 0.1, 0.1, (96, 160, 84))


# Snow


def draw_mountains(pen: Pen, side: int) -> None:
    """The snow's backdrop: mountains with white tops."""
    foot = HORIZON - 0.1
    half_width = 1.3
    snowy_share = 0.3
    peaks = [
        (-4.4, 1.6),
        (-2.7, 2.1),
        (-0.6, 1.7),
        (1.3, 2.2),
        (3.4, 1.7),
        (5.2, 2.0),
    ]
    for u, top in peaks:
        mountain = [
            (u - half_width, foot),
            (u + half_width, foot),
            (u, top),
        ]
        pen.polygon(mountain, (150, 170, 204))

        snow_half = half_width * snowy_share
        snow_foot = top - snowy_share * (top - HORIZON + 0.1)
        snow = [
            (u - snow_half, snow_foot),
            (u + snow_half, snow_foot),
            (u, top),
        ]
        pen.polygon(snow, (248, 250, 254))


def draw_tent(pen: Pen, cloth: Colour) -> None:
    """The snow's landmark: a tent with a dark opening, and the end of its pole."""
    pen.polygon([(-0.62, 0), (0.62, 0), (0, 1.15)], cloth, corner=0.03)
    pen.polygon([(-0.2, 0), (0.2, 0), (0, 0.7)], darken(cloth, 0.5))
    pen.line((0, 1.15), (0, 1.4), 0.025, (110, 90, 80))


def draw_stone(pen: Pen) -> None:
    """The snow's small thing: a stone, white on top."""
    pen.ellipse(0, 0, 0.14, 0.1, (128, 138, 158))
    pen.ellipse(0, 0.045, 0.11, 0.055, _WHITE)


# Moon


def draw_space(pen: Pen, side: int) -> None:
    """The moon's backdrop: 40 stars, and the earth."""
    for number in range(40):
        # Multiples of two irrational numbers spread the stars evenly.
        across = number * 1.618 % 1
        up = number * 0.7549 % 1
        radius = 0.025 + 0.015 * (number % 3)
        pen.disc((across * 2 - 1) * 5, 0.7 + up * 2.6, radius, (236, 232, 250))
    pen.disc(-side * 1.1, 1.85, 0.34, (76, 140, 220))
    land = (120, 196, 130)
    pen.ellipse(-side * 1.02, 1.92, 0.15, 0.1, land)
    pen.ellipse(-side * 1.2, 1.72, 0.11, 0.08, land)


def draw_rocket(pen: Pen, body: Colour) -> None:
    """The moon's landmark: two fins, the body, and a round window."""
    for side in (-1, 1):
        fin = [
            (side * 0.15, 0.05),
            (side * 0.45, 0.0),
            (side * 0.2, 0.55),
        ]
        if side < 0:  # mirrored, so the other way round to be counter-clockwise
            fin.reverse()
        pen.polygon(fin, darken(body, 0.7), corner=0.02)
    pen.ellipse(0, 0.75, 0.26, 0.75, body)
    pen.disc(0, 0.9, 0.13, (250, 250, 255))
    pen.disc(0, 0.9, 0.09, (90, 150, 200))


def draw_crater(pen: Pen) -> None:
    """The moon's small thing."""
    pen.ellipse(0, 0, 0.19, 0.075, (112, 108, 132))
    pen.ellipse(0, -0.02, 0.14, 0.045, (92, 88, 112))


def _draw_cloud(pen: Pen, u: float, v: float, size: float) -> None:
    """Three flat ellipses about (u, v)."""
    puffs = [  # shift and radius
        (-0.3, 0, 0.16),
        (0, 0.06, 0.24),
        (0.3, 0, 0.18),
    ]
    for shift_u, shift_v, radius in puffs:
        pen.ellipse(
            u + size * shift_u,
            v + size * shift_v,
            1.3 * size * radius,
            size * radius,
            _CLOUD,
            opacity=0.85,
        )
