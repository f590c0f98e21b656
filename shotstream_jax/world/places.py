"""The places: a palette, a backdrop and a landmark each, and the layout.

The layout is sampled once per story, and no caption describes it: on which side the landmark
stands, its variant (a colour), and how many small things lie on the other side in front. Lengths
are in world units (world/scenery).
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from shotstream_jax.core.typing import Float
from shotstream_jax.world import scenery
from shotstream_jax.world.draw import Colour, Pen, darken

SIDES = ("left", "right")
VARIANTS = 3
MAX_ITEMS = 3

_SKY_TOP = scenery.HORIZON + 2.4
_GROUND_BOTTOM = -0.7
_LANDMARK_U = 1.3
_LANDMARK_V = 0.3


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a place keeps in all shots of a story.

    side: of the landmark, one of SIDES.
    variant: number of the landmark's colour, from 0.
    items: number of small things in front.
    """

    side: str
    variant: int
    items: int


@dataclasses.dataclass(frozen=True)
class Place:
    """How a place is drawn.

    sky: colours at the horizon and above it.
    ground: colours at the horizon and in front.
    backdrop: draws what stands on the horizon; gets the landmark's side, −1 or 1.
    landmark: draws the landmark, its foot at (0, 0), in one of `landmark_colours`.
    item: draws a small thing about (0, 0).
    """

    sky: tuple[Colour, Colour]
    ground: tuple[Colour, Colour]
    backdrop: Callable[[Pen, int], None]
    landmark: Callable[[Pen, Colour], None]
    landmark_colours: tuple[Colour, Colour, Colour]
    item: Callable[[Pen], None]


def draw_place(pen: Pen, place: Place, layout: Layout, centre: float) -> Float[np.ndarray, "y x"]:
    """Draws a place without characters over the whole picture.

    Returns the landmark's coverage of each pixel. centre: u in the middle of the picture.
    """
    side = 1 if layout.side == "right" else -1
    ground_far, ground_near = place.ground

    # The backdrop is far away: it moves half as much as the ground.
    pen.sky(scenery.HORIZON, _SKY_TOP, *place.sky)
    far_pen = pen.moved(centre / 2, 0.0)
    place.backdrop(far_pen, side)
    pen.ground(scenery.HORIZON, _GROUND_BOTTOM, ground_far, ground_near)

    # The landmark, on its shadow.
    spot = pen.moved(side * _LANDMARK_U, _LANDMARK_V)
    shadow = darken(ground_near, 0.75)
    spot.ellipse(0, 0, 0.62, 0.08, shadow, opacity=0.6)
    colour = place.landmark_colours[layout.variant]
    pen.canvas.start_matte()
    place.landmark(spot, colour)
    landmark = pen.canvas.end_matte()

    # Small things in a zigzag on the other side.
    for number in range(layout.items):
        item_u = -side * (0.4 + 0.5 * number)
        item_v = -0.3 + 0.06 * (number % 2)
        spot = pen.moved(item_u, item_v)
        place.item(spot)
    return landmark


PLACES = {
    "meadow": Place(
        sky=(
            (222, 240, 250),
            (142, 200, 244),
        ),
        ground=(
            (158, 212, 112),
            (122, 186, 86),
        ),
        backdrop=scenery.draw_hills,
        landmark=scenery.draw_tree,
        landmark_colours=(
            (78, 150, 80),
            (246, 170, 190),
            (240, 160, 60),
        ),
        item=scenery.draw_flower,
    ),
    "beach": Place(
        sky=(
            (236, 246, 250),
            (130, 206, 240),
        ),
        ground=(
            (250, 230, 180),
            (240, 208, 146),
        ),
        backdrop=scenery.draw_sea,
        landmark=scenery.draw_parasol,
        landmark_colours=(
            (236, 96, 80),
            (90, 110, 214),
            (248, 196, 60),
        ),
        item=scenery.draw_shell,
    ),
    "forest": Place(
        sky=(
            (134, 176, 140),
            (70, 112, 104),
        ),
        ground=(
            (98, 128, 70),
            (78, 104, 60),
        ),
        backdrop=scenery.draw_woods,
        landmark=scenery.draw_mushroom,
        landmark_colours=(
            (206, 62, 56),
            (150, 90, 190),
            (238, 160, 54),
        ),
        item=scenery.draw_fern,
    ),
    "town": Place(
        sky=(
            (255, 214, 176),
            (246, 170, 150),
        ),
        ground=(
            (178, 170, 176),
            (150, 142, 152),
        ),
        backdrop=scenery.draw_street,
        landmark=scenery.draw_house,
        landmark_colours=(
            (246, 206, 110),
            (130, 170, 214),
            (236, 136, 136),
        ),
        item=scenery.draw_flower_pot,
    ),
    "snow": Place(
        sky=(
            (234, 240, 250),
            (170, 198, 230),
        ),
        ground=(
            (250, 252, 255),
            (222, 232, 246),
        ),
        backdrop=scenery.draw_mountains,
        landmark=scenery.draw_tent,
        landmark_colours=(
            (240, 140, 50),
            (130, 80, 180),
            (60, 160, 100),
        ),
        item=scenery.draw_stone,
    ),
    "moon": Place(
        sky=(
            (74, 62, 122),
            (32, 28, 68),
        ),
        ground=(
            (176, 172, 190),
            (146, 140, 162),
        ),
        backdrop=scenery.draw_space,
        landmark=scenery.draw_rocket,
        landmark_colours=(
            (226, 84, 72),
            (240, 240, 246),
            (84, 196, 150),
        ),
        item=scenery.draw_crater,
    ),
}
