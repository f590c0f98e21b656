"""The camera of a shot: its distance, its movement, and the map from the world to pixels.

At distance H the picture is H world units high (and at least 1.3·H wide), and the ground's line
lies at 0.8 of its height (at the closest distance lower, at 0.86). Over a shot, with τ from 0 to 1:

    pan    centre = ±0.2·H·(2τ − 1)                                                              (1)
    zoom   height = H·1.2^(1 − τ) towards the scene, H·1.2^τ away from it                        (2)
"""

import dataclasses

from shotstream_jax.world.affine import AffineMap

DISTANCES = {"closest": 2.6, "near": 2.8, "medium": 3.5, "far": 4.3}  # H in world units
MOVES = ("still", "pan left", "pan right", "zoom in", "zoom out")

_PAN = 0.2
_ZOOM = 1.2
_GROUND = 0.8  # share of the picture's height that is above the ground's line
_LOW_GROUND = 0.86  # … at the closest distance, so that a giraffe's hat fits above it
_ASPECT = 1.3  # least width of the visible part of the world, in heights


@dataclasses.dataclass(frozen=True)
class Camera:
    """distance: one of DISTANCES. move: one of MOVES."""

    distance: str
    move: str


@dataclasses.dataclass(frozen=True)
class View:
    """What the camera sees.

    centre: u in the middle of the picture. height: of the picture in world units. ground: share
    of its height that is above the ground's line.
    """

    centre: float
    height: float
    ground: float = _GROUND

    def to_pixels(self, height: int, width: int) -> AffineMap:
        """The map from world units to the pixels of a picture of that size."""
        # Pixels per unit: the height fits, and so does the least width.
        scale = min(height / self.height, width / (_ASPECT * self.height))
        return AffineMap(
            x_u=scale,
            y_u=0.0,
            x_v=0.0,
            y_v=-scale,
            x_0=width / 2 - scale * self.centre,
            y_0=self.ground * height,
        )


def view_at(camera: Camera, share: float) -> View:
    """(1) and (2) at a share τ of the shot, 0 to 1."""
    height = DISTANCES[camera.distance]

    # −1 to 1, from one end of a pan to the other.
    shift = 0.0
    if camera.move == "pan left":
        shift = 1 - 2 * share
    elif camera.move == "pan right":
        shift = 2 * share - 1

    # 0 at the near end of a zoom, 1 at its far end.
    exponent = 0.0
    if camera.move == "zoom in":
        exponent = 1 - share
    elif camera.move == "zoom out":
        exponent = share

    return View(
        centre=_PAN * height * shift,
        height=height * _ZOOM**exponent,
        ground=_LOW_GROUND if camera.distance == "closest" else _GROUND,
    )
