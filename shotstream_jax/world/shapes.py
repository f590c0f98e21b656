"""Signed distance functions of the shapes that a pen can draw.

Each function here returns a function d(u, v): the distance from a point to the edge of the shape, in the units of u and
v, negative inside the shape. u and v are planes that broadcast against each other: a row and a column, or whole [y, x]
grids. Points and sizes are in the same units.

With p = (u, v) − centre and a point's distance |p| from the centre:

    circle     |p| − radius
    ellipse    (|q|² − |q|) / |q / r|,  q = p / r, r the two radii: exact to first order about the edge         (1)
    ring       ||p| − radius| − half width
"""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

Point = tuple[float, float]
Plane = np.ndarray  # float32 [y, x], or a row [x] or a column [y, 1] of it
Distance = Callable[[Plane, Plane], Plane]


def circle_distance(centre: Point, radius: float) -> Distance:
    """The distance to a circle."""
    centre_u, centre_v = centre

    def distance(u: Plane, v: Plane) -> Plane:
        a = (u - centre_u) * (1 / radius)
        b = (v - centre_v) * (1 / radius)
        return (np.sqrt(a * a + b * b) - 1) * radius

    return distance


def ellipse_distance(centre: Point, radius_u: float, radius_v: float) -> Distance:
    """(1): the distance to an ellipse with these two radii."""
    centre_u, centre_v = centre
    tiny = np.float32(1e-9)  # no division by zero in the centre

    def distance(u: Plane, v: Plane) -> Plane:
        a = (u - centre_u) * (1 / radius_u)
        b = (v - centre_v) * (1 / radius_v)
        a_squared = a * a
        b_squared = b * b
        q_squared = a_squared + b_squared
        slope_squared = a_squared * (1 / radius_u**2) + b_squared * (1 / radius_v**2)
        return (q_squared - np.sqrt(q_squared)) / np.sqrt(slope_squared + tiny)

    return distance


def box_distance(centre: Point, half_u: float, half_v: float, corner: float) -> Distance:
    """The distance to a box with half sides `half_u` and `half_v`; `corner` is the radius of its corners."""
    centre_u, centre_v = centre

    def distance(u: Plane, v: Plane) -> Plane:
        # Distances to the inner box, which is smaller by the corner's radius.
        a = np.abs(u - centre_u) - (half_u - corner)
        b = np.abs(v - centre_v) - (half_v - corner)
        inside = np.minimum(np.maximum(a, b), 0)
        a_outside = np.maximum(a, 0)
        b_outside = np.maximum(b, 0)
        outside = np.sqrt(a_outside * a_outside + b_outside * b_outside)
        return outside + (inside - corner)

    return distance


def line_distance(start: Point, end: Point, start_radius: float, end_radius: float) -> Distance:
    """The distance to a line with round ends, whose half width goes from `start_radius` to `end_radius`."""
    start_u, start_v = start
    along_u = end[0] - start_u
    along_v = end[1] - start_v
    length_squared = along_u * along_u + along_v * along_v
    if length_squared == 0:
        length_squared = 1e-9

    def distance(u: Plane, v: Plane) -> Plane:
        a = u - start_u
        b = v - start_v
        # The share of the line, 0 to 1, at which it is nearest to the point.
        share = a * (along_u / length_squared) + b * (along_v / length_squared)
        share = np.clip(share, 0, 1)
        a = a - share * along_u
        b = b - share * along_v
        radius = start_radius + (end_radius - start_radius) * share
        return np.sqrt(a * a + b * b) - radius

    return distance


def polygon_distance(points: Sequence[Point], corner: float) -> Distance:
    """The distance to a convex polygon, its corners counter-clockwise, grown by `corner` to all sides."""
    edges = []
    for (u, v), (next_u, next_v) in zip(points, (*points[1:], points[0]), strict=True):
        length = math.hypot(next_u - u, next_v - v)
        normal_u = (next_v - v) / length  # the normal points outwards
        normal_v = (u - next_u) / length
        edges.append((normal_u, normal_v, normal_u * u + normal_v * v))

    def distance(u: Plane, v: Plane) -> Plane:
        from_edges = []
        for normal_u, normal_v, offset in edges:
            from_edges.append(u * normal_u + (v * normal_v - offset))
        return functools.reduce(np.maximum, from_edges) - corner

    return distance


def half_ring_distance(
    centre: Point,
    radius: float,
    half_width: float,
    upper: bool,
) -> Distance:
    """The distance to the upper or the lower half of a ring, `half_width` to each side of `radius`."""
    centre_u, centre_v = centre

    def distance(u: Plane, v: Plane) -> Plane:
        a = u - centre_u
        b = v - centre_v
        ring = np.abs(np.sqrt(a * a + b * b) - radius) - half_width
        other_half = -b if upper else b
        return np.maximum(ring, other_half)

    return distance


def stripes_distance(middle: float, period: float) -> Distance:
    """The distance to level stripes, as wide as the gaps between them; one stripe lies about v = `middle`."""

    def distance(u: Plane, v: Plane) -> Plane:
        periods = (v - middle) * (1 / period)
        from_stripe = np.abs(periods - np.rint(periods))
        return (from_stripe - 0.25) * period

    return distance


def dots_distance(middle: float, period: float, radius: float) -> Distance:
    """The distance to a square grid of dots, `period` apart, laid about (0, `middle`)."""

    def distance(u: Plane, v: Plane) -> Plane:
        a = u * (1 / period) + 0.5
        b = (v - middle) * (1 / period) + 0.5
        a = a - np.rint(a)
        b = b - np.rint(b)
        return np.sqrt(a * a + b * b) * period - radius

    return distance
