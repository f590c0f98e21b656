"""The camera of a shot: how far it is, how it moves, and where a frame's pixels lie in the world.

At distance H the picture is H units high (and at least 1.3·H wide), the ground's line at 0.8 of its height. Over a
shot, τ from 0 to 1:

    pan    centre = ±0.2·H·(2τ − 1)                                                                              (1)
    zoom   height = H·1.2^(1 − τ) towards the scene, H·1.2^τ away from it                                        (2)
"""

import dataclasses

from shotstream_jax.world.draw import Frame

DISTANCES = {"near": 2.8, "medium": 3.5, "far": 4.3}
MOVES = ("still", "pan left", "pan right", "zoom in", "zoom out")
_PAN, _ZOOM, _FEET, _ASPECT = 0.2, 1.2, 0.8, 1.3


@dataclasses.dataclass(frozen=True)
class Camera:
    """distance: one of DISTANCES. move: one of MOVES."""

    distance: str
    move: str


@dataclasses.dataclass(frozen=True)
class View:
    """centre: the world's u at the picture's middle. height: units that the picture is high."""

    centre: float
    height: float

    def frame(self, height: int, width: int) -> Frame:
        """World units → pixels of a picture."""
        scale = min(height / self.height, width / (_ASPECT * self.height))
        return Frame(scale, 0.0, 0.0, -scale, width / 2 - scale * self.centre, _FEET * height)


def view_at(camera: Camera, share: float) -> View:
    """(1) and (2) at a share τ of the shot."""
    near = DISTANCES[camera.distance]
    centre = {"pan left": 1 - 2 * share, "pan right": 2 * share - 1}.get(camera.move, 0.0)
    zoom = {"zoom in": 1 - share, "zoom out": share}.get(camera.move, 0.0)
    return View(_PAN * near * centre, near * _ZOOM**zoom)
