"""The scenery of the places: backdrops on the horizon, landmarks, and small things in front.

Lengths are in world units: the ground's line, where the characters stand, is v = 0, and the horizon
v = 0.5. A backdrop gets the side of the landmark (−1 left, 1 right), so that the sun stands on the
other one. Landmarks and small things are drawn about (0, 0), landmarks with their foot there.
"""

from shotstream_jax.world.draw import Colour, Pen, darken

HORIZON = 0.5

_SUN = (255, 236, 150)
_PALE_SUN = (255, 244, 190)
_CLOUD = (255, 255, 255)
_WHITE = (252, 252, 250)
_HILL = (150, 206, 136)
_SEA = (64, 150, 206)
_WAVE = (190, 226, 244)
_FIR = (62, 110, 92)
_BARK = (92, 74, 66)
_WINDOW = (255, 232, 170)
_ROCK = (150, 170, 204)
_SNOW = (248, 250, 254)
_STAR = (236, 232, 250)
_EARTH = (76, 140, 220)
_LAND = (120, 196, 130)


# Meadow


def draw_hills(pen: Pen, side: int) -> None:
    """The meadow's backdrop."""
    pen.disc(-side * 1.1, 2.0, 0.24, _SUN)

    # Clouds.
    for u in (-3.4, 0.5, 4.1):
        _draw_cloud(pen, u + 0.6 * side, 1.85, 1.1)

    # Hills: flat ellipses, their lower halves hidden by the ground.
    hills = [
        (-5.4, 2.0),
        (-2, 2.2),
        (1.6, 1.8),
        (4.8, 2.4),
    ]
    for u, radius in hills:
        pen.ellipse(u, HORIZON - 0.2, radius, 0.3 * radius, _HILL)


def draw_tree(pen: Pen, crown: Colour) -> None:
    """The meadow's landmark."""
    # The trunk.
    pen.line((0, 0), (0, 0.7), 0.1, (128, 88, 60))
    # The crown: two darker discs behind one.
    dark_crown = darken(crown, 0.9)
    pen.disc(-0.26, 0.95, 0.32, dark_crown)
    pen.disc(0.26, 0.95, 0.32, dark_crown)
    pen.disc(0, 1.15, 0.42, crown)


def draw_flower(pen: Pen) -> None:
    """The meadow's small thing."""
    petal = (255, 250, 240)
    pen.disc(-0.06, 0, 0.052, petal)
    pen.disc(0.06, 0, 0.052, petal)
    pen.disc(0, 0.06, 0.052, petal)
    pen.disc(0, -0.06, 0.052, petal)
    pen.disc(0, 0, 0.045, (250, 190, 50))


# Beach


def draw_sea(pen: Pen, side: int) -> None:
    """The beach's backdrop."""
    pen.disc(-side * 1.3, 1.9, 0.3, _PALE_SUN)
    _draw_cloud(pen, 0.7 * side, 1.9, 0.9)
    _draw_cloud(pen, -3.2 * side, 1.7, 1.1)

    # The sea, wider than any picture, with waves.
    pen.box(0, HORIZON + 0.1, 9.0, 0.2, _SEA)
    wave_v = HORIZON + 0.14
    for u in (-3.3, -1.7, 0.2, 1.9, 3.6):
        pen.line((u, wave_v), (u + 0.4, wave_v), 0.018, _WAVE)

    # A sail.
    mast = -side * 2.1
    sail = [
        (mast - 0.25, 0.78),
        (mast + 0.25, 0.78),
        (mast, 1.25),
    ]
    pen.polygon(sail, _WHITE)


def draw_parasol(pen: Pen, colour: Colour) -> None:
    """The beach's landmark."""
    # The pole.
    pen.line((0, 0), (0, 1.0), 0.04, (150, 120, 90))
    # The roof: a half ring without a hole.
    pen.arc(0, 0.85, 0.36, 0.36, colour)
    # A white stripe on the roof.
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
    """The forest's backdrop."""
    # Dark firs, higher on the right.
    for u in (-4.9, -3.7, -2.4, -1.2, 0.1, 1.2, 2.3, 3.5, 4.8):
        top = 2.25 if u > 0 else 2.0
        fir = [
            (u - 0.55, HORIZON),
            (u + 0.55, HORIZON),
            (u, top),
        ]
        pen.polygon(fir, _FIR, corner=0.05)

    # Bare trunks before them.
    for u in (-4.2, -2.9, -1.8, -0.6, 0.7, 1.8, 2.9, 4.1):
        pen.box(u, 1.6, 0.1, 1.4, _BARK)


def draw_mushroom(pen: Pen, cap: Colour) -> None:
    """The forest's landmark."""
    stem = [
        (-0.17, 0),
        (0.17, 0),
        (0.12, 0.75),
        (-0.12, 0.75),
    ]
    pen.polygon(stem, (240, 230, 208), corner=0.04)
    pen.arc(0, 0.62, 0.31, 0.31, cap)
    # White spots on the cap.
    pen.disc(-0.3, 0.8, 0.085, _WHITE)
    pen.disc(0.02, 1.02, 0.085, _WHITE)
    pen.disc(0.32, 0.78, 0.085, _WHITE)


def draw_fern(pen: Pen) -> None:
    """The forest's small thing."""
    for u in (-0.12, 0.0, 0.12):
        pen.line((0, -0.06), (u, 0.12), 0.03, (150, 200, 90), end_radius=0.015)


# Town


def draw_street(pen: Pen, side: int) -> None:
    """The town's backdrop."""
    walls = [
        (214, 170, 150),
        (196, 160, 170),
        (222, 190, 158),
    ]
    # Middle, height of the roof, and number of the wall's colour.
    houses = [
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
        # Two windows under the roof.
        window_v = top - 0.28
        pen.box(u - 0.25, window_v, 0.09, 0.12, _WINDOW)
        pen.box(u + 0.2, window_v, 0.09, 0.12, _WINDOW)


def draw_house(pen: Pen, wall: Colour) -> None:
    """The town's landmark."""
    pen.box(0, 0.5, 0.48, 0.5, wall)
    roof = [
        (-0.6, 0.98),
        (0.6, 0.98),
        (0, 1.5),
    ]
    pen.polygon(roof, (120, 76, 80), corner=0.02)
    # The door, and a window.
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
    """The snow's backdrop."""
    foot = HORIZON - 0.1
    half_width = 1.3
    snowy_share = 0.3  # of the height
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
        pen.polygon(mountain, _ROCK)

        # Snow on the top: the same triangle, smaller.
        height = top - HORIZON + 0.1
        snow_foot = top - snowy_share * height
        snow_half_width = half_width * snowy_share
        snow = [
            (u - snow_half_width, snow_foot),
            (u + snow_half_width, snow_foot),
            (u, top),
        ]
        pen.polygon(snow, _SNOW)


def draw_tent(pen: Pen, cloth: Colour) -> None:
    """The snow's landmark."""
    tent = [
        (-0.62, 0),
        (0.62, 0),
        (0, 1.15),
    ]
    pen.polygon(tent, cloth, corner=0.03)
    opening = [
        (-0.2, 0),
        (0.2, 0),
        (0, 0.7),
    ]
    pen.polygon(opening, darken(cloth, 0.5))
    # The end of the pole.
    pen.line((0, 1.15), (0, 1.4), 0.025, (110, 90, 80))


def draw_stone(pen: Pen) -> None:
    """The snow's small thing: a stone, white on top."""
    pen.ellipse(0, 0, 0.14, 0.1, (128, 138, 158))
    pen.ellipse(0, 0.045, 0.11, 0.055, _WHITE)


# Moon


def draw_space(pen: Pen, side: int) -> None:
    """The moon's backdrop."""
    # Stars. Multiples of two irrational numbers spread them evenly.
    for number in range(40):
        across = number * 1.618 % 1
        up = number * 0.7549 % 1
        u = (across * 2 - 1) * 5
        v = 0.7 + up * 2.6
        radius = 0.025 + 0.015 * (number % 3)
        pen.disc(u, v, radius, _STAR)

    # The earth, with land.
    pen.disc(-side * 1.1, 1.85, 0.34, _EARTH)
    pen.ellipse(-side * 1.02, 1.92, 0.15, 0.1, _LAND)
    pen.ellipse(-side * 1.2, 1.72, 0.11, 0.08, _LAND)


def draw_rocket(pen: Pen, body: Colour) -> None:
    """The moon's landmark."""
    # Fins: a polygon must be counter-clockwise, so the order differs on the two sides.
    left_fin = [
        (-0.2, 0.55),
        (-0.45, 0.0),
        (-0.15, 0.05),
    ]
    right_fin = [
        (0.15, 0.05),
        (0.45, 0.0),
        (0.2, 0.55),
    ]
    fin = darken(body, 0.7)
    pen.polygon(left_fin, fin, corner=0.02)
    pen.polygon(right_fin, fin, corner=0.02)

    # The body, and a round window.
    pen.ellipse(0, 0.75, 0.26, 0.75, body)
    pen.disc(0, 0.9, 0.13, (250, 250, 255))
    pen.disc(0, 0.9, 0.09, (90, 150, 200))


def draw_crater(pen: Pen) -> None:
    """The moon's small thing."""
    pen.ellipse(0, 0, 0.19, 0.075, (112, 108, 132))
    pen.ellipse(0, -0.02, 0.14, 0.045, (92, 88, 112))


def _draw_cloud(pen: Pen, u: float, v: float, size: float) -> None:
    """A cloud about (u, v)."""
    # Shift and radius of three flat ellipses.
    puffs = [
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
