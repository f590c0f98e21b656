"""Flat, anti-aliased drawing in numpy, true to a fraction of a pixel at any resolution.

A shape is given by its signed distance d(u, v) (world/shapes): the distance to its edge in world
units, negative inside. A pixel's share of the shape, and the pixel's new colour, are

    coverage = clip(½ − s·d, 0, 1)          s: pixels per world unit                             (1)
    picture ← picture + opacity·coverage·(colour − picture)                                      (2)

and only the pixels of the shape's bounding box are computed. An affine map takes world units (u,
v), v upwards, to pixels. It can be moved, turned and scaled, so that a part is drawn in the
coordinates of what it belongs to.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from shotstream_jax.core.typing import Float, UInt8, typechecked
from shotstream_jax.world import shapes
from shotstream_jax.world.shapes import Distance, Plane, Point

Colour = tuple[int, int, int]  # red, green, blue, each 0 to 255
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
        return dataclasses.replace(
            self,
            x_0=self.x_0 + self.x_u * u + self.x_v * v,
            y_0=self.y_0 + self.y_u * u + self.y_v * v,
        )

    def turned(self, angle: float) -> "AffineMap":
        """The map turned about its origin, counter-clockwise, in radians."""
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


class Canvas:
    """A picture [3, y, x] of float32 from 0 to 255, and on demand a matte [y, x].

    The matte says where the shapes are that are being drawn, see `start_matte`.
    `x` [x] and `y` [y, 1] are the positions of the pixels' centres.
    """

    def __init__(self, height: int, width: int):
        self.picture = np.zeros((3, height, width), np.float32)
        self.matte: np.ndarray | None = None
        half = np.float32(0.5)
        self.x = np.arange(width, dtype=np.float32) + half
        self.y = (np.arange(height, dtype=np.float32) + half)[:, None]

    def start_matte(self) -> None:
        """From here on, the matte records the largest coverage that any shape has in each pixel."""
        self.matte = np.zeros(self.picture.shape[1:], np.float32)

    def end_matte(self) -> Float[np.ndarray, "y x"]:
        """The coverage since `start_matte`; recording ends."""
        matte = self.matte
        assert matte is not None, "end_matte without start_matte"
        self.matte = None
        return matte

    @typechecked
    def to_uint8(self) -> UInt8[np.ndarray, "y x 3"]:
        """The picture as it is stored and shown."""
        return np.rint(self.picture).astype(np.uint8).transpose(1, 2, 0)


@dataclasses.dataclass(frozen=True)
class Texture:
    """A second colour inside a shape: where distance(u, v) is negative."""

    colour: Colour
    distance: Distance


@dataclasses.dataclass(frozen=True)
class Pen:
    """Draws on a canvas in the coordinates of an affine map.

    Points and sizes are in world units.
    """

    canvas: Canvas
    to_pixels: AffineMap

    def moved(self, u: float, v: float) -> "Pen":
        """A pen whose origin is at (u, v) of this one."""
        return Pen(self.canvas, self.to_pixels.moved(u, v))

    def turned(self, angle: float) -> "Pen":
        """A pen turned about its origin, counter-clockwise, in radians."""
        return Pen(self.canvas, self.to_pixels.turned(angle))

    def scaled(self, u: float, v: float) -> "Pen":
        """A pen that draws `u` times as wide and `v` times as high."""
        return Pen(self.canvas, self.to_pixels.scaled(u, v))

    def disc(self, u: float, v: float, radius: float, colour: Colour) -> None:
        """A filled circle about (u, v)."""
        self.ellipse(u, v, radius, radius, colour)

    def ellipse(
        self,
        u: float,
        v: float,
        radius_u: float,
        radius_v: float,
        colour: Colour,
        opacity: float = 1.0,
        texture: Texture | None = None,
    ) -> None:
        """A filled ellipse about (u, v)."""
        centre = (u, v)
        if radius_u == radius_v:
            distance = partial(shapes.circle_distance, centre=centre, radius=radius_u)
        else:
            radii = (radius_u, radius_v)
            distance = partial(shapes.ellipse_distance, centre=centre, radii=radii)
        bounds = (u - radius_u, v - radius_v, u + radius_u, v + radius_v)
        self._fill(bounds, distance, colour, opacity, texture)

    def box(
        self,
        u: float,
        v: float,
        half_u: float,
        half_v: float,
        colour: Colour,
        corner: float = 0.0,
        texture: Texture | None = None,
    ) -> None:
        """A filled box about (u, v), 2·half_u wide and 2·half_v high.

        corner: radius of its corners.
        """
        distance = partial(
            shapes.box_distance,
            centre=(u, v),
            half_sides=(half_u, half_v),
            corner=corner,
        )
        bounds = (u - half_u, v - half_v, u + half_u, v + half_v)
        self._fill(bounds, distance, colour, texture=texture)

    def line(
        self,
        start: Point,
        end: Point,
        radius: float,
        colour: Colour,
        end_radius: float | None = None,
        opacity: float = 1.0,
    ) -> None:
        """A line with round ends, 2·radius wide; with `end_radius` it gets wider or narrower."""
        if end_radius is None:
            end_radius = radius
        distance = partial(
            shapes.line_distance,
            start=start,
            end=end,
            start_radius=radius,
            end_radius=end_radius,
        )
        bounds = _bounds_of([start, end], margin=max(radius, end_radius))
        self._fill(bounds, distance, colour, opacity)

    def polygon(
        self,
        points: Sequence[Point],
        colour: Colour,
        corner: float = 0.0,
        texture: Texture | None = None,
    ) -> None:
        """A filled convex polygon, its points counter-clockwise.

        corner: width of a round rim by which it grows.
        """
        distance = partial(shapes.polygon_distance, points=points, corner=corner)
        bounds = _bounds_of(points, margin=corner)
        self._fill(bounds, distance, colour, texture=texture)

    def arc(
        self,
        u: float,
        v: float,
        radius: float,
        half_width: float,
        colour: Colour,
        upper: bool = True,
    ) -> None:
        """The upper (or lower) half of a ring about (u, v), 2·half_width wide."""
        distance = partial(
            shapes.half_ring_distance,
            centre=(u, v),
            radius=radius,
            half_width=half_width,
            upper=upper,
        )
        reach = radius + half_width
        if upper:
            bounds = (u - reach, v, u + reach, v + reach)
        else:
            bounds = (u - reach, v - reach, u + reach, v)
        self._fill(bounds, distance, colour)

    def sky(self, low: float, high: float, bottom: Colour, top: Colour) -> None:
        """Fills the picture with a gradient, from `bottom` at v = low to `top` at v = high."""
        self.canvas.picture[:] = self._gradient(low, high, bottom, top)

    def ground(self, high: float, low: float, top: Colour, bottom: Colour) -> None:
        """The same gradient, but only on what lies below v = high."""
        # The edge lies at a pixel row, as the ground is never turned.
        scale = -self.to_pixels.y_v
        edge = self.to_pixels.y_0 - scale * high
        cover = _coverage(edge - self.canvas.y)  # [y, 1]
        gradient = self._gradient(low, high, bottom, top)
        self.canvas.picture += cover * (gradient - self.canvas.picture)

    def _gradient(self, low: float, high: float, bottom: Colour, top: Colour) -> np.ndarray:
        """Colours from bottom to top, [3, y, 1]."""
        v = (self.canvas.y - self.to_pixels.y_0) / self.to_pixels.y_v
        share = np.clip((v - low) / (high - low), 0, 1)
        return _column(bottom) + share * (_column(top) - _column(bottom))

    def _fill(
        self,
        bounds: Bounds,
        distance: Distance,
        colour: Colour,
        opacity: float = 1.0,
        texture: Texture | None = None,
    ) -> None:
        """(1) and (2) in the pixels that `bounds` touch."""
        pixels = self._pixels(bounds)
        if pixels is None:
            return
        rows, columns = pixels

        # (1): how much of each pixel [y, x] the shape covers.
        u, v = self._world_units(rows, columns)
        scale = self.to_pixels.scale
        cover = _coverage(scale * distance(u, v)) * np.float32(opacity)

        # The colour [3, 1, 1], or with a texture the mixture of two [3, y, x].
        paint = _column(colour)
        if texture is not None:
            inner = _coverage(scale * texture.distance(u, v))
            paint = paint + inner * (_column(texture.colour) - paint)

        # (2), in place.
        region = self.canvas.picture[:, rows, columns]
        region += cover * (paint - region)
        if self.canvas.matte is not None:
            matte = self.canvas.matte[rows, columns]
            np.maximum(matte, cover, out=matte)

    def _pixels(self, bounds: Bounds) -> tuple[slice, slice] | None:
        """Rows and columns that the bounds can touch; None if they lie outside the picture."""
        low_u, low_v, high_u, high_v = bounds
        m = self.to_pixels
        height, width = self.canvas.picture.shape[1:]
        least_x, most_x = _extent(m.x_u, (low_u, high_u), m.x_v, (low_v, high_v))
        least_y, most_y = _extent(m.y_u, (low_u, high_u), m.y_v, (low_v, high_v))

        # A shape's soft edge reaches half a pixel beyond its bounds.
        left = max(math.floor(least_x + m.x_0 - 0.5), 0)
        right = min(math.ceil(most_x + m.x_0 + 0.5), width)
        top = max(math.floor(least_y + m.y_0 - 0.5), 0)
        bottom = min(math.ceil(most_y + m.y_0 + 0.5), height)
        if left >= right or top >= bottom:
            return None
        return slice(top, bottom), slice(left, right)

    def _world_units(self, rows: slice, columns: slice) -> tuple[Plane, Plane]:
        """(u, v) of the pixels' centres; a row [x] and a column [y, 1] if nothing is turned."""
        m = self.to_pixels
        x = self.canvas.x[columns] - m.x_0
        y = self.canvas.y[rows] - m.y_0
        if m.x_v == 0 and m.y_u == 0:
            return x * (1 / m.x_u), y * (1 / m.y_v)
        # The inverse of the map's 2×2 matrix.
        u_x = m.y_v / m.area
        u_y = m.x_v / m.area
        v_x = m.y_u / m.area
        v_y = m.x_u / m.area
        return x * u_x - y * u_y, y * v_y - x * v_x


def darken(colour: Colour, factor: float = 0.72) -> Colour:
    """The colour with each channel multiplied by a factor."""
    red, green, blue = colour
    return round(factor * red), round(factor * green), round(factor * blue)


def _bounds_of(points: Sequence[Point], margin: float) -> Bounds:
    """The smallest box around points, and a margin."""
    us, vs = zip(*points, strict=True)
    return min(us) - margin, min(vs) - margin, max(us) + margin, max(vs) + margin


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


def _coverage(distance: Plane) -> Plane:
    """(1), of a distance in pixels."""
    return np.minimum(np.maximum(0.5 - distance, 0), 1)


@functools.cache
def _column(colour: Colour) -> np.ndarray:
    """The colour as [3, 1, 1], which broadcasts against a picture [3, y, x]."""
    return np.array(colour, np.float32)[:, None, None]
