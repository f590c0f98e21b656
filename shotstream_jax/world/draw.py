"""Flat, anti-aliased drawing in numpy, true to a fraction of a pixel at any resolution.

A shape is given by its signed distance d(u, v) (world/shapes): the distance to its edge in world
units, negative inside. A pixel's share of the shape, and the pixel's new colour, are

    coverage = clip(½ − s·d, 0, 1)          s: pixels per world unit                             (1)
    picture ← picture + opacity·coverage·(colour − picture)                                      (2)

and only the pixels of the shape's bounding box are computed. A pen draws in the coordinates of an
affine map (world/affine), which can be moved, turned and scaled, so that a part is drawn in the
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
from shotstream_jax.world.affine import AffineMap, Bounds
from shotstream_jax.world.shapes import Distance, Plane, Point

Colour = tuple[int, int, int]  # red, green, blue, each 0 to 255


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
        # The distance to a circle is exact and faster.
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
        widest = max(radius, end_radius)
        bounds = _bounds_of([start, end], margin=widest)
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
        # [3, y, 1], the same in all columns.
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
        # Height of each pixel row, and its share of the way from bottom to top, [y, 1].
        v = (self.canvas.y - self.to_pixels.y_0) / self.to_pixels.y_v
        share = np.clip((v - low) / (high - low), 0, 1)
        bottom_column = _column(bottom)
        difference = _column(top) - bottom_column
        return bottom_column + share * difference

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
        u, v = self.to_pixels.inverse(self.canvas.x[columns], self.canvas.y[rows])
        scale = self.to_pixels.scale
        cover = _coverage(scale * distance(u, v))
        weight = cover * np.float32(opacity)

        # The colour [3, 1, 1], or with a texture the mixture of two [3, y, x].
        paint = _column(colour)
        if texture is not None:
            inner = _coverage(scale * texture.distance(u, v))
            other_paint = _column(texture.colour)
            paint = paint + inner * (other_paint - paint)

        # (2), in place: the region [3, y, x] is a view of the picture.
        region = self.canvas.picture[:, rows, columns]
        region += weight * (paint - region)

        # What is drawn, for whoever asked for it.
        if self.canvas.matte is not None:
            matte = self.canvas.matte[rows, columns]
            np.maximum(matte, weight, out=matte)

    def _pixels(self, bounds: Bounds) -> tuple[slice, slice] | None:
        """Rows and columns that the bounds can touch; None if they lie outside the picture."""
        height, width = self.canvas.picture.shape[1:]
        least_x, least_y, most_x, most_y = self.to_pixels.pixel_bounds(bounds)

        # A shape's soft edge reaches half a pixel beyond its bounds.
        left = math.floor(least_x - 0.5)
        right = math.ceil(most_x + 0.5)
        top = math.floor(least_y - 0.5)
        bottom = math.ceil(most_y + 0.5)

        # Not beyond the picture.
        left = max(left, 0)
        right = min(right, width)
        top = max(top, 0)
        bottom = min(bottom, height)
        if left >= right or top >= bottom:
            return None
        return slice(top, bottom), slice(left, right)


def darken(colour: Colour, factor: float = 0.72) -> Colour:
    """The colour with each channel multiplied by a factor."""
    red, green, blue = colour
    return (
        round(factor * red),
        round(factor * green),
        round(factor * blue),
    )


def _bounds_of(points: Sequence[Point], margin: float) -> Bounds:
    """The smallest box around points, and a margin."""
    us, vs = zip(*points, strict=True)
    return (
        min(us) - margin,
        min(vs) - margin,
        max(us) + margin,
        max(vs) + margin,
    )


def _coverage(distance: Plane) -> Plane:
    """(1), of a distance in pixels."""
    return np.minimum(np.maximum(0.5 - distance, 0), 1)


@functools.cache
def _column(colour: Colour) -> np.ndarray:
    """The colour as [3, 1, 1], which broadcasts against a picture [3, y, x]."""
    return np.array(colour, np.float32)[:, None, None]
