"""Signed distances to the shapes that a pen can draw.

Each function here gives, for points (u, v), the distance to the edge of a shape, in the units of u
and v, negative inside the shape. u and v are planes that broadcast against each other: a row and a
column, or whole [y, x] grids; the result is [y, x]. With p = (u, v) − centre:

    circle     |p| − radius
    ring       ||p| − radius| − half width
    ellipse    (|q|² − |q|) / |q / r|     q = p / r, r: the two radii                            (1)

where (1) is exact to first order about the edge.
"""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

Point = tuple[float, float]
Plane = np.ndarray  # float32 [y, x], or a row [x] or a column [y, 1] of it
Distance = Callable[[Plane, Plane], Plane]


def circle_distance(u: Plane, v: Plane, centre: Point, radius: float) -> Plane:
    """The distance to a circle."""
    centre_u, centre_v = centre
    # In units of the radius.
    a = (u - centre_u) * (1 / radius)
    b = (v - centre_v) * (1 / radius)
    return (_length(a, b) - 1) * radius


def ellipse_distance(u: Plane, v: Plane, centre: Point, radii: Point) -> Plane:
    """The distance to an ellipse, (1). radii: along u and along v."""
    centre_u, centre_v = centre
    radius_u, radius_v = radii
    # q, squared by component.
    a = (u - centre_u) * (1 / radius_u)
    b = (v - centre_v) * (1 / radius_v)
    a_squared = a * a
    b_squared = b * b
    q_squared = a_squared + b_squared
    # |q / r|², and something small against a division by zero in the centre.
    slope_squared = a_squared * (1 / radius_u**2) + b_squared * (1 / radius_v**2)
    slope = np.sqrt(slope_squared + np.float32(1e-9))
    return (q_squared - np.sqrt(q_squared)) / slope


def box_distance(u: Plane, v: Plane, centre: Point, half_sides: Point, corner: float) -> Plane:
    """The distance to a box. corner: radius of its corners."""
    centre_u, centre_v = centre
    half_u, half_v = half_sides
    # Beyond the sides of an inner box, which is smaller by the corner's radius.
    a = np.abs(u - centre_u) - (half_u - corner)
    b = np.abs(v - centre_v) - (half_v - corner)
    # Inside of it the nearest side counts, outside of it the nearest point.
    inside = np.minimum(np.maximum(a, b), 0)
    outside = _length(np.maximum(a, 0), np.maximum(b, 0))
    return outside + (inside - corner)


def line_distance(
    u: Plane,
    v: Plane,
    start: Point,
    end: Point,
    start_radius: float,
    end_radius: float,
) -> Plane:
    """The distance to a line with round ends, its half width from one radius to the other."""
    start_u, start_v = start
    line_u = end[0] - start_u
    line_v = end[1] - start_v
    length_squared = line_u * line_u + line_v * line_v
    if length_squared == 0:
        length_squared = 1e-9
    a = u - start_u
    b = v - start_v
    # The share of the line, 0 to 1, at which it is nearest to the point.
    share = a * (line_u / length_squared) + b * (line_v / length_squared)
    share = np.clip(share, 0, 1)
    # The distance to that place of the line, and the half width there.
    from_middle = _length(a - share * line_u, b - share * line_v)
    radius = start_radius + (end_radius - start_radius) * share
    return from_middle - radius


def polygon_distance(u: Plane, v: Plane, points: Sequence[Point], corner: float) -> Plane:
    """The distance to a convex polygon grown by `corner`. points: counter-clockwise."""
    next_points = (*points[1:], points[0])
    from_edges = []
    for (start_u, start_v), (end_u, end_v) in zip(points, next_points, strict=True):
        # The edge's normal points outwards.
        length = math.hypot(end_u - start_u, end_v - start_v)
        normal_u = (end_v - start_v) / length
        normal_v = (start_u - end_u) / length
        offset = normal_u * start_u + normal_v * start_v
        from_edges.append(u * normal_u + (v * normal_v - offset))
    # The point is inside if it is inside of all edges.
    farthest = functools.reduce(np.maximum, from_edges)
    return farthest - corner


def half_ring_distance(
    u: Plane,
    v: Plane,
    centre: Point,
    radius: float,
    half_width: float,
    upper: bool,
) -> Plane:
    """The distance to the upper or lower half of a ring, `half_width` to each side of `radius`."""
    centre_u, centre_v = centre
    a = u - centre_u
    b = v - centre_v
    ring = np.abs(_length(a, b) - radius) - half_width
    # The other half is cut off.
    cut = -b if upper else b
    return np.maximum(ring, cut)


def stripes_distance(u: Plane, v: Plane, middle: float, period: float) -> Plane:
    """The distance to level stripes, as wide as their gaps; one lies about v = `middle`."""
    # A stripe lies about each whole period and is half a period high.
    periods = (v - middle) * (1 / period)
    from_stripe = np.abs(periods - np.rint(periods))
    return (from_stripe - 0.25) * period


def dots_distance(u: Plane, v: Plane, middle: float, period: float, radius: float) -> Plane:
    """The distance to a square grid of dots, `period` apart, laid about (0, `middle`)."""
    # From the nearest dot, in periods.
    a = u * (1 / period) + 0.5
    b = (v - middle) * (1 / period) + 0.5
    a = a - np.rint(a)
    b = b - np.rint(b)
    # Back in units.
    return _length(a, b) * period - radius


def _length(a: Plane, b: Plane) -> Plane:
    return np.sqrt(a * a + b * b)
