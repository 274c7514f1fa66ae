"""Area of a zone in the frame, and who is in it; the settings of other rules refer to it too."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from ...runtime.skeleton import Skeleton
from .geometry import Point, contains, is_outside, is_relative, measure_distance, scale_points
from .person import Person
from .position import make_locator

LOG = logging.getLogger("edgepose")

_MARGIN = 0.05
"""A person leaves when their point is this share of their height outside, because of noise at the border."""

_INSET_PX = 0.5
"""Feet below the frame count as this far above its lower edge, so that a zone that ends there has them inside."""


class Area:
    """Polygon in the frame, and the people in it.

    Attributes:
        name: Name of the zone.
        shape: Corners in pixels of the last frame.
        people: Numbers of the people in the area. A person whose point is hidden stays where they were.
    """

    def __init__(self, name: str, polygon: Sequence[Point], anchor: str, skeleton: Skeleton) -> None:
        """Create an empty area.

        Raises:
            ValueError: There is no such anchor.
        """
        self.name, self._polygon, self._locate = name, tuple(polygon), make_locator(anchor, skeleton)
        self._frame_size = (0, 0)
        self.shape: tuple[Point, ...] = ()
        self._box = (0.0, 0.0, 0.0, 0.0)
        self.people: set[int] = set()

    def update(self, people: Iterable[Person], frame_size: tuple[int, int]) -> None:
        """Find out who is in the area."""
        if frame_size != self._frame_size:
            self._resize(frame_size)
        left, top, right, bottom = self._box
        max_x, max_y = frame_size[0] - _INSET_PX, frame_size[1] - _INSET_PX
        locate, inside, shape = self._locate, self.people, self.shape
        for person in people:
            point = locate(person)
            if point is None:
                continue
            x, y = point
            if not (_INSET_PX <= x <= max_x and _INSET_PX <= y <= max_y):
                x, y = point = min(max(x, _INSET_PX), max_x), min(max(y, _INSET_PX), max_y)
            if left <= x <= right and top <= y <= bottom and contains(shape, point):
                inside.add(person.number)
            elif person.number in inside and not self._is_near(point, _MARGIN * person.height):
                inside.discard(person.number)

    def _is_near(self, point: Point, margin: float) -> bool:
        """Return True if a point is less than `margin` away from the border."""
        left, top, right, bottom = self._box
        x, y = point
        if not (left - margin <= x <= right + margin and top - margin <= y <= bottom + margin):
            return False
        return measure_distance((*self.shape, self.shape[0]), point) < margin

    def _resize(self, frame_size: tuple[int, int]) -> None:
        self._frame_size, self.shape = frame_size, scale_points(self._polygon, frame_size)
        xs, ys = [x for x, _ in self.shape], [y for _, y in self.shape]
        self._box = min(xs), min(ys), max(xs), max(ys)
        warn_if_outside(self.name, "polygon", self._polygon, frame_size)


def warn_if_outside(rule: str, key: str, points: Sequence[Point], frame_size: tuple[int, int]) -> None:
    """Log a warning if points in pixels are not inside the frame."""
    if not is_relative(points) and is_outside(points, frame_size):
        width, height = frame_size
        is_all = all(x > width or y > height for x, y in points)
        LOG.warning(
            "rule %r: %s: %s outside of the frame of %dx%d pixels; use pixels of this frame, or shares from 0 to 1",
            rule, key, "all points are" if is_all else "some points are", width, height,
        )  # fmt: skip
