"""The map from world units to the pixels of a picture."""

import dataclasses
import functools
import math

from shotstream_jax.world.shapes import Plane

Bounds = tuple[float, float, float, float]  # (lowest u, lowest v, highest u, highest v)


@dataclasses.dataclass(frozen=True)
class AffineMap:
    """World units (u, v), v upwards, to pixels (x, y), y downwards:

    x = x_u·u + x_v·v + x_0,   y = y_u·u + y_v·v + y_0
    """

    x_u: float
    y_u: float
    x_v: float
    y_v: float
    x_0: float
    y_0: float

    def moved(self, u: float, v: float) -> "AffineMap":
        """The map whose origin is at (u, v) of this one."""
        # The new origin is where (u, v) lies now.
        return dataclasses.replace(
            self,
            x_0=self.x_0 + self.x_u * u + self.x_v * v,
            y_0=self.y_0 + self.y_u * u + self.y_v * v,
        )

    def turned(self, angle: float) -> "AffineMap":
        """The map turned about its origin, counter-clockwise, in radians."""
        # The product with a rotation matrix.
        cos = math.cos(angle)
        sin = math.sin(angle)
        return AffineMap(
            x_u=cos * self.x_u + sin * self.x_v,
            y_u=cos * self.y_u + sin * self.y_v,
            x_v=cos * self.x_v - sin * self.x_u,
            y_v=cos * self.y_v - sin * self.y_u,
            x_0=self.x_0,
            y_0=self.y_0,
        )

    def scaled(self, u: float, v: float) -> "AffineMap":
        """The map in which a unit is `u` times as wide and `v` times as high."""
        return AffineMap(
            x_u=self.x_u * u,
            y_u=self.y_u * u,
            x_v=self.x_v * v,
            y_v=self.y_v * v,
            x_0=self.x_0,
            y_0=self.y_0,
        )

    @functools.cached_property
    def area(self) -> float:
        """The determinant: pixels per square unit, negative if the map mirrors."""
        return self.x_u * self.y_v - self.x_v * self.y_u

    @functools.cached_property
    def scale(self) -> float:
        """Pixels per world unit, s in (1)."""
        return math.sqrt(abs(self.area))

    def pixel_bounds(self, bounds: Bounds) -> Bounds:
        """The smallest box of pixels, (least x, least y, most x, most y), around a box of units."""
        low_u, low_v, high_u, high_v = bounds
        range_u = (low_u, high_u)
        range_v = (low_v, high_v)
        least_x, most_x = _extent(self.x_u, range_u, self.x_v, range_v)
        least_y, most_y = _extent(self.y_u, range_u, self.y_v, range_v)
        return (
            least_x + self.x_0,
            least_y + self.y_0,
            most_x + self.x_0,
            most_y + self.y_0,
        )

    def inverse(self, x: Plane, y: Plane) -> tuple[Plane, Plane]:
        """(u, v) of pixels, from a row x [x] and a column y [y, 1].

        Both results are [y, x]; if the map does not turn, a row [x] and a column [y, 1].
        """
        # From the map's origin.
        x = x - self.x_0
        y = y - self.y_0
        # Without a rotation u depends on x alone and v on y alone, which is faster.
        if self.x_v == 0 and self.y_u == 0:
            u = x * (1 / self.x_u)
            v = y * (1 / self.y_v)
            return u, v
        # The inverse of the map's 2×2 matrix.
        area = self.area
        u = x * (self.y_v / area) - y * (self.x_v / area)
        v = y * (self.x_u / area) - x * (self.y_u / area)
        return u, v


def _extent(
    factor_u: float,
    range_u: tuple[float, float],
    factor_v: float,
    range_v: tuple[float, float],
) -> tuple[float, float]:
    """The least and the largest value of factor_u·u + factor_v·v, with u and v in their ranges."""
    # Each term is smallest at one end of its range and largest at the other.
    least_u, most_u = sorted(factor_u * u for u in range_u)
    least_v, most_v = sorted(factor_v * v for v in range_v)
    return least_u + least_v, most_u + most_v
