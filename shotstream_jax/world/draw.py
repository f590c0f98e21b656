"""Flat, anti-aliased drawing in numpy: shapes as signed distances, true to a fraction of a pixel, at any resolution.

A shape is a function d(u, v), the distance to its edge in the units of its own frame, negative inside. What a pixel
gets of it is

    coverage = clip(½ − s·d, 0, 1)      s: pixels a unit                                                          (1)
    picture ← picture + opacity·coverage·(colour − picture)                                                       (2)

and only the pixels of its bounding box are looked at. A frame maps (u, v), v upwards, to pixels; frames are moved,
turned and scaled, so that a part is drawn in its owner's coordinates.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from shotstream_jax.core.typing import Float, UInt8, typechecked

Colour = tuple[int, int, int]
Point = tuple[float, float]
Plane = np.ndarray  # [y, x], or a row or a column of it
Distance = Callable[[Plane, Plane], Plane]


@dataclasses.dataclass(frozen=True)
class Frame:
    """x = xu·u + xv·v + x0, y = yu·u + yv·v + y0, in pixels, y downwards."""

    xu: float
    yu: float
    xv: float
    yv: float
    x0: float
    y0: float

    def moved(self, u: float, v: float) -> "Frame":
        return dataclasses.replace(
            self, x0=self.x0 + self.xu * u + self.xv * v, y0=self.y0 + self.yu * u + self.yv * v
        )

    def turned(self, angle: float) -> "Frame":
        """Counter-clockwise, in radians."""
        c, s = math.cos(angle), math.sin(angle)
        return Frame(
            c * self.xu + s * self.xv,
            c * self.yu + s * self.yv,
            c * self.xv - s * self.xu,
            c * self.yv - s * self.yu,
            self.x0,
            self.y0,
        )

    def scaled(self, u: float, v: float) -> "Frame":
        return Frame(self.xu * u, self.yu * u, self.xv * v, self.yv * v, self.x0, self.y0)

    @functools.cached_property
    def area(self) -> float:
        """Pixels a square unit, with the sign of the map."""
        return self.xu * self.yv - self.xv * self.yu

    @functools.cached_property
    def scale(self) -> float:
        """Pixels a unit."""
        return math.sqrt(abs(self.area))


class Canvas:
    """A picture [3, y, x] of floats from 0 to 255, and the matte [y, x] of what is being drawn, if that is wanted."""

    def __init__(self, height: int, width: int):
        self.picture = np.zeros((3, height, width), np.float32)
        self.matte: np.ndarray | None = None
        self.x = np.arange(width, dtype=np.float32) + np.float32(0.5)
        self.y = (np.arange(height, dtype=np.float32) + np.float32(0.5))[:, None]

    def start_matte(self) -> None:
        """From here on the matte is the largest coverage that any shape had in a pixel."""
        self.matte = np.zeros(self.picture.shape[1:], np.float32)

    def end_matte(self) -> Float[np.ndarray, "y x"]:
        matte, self.matte = self.matte, None
        return matte

    @typechecked
    def to_uint8(self) -> UInt8[np.ndarray, "y x 3"]:
        return np.rint(self.picture).astype(np.uint8).transpose(1, 2, 0)


@dataclasses.dataclass(frozen=True)
class Texture:
    """A second colour inside a shape: where distance(u, v) is negative."""

    colour: Colour
    distance: Distance


@dataclasses.dataclass(frozen=True)
class Pen:
    """Draws on a canvas in the coordinates of a frame."""

    canvas: Canvas
    frame: Frame

    def moved(self, u: float, v: float) -> "Pen":
        return Pen(self.canvas, self.frame.moved(u, v))

    def turned(self, angle: float) -> "Pen":
        return Pen(self.canvas, self.frame.turned(angle))

    def scaled(self, u: float, v: float) -> "Pen":
        return Pen(self.canvas, self.frame.scaled(u, v))

    def ellipse(self, u: float, v: float, ru: float, rv: float, colour: Colour, **how) -> None:
        """An ellipse about (u, v)."""

        def distance(x: Plane, y: Plane) -> Plane:
            a, b = (x - u) * (1 / ru), (y - v) * (1 / rv)
            if ru == rv:
                return (np.sqrt(a * a + b * b) - 1) * ru
            a, b = a * a, b * b  # to first order about the edge: (|p/r|² − |p/r|) / |p/r²|
            k = a + b
            return (k - np.sqrt(k)) / np.sqrt(a * (1 / ru**2) + b * (1 / rv**2) + np.float32(1e-9))

        self._fill((u - ru, v - rv, u + ru, v + rv), distance, colour, **how)

    def disc(self, u: float, v: float, r: float, colour: Colour, **how) -> None:
        self.ellipse(u, v, r, r, colour, **how)

    def box(
        self, u: float, v: float, hu: float, hv: float, colour: Colour, corner: float = 0.0, **how
    ) -> None:
        """A box of half sides hu, hv about (u, v), its corners rounded."""

        def distance(x: Plane, y: Plane) -> Plane:
            a, b = np.abs(x - u) - (hu - corner), np.abs(y - v) - (hv - corner)
            inside = np.minimum(np.maximum(a, b), 0)
            a, b = np.maximum(a, 0), np.maximum(b, 0)
            return np.sqrt(a * a + b * b) + (inside - corner)

        self._fill((u - hu, v - hv, u + hu, v + hv), distance, colour, **how)

    def line(
        self, start: Point, end: Point, r: float, colour: Colour, end_r: float | None = None, **how
    ) -> None:
        """A line with round ends, 2·r wide; it may get wider or narrower towards its end."""
        (u, v), (du, dv), to = (
            start,
            (end[0] - start[0], end[1] - start[1]),
            r if end_r is None else end_r,
        )
        squared = du * du + dv * dv or 1e-9

        def distance(x: Plane, y: Plane) -> Plane:
            a, b = x - u, y - v
            along = np.clip(a * (du / squared) + b * (dv / squared), 0, 1)
            a, b = a - along * du, b - along * dv
            return np.sqrt(a * a + b * b) - (r + (to - r) * along)

        most = max(r, to)
        box = (
            min(u, end[0]) - most,
            min(v, end[1]) - most,
            max(u, end[0]) + most,
            max(v, end[1]) + most,
        )
        self._fill(box, distance, colour, **how)

    def polygon(self, points: Sequence[Point], colour: Colour, corner: float = 0.0, **how) -> None:
        """A convex polygon, counter-clockwise, grown by a rounded rim."""
        edges = []
        for (u, v), (u1, v1) in zip(points, (*points[1:], points[0]), strict=True):
            length = math.hypot(u1 - u, v1 - v)
            nu, nv = (v1 - v) / length, (u - u1) / length  # outwards
            edges.append((nu, nv, nu * u + nv * v))

        def distance(x: Plane, y: Plane) -> Plane:
            d = functools.reduce(
                np.maximum, (x * nu + (y * nv - offset) for nu, nv, offset in edges)
            )
            return d - corner

        us, vs = zip(*points, strict=True)
        box = (min(us) - corner, min(vs) - corner, max(us) + corner, max(vs) + corner)
        self._fill(box, distance, colour, **how)

    def arc(
        self, u: float, v: float, radius: float, r: float, colour: Colour, up: bool = True, **how
    ) -> None:
        """The upper (or lower) half of a ring about (u, v), 2·r wide."""

        def distance(x: Plane, y: Plane) -> Plane:
            a, b = x - u, y - v
            ring = np.abs(np.sqrt(a * a + b * b) - radius) - r
            return np.maximum(ring, -b if up else b)

        low, high = (0.0, radius + r) if up else (-radius - r, 0.0)
        self._fill((u - radius - r, v + low, u + radius + r, v + high), distance, colour, **how)

    def sky(self, low: float, high: float, bottom: Colour, top: Colour) -> None:
        """The whole picture: `bottom` below v = low, `top` above v = high, in between from one to the other."""
        self.canvas.picture[:] = self._gradient(low, high, bottom, top)

    def ground(self, high: float, low: float, top: Colour, bottom: Colour) -> None:
        """The same, but only what lies below v = high."""
        scale = -self.frame.yv
        edge = self.frame.y0 - scale * high
        cover = _cover(edge - self.canvas.y)
        self.canvas.picture += cover * (
            self._gradient(low, high, bottom, top) - self.canvas.picture
        )

    def _gradient(self, low: float, high: float, bottom: Colour, top: Colour) -> np.ndarray:
        v = (self.canvas.y - self.frame.y0) / self.frame.yv
        share = np.clip((v - low) / (high - low), 0, 1)
        return _column(bottom) + share * (_column(top) - _column(bottom))

    def _fill(
        self,
        box: tuple[float, float, float, float],
        distance: Distance,
        colour: Colour,
        opacity: float = 1.0,
        texture: Texture | None = None,
    ) -> None:
        """(1) and (2) in the box (u0, v0, u1, v1)."""
        pixels = self._pixels(*box)
        if pixels is None:
            return
        rows, columns = pixels
        u, v = self._local(rows, columns)
        scale = self.frame.scale
        cover = _cover(scale * distance(u, v)) * np.float32(opacity)
        paint = _column(colour)
        if texture is not None:
            inner = _cover(scale * texture.distance(u, v))
            paint = paint + inner * (_column(texture.colour) - paint)
        part = self.canvas.picture[:, rows, columns]
        part += cover * (paint - part)
        if self.canvas.matte is not None:
            matte = self.canvas.matte[rows, columns]
            np.maximum(matte, cover, out=matte)

    def _pixels(self, u0: float, v0: float, u1: float, v1: float) -> tuple[slice, slice] | None:
        """Rows and columns that a box can touch; None if it lies outside the picture."""
        f = self.frame
        (xa, xb), (xc, xd) = sorted((f.xu * u0, f.xu * u1)), sorted((f.xv * v0, f.xv * v1))
        (ya, yb), (yc, yd) = sorted((f.yu * u0, f.yu * u1)), sorted((f.yv * v0, f.yv * v1))
        height, width = self.canvas.picture.shape[1:]
        left, right = (
            max(math.floor(xa + xc + f.x0 - 0.5), 0),
            min(math.ceil(xb + xd + f.x0 + 0.5), width),
        )
        top, bottom = (
            max(math.floor(ya + yc + f.y0 - 0.5), 0),
            min(math.ceil(yb + yd + f.y0 + 0.5), height),
        )
        return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None

    def _local(self, rows: slice, columns: slice) -> tuple[Plane, Plane]:
        """(u, v) of the pixels' centres; a row and a column where the frame is not turned."""
        f, x, y = (
            self.frame,
            self.canvas.x[columns] - self.frame.x0,
            self.canvas.y[rows] - self.frame.y0,
        )
        if f.xv == 0 and f.yu == 0:
            return x * (1 / f.xu), y * (1 / f.yv)
        return x * (f.yv / f.area) - y * (f.xv / f.area), y * (f.xu / f.area) - x * (f.yu / f.area)


def _cover(distance: Plane) -> Plane:
    """(1), of a distance in pixels."""
    return np.minimum(np.maximum(0.5 - distance, 0), 1)


@functools.cache
def _column(colour: Colour) -> np.ndarray:
    """[3, 1, 1], to stand against a picture."""
    return np.array(colour, np.float32)[:, None, None]
