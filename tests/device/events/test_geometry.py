"""Geometry of zones and lines."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgepose.device.events.geometry import (
    check_crossings,
    check_points,
    check_polygon,
    compute_side,
    contains,
    count_crossings,
    intersects,
    measure_area,
    measure_distance,
    scale_points,
)

Point = tuple[float, float]
whole_points = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda point: (float(point[0]), float(point[1])))
points = st.tuples(st.floats(0, 640, width=32), st.floats(0, 480, width=32))


@given(st.lists(whole_points, min_size=3, max_size=8), points)
def test_a_point_is_inside_as_opencv_says(polygon: list[Point], point: Point) -> None:
    try:
        check_polygon("polygon", polygon)
    except ValueError:
        assume(False)
    contour = np.array(polygon, np.float32).reshape(-1, 1, 2)
    signed = cv2.pointPolygonTest(contour, point, measureDist=True)
    assume(abs(signed) > 1e-3)
    assert contains(polygon, point) == (signed > 0)
    assert measure_distance([*polygon, polygon[0]], point) == pytest.approx(abs(signed), abs=1e-3)
    assert measure_area(polygon) == pytest.approx(cv2.contourArea(contour), abs=1e-2)


@given(whole_points, whole_points, st.lists(whole_points, min_size=2, max_size=12))
def test_crossings_of_a_long_line_are_changes_of_the_side(a: Point, b: Point, way: list[Point]) -> None:
    assume(a != b)
    ax, ay, dx, dy = a[0], a[1], b[0] - a[0], b[1] - a[1]
    line = [(ax - 100 * dx, ay - 100 * dy), (ax + 100 * dx, ay + 100 * dy)]
    net = sum(count_crossings(line, start, end) for start, end in pairwise(way))
    before, after = (compute_side(line[0], line[1], point) >= 0 for point in (way[0], way[-1]))
    assert net == int(after) - int(before)


@given(st.lists(whole_points, min_size=3, max_size=7), st.lists(points, min_size=2, max_size=6))
def test_a_way_crosses_the_border_when_it_enters_or_leaves(polygon: list[Point], way: list[Point]) -> None:
    try:
        check_polygon("polygon", polygon)
    except ValueError:
        assume(False)
    border = [*polygon, polygon[0]]
    assume(all(measure_distance(border, point) > 1e-3 for point in way))
    net = sum(count_crossings(border, start, end) for start, end in pairwise(way))
    doubled = sum(compute_side((0.0, 0.0), a, b) for a, b in pairwise(border))
    inward = 1 if doubled > 0 else -1  # clockwise in the image: the inside is to the right
    assert net * inward == int(contains(polygon, way[-1])) - int(contains(polygon, way[0]))


@given(whole_points, whole_points, whole_points, whole_points)
def test_intersections_do_not_depend_on_the_order(a: Point, b: Point, c: Point, d: Point) -> None:
    found = {intersects(*order) for order in ((a, b, c, d), (b, a, c, d), (a, b, d, c), (c, d, a, b))}
    assert len(found) == 1


@pytest.mark.parametrize(
    "corners, words",
    [
        ([(0, 0), (1, 1)], "polygon: expected 3 to 100 corners, got 2"),
        ([(0, 0), (1, 0), (0.5, 0)], "the edge from corner 1 to 2 crosses the edge from corner 2 to 3"),
        ([(0, 0), (0.5, 0), (1, 0)], "crosses"),
        ([(0, 0), (1, 1), (1, 0), (0, 1)], "edge from corner 1 to 2 crosses the edge from corner 3 to 4"),
        (
            [(0, 0), (1, 0), (1, 1), (0.5, -0.0), (0, 1)],
            "the edge from corner 1 to 2 crosses the edge from corner 3 to 4",
        ),
        ([(0, 0), (0, 0), (1, 1)], "corners 1 and 2 are equal"),
        ([(0, 0), (320, 0), (0.5, 0.5)], "got both: 0.5 and 320"),
        ([(0, 0), (1, 0), (-0.1, 1)], "polygon[2]: expected x and y inside the frame"),
        ([(0, 0), (1, 0), (float("nan"), 1)], "polygon[2]: expected x and y inside the frame"),
        ([(0, 0), (1, 0), (float("inf"), 1)], "polygon[2]"),
        ([(0, 0), (70000, 0), (0, 9)], "polygon[1]"),
        ([(0, 0)] * 101, "got 101"),
    ],
)
def test_polygons_that_are_not_valid(corners: list[Point], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_polygon("polygon", corners)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "path", [[(0, 0), (9, 9), (9, 0), (0, 9)], [(0, 0), (9, 0), (3, 0)], [(0, 0), (5, 5), (9, 0), (5, 5)]]
)
def test_lines_that_cross_themselves(path: list[Point]) -> None:
    with pytest.raises(ValueError, match=r"points: the piece from point (1 to 2|2 to 3)"):
        check_crossings("points", path, "point", "piece")


def test_shares_and_pixels() -> None:
    check_points("points", [(0, 0), (1, 1)], 2, "point")
    check_points("points", [(0, 0), (1, 479)], 2, "point")
    assert scale_points([(0, 0.5), (1, 1)], (640, 480)) == ((0, 240), (640, 480))
    assert scale_points([(0, 100), (639, 1)], (640, 480)) == ((0, 100), (639, 1))
