"""Polygons and lines: coordinates of the configuration, validity, and what lies where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import acos, degrees, hypot, inf, isfinite

Point = tuple[float, float]

MAX_CORNERS = 100
MAX_PX = 65536.0
_MIN_AREA = 1e-6
"""Smallest area of a polygon, as a share of that of its box."""


def check_points(key: str, points: Sequence[Point], minimum: int, kind: str) -> None:
    """Raise ValueError, with the key, if points are not valid: shares of the frame from 0 to 1, or pixels.

    Args:
        key: Name of the key.
        points: Corners or points, not closed.
        minimum: Smallest number of points.
        kind: What a point is called, such as "corner".
    """
    if not minimum <= len(points) <= MAX_CORNERS:
        raise ValueError(f"{key}: expected {minimum} to {MAX_CORNERS} {kind}s, got {len(points)}")
    for number, point in enumerate(points):
        for value in point:
            if not (isfinite(value) and 0 <= value <= MAX_PX):
                raise ValueError(
                    f"{key}[{number}]: expected x and y inside the frame: shares from 0 to 1, or pixels from 0 to "
                    f"{MAX_PX:g}, got {point[0]:g}, {point[1]:g}"
                )
    values = [value for point in points for value in point]
    fraction = next((value for value in values if 0 < value < 1), None)
    if fraction is not None and max(values) > 1:
        raise ValueError(
            f"{key}: expected either shares of the frame (all values from 0 to 1) or pixels, "
            f"got both: {fraction:g} and {max(values):g}"
        )
    for number, (a, b) in enumerate(pairwise(points)):
        if a == b:
            raise ValueError(f"{key}: {kind}s {number + 1} and {number + 2} are equal")


def check_polygon(key: str, corners: Sequence[Point]) -> None:
    """Raise ValueError, with the key, if corners are not valid, an edge crosses another one, or the area is 0."""
    check_points(key, corners, 3, "corner")
    check_crossings(key, [*corners, corners[0]], "corner", "edge")
    width = max(x for x, _ in corners) - min(x for x, _ in corners)
    height = max(y for _, y in corners) - min(y for _, y in corners)
    if measure_area(corners) <= _MIN_AREA * width * height:
        raise ValueError(f"{key}: expected an area, got corners on one line")


def check_crossings(key: str, path: Sequence[Point], kind: str, edge: str) -> None:
    """Raise ValueError, with the key, if two pieces of a path cross or touch each other; neighbors share a point.

    A path that ends where it begins is closed.
    """
    is_closed = path[0] == path[-1]
    count = len(path) - 1
    for first in range(count):
        for second in range(first + 1, count):
            a, b, c, d = path[first], path[first + 1], path[second], path[second + 1]
            if second == first + 1:
                crosses = _is_reversed(a, b, d)
            elif is_closed and first == 0 and second == count - 1:
                crosses = _is_reversed(c, d, b)
            else:
                crosses = intersects(a, b, c, d)
            if crosses:
                last = 1 if is_closed and second == count - 1 else second + 2
                raise ValueError(
                    f"{key}: the {edge} from {kind} {first + 1} to {first + 2} crosses the {edge} from {kind} "
                    f"{second + 1} to {last}; put the {kind}s in order"
                )


def is_relative(points: Sequence[Point]) -> bool:
    """Return True if points are shares of the frame: no value is above 1."""
    return all(value <= 1 for point in points for value in point)


def scale_points(points: Sequence[Point], frame_size: tuple[int, int]) -> tuple[Point, ...]:
    """Return points in pixels of a frame."""
    if not is_relative(points):
        return tuple(points)
    width, height = frame_size
    return tuple((x * width, y * height) for x, y in points)


def is_outside(points: Sequence[Point], frame_size: tuple[int, int]) -> bool:
    """Return True if a point in pixels is outside the frame."""
    width, height = frame_size
    return any(x > width or y > height for x, y in points)


def contains(polygon: Sequence[Point], point: Point) -> bool:
    """Return True if the point is inside the polygon (even-odd rule)."""
    x, y = point
    inside = False
    x0, y0 = polygon[-1]
    for x1, y1 in polygon:
        if (y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
            inside = not inside
        x0, y0 = x1, y1
    return inside


def measure_distance(path: Sequence[Point], point: Point) -> float:
    """Return the distance of a point from a path."""
    return min(_measure_segment_distance(a, b, point) for a, b in pairwise(path))


def measure_area(polygon: Sequence[Point]) -> float:
    """Return the area of a polygon."""
    doubled = sum(ax * by - bx * ay for (ax, ay), (bx, by) in _list_edges(polygon))
    return abs(doubled) / 2


def intersects(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Return True if the segments a-b and c-d cross or touch."""
    side_c, side_d = compute_side(a, b, c), compute_side(a, b, d)
    side_a, side_b = compute_side(c, d, a), compute_side(c, d, b)
    if ((side_c > 0) != (side_d > 0)) and side_c and side_d and ((side_a > 0) != (side_b > 0)) and side_a and side_b:
        return True
    return any(
        side == 0 and _is_in_box(p, q, r)
        for side, p, q, r in ((side_c, a, b, c), (side_d, a, b, d), (side_a, c, d, a), (side_b, c, d, b))
    )


def compute_side(a: Point, b: Point, point: Point) -> float:
    """Return a number above 0 if a point is to the right of the line from a to b, with y pointing down; 0 on it."""
    return (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])


def count_crossings(path: Sequence[Point], start: Point, end: Point) -> int:
    """Return how often a step crosses a path from left to right, less how often from right to left.

    A point on the path counts as right of it, so that two steps which meet there cross it once.
    """
    total = 0
    for a, b in pairwise(path):
        before, after = compute_side(a, b, start) >= 0, compute_side(a, b, end) >= 0
        if before != after and (compute_side(start, end, a) >= 0) != (compute_side(start, end, b) >= 0):
            total += 1 if after else -1
    return total


def _measure_segment_distance(a: Point, b: Point, point: Point) -> float:
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = dx * dx + dy * dy
    share = 0.0 if not length else ((point[0] - a[0]) * dx + (point[1] - a[1]) * dy) / length
    share = min(max(share, 0.0), 1.0)
    return hypot(point[0] - a[0] - share * dx, point[1] - a[1] - share * dy)


def _list_edges(polygon: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    return zip(polygon, [*polygon[1:], polygon[0]], strict=True)


def _is_reversed(a: Point, middle: Point, b: Point) -> bool:
    """Return True if the way from a to the middle goes back on itself to b."""
    ax, ay, bx, by = middle[0] - a[0], middle[1] - a[1], b[0] - middle[0], b[1] - middle[1]
    return ax * by - ay * bx == 0 and ax * bx + ay * by < 0


def _is_in_box(a: Point, b: Point, point: Point) -> bool:
    x, y = point
    return min(a[0], b[0]) <= x <= max(a[0], b[0]) and min(a[1], b[1]) <= y <= max(a[1], b[1])


def compute_angle(a: Point, vertex: Point, b: Point) -> float | None:
    """Compute the angle at a vertex in degrees, 0 to 180; None if two points coincide."""
    ax, ay, bx, by = a[0] - vertex[0], a[1] - vertex[1], b[0] - vertex[0], b[1] - vertex[1]
    length = hypot(ax, ay) * hypot(bx, by)
    if not 0 < length < inf:
        return None
    cosine = (ax * bx + ay * by) / length
    return degrees(acos(1.0 if cosine > 1.0 else -1.0 if cosine < -1.0 else cosine))
