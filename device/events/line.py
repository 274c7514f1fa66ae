"""Rule for a line: crossings in both directions, counted.

The way of each person is followed from frame to frame. A crossing counts when the person is clear of the line, so that
somebody who wavers on it, or keypoints that tremble, count nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import dist, hypot, inf
from typing import Literal

from ...runtime.skeleton import COCO18, Skeleton
from .area import warn_if_outside
from .event import Event, RuleInfo, RuleState, make_event_id
from .geometry import Point, check_crossings, check_points, count_crossings, measure_distance, scale_points
from .person import Person
from .position import make_locator
from .rule import CommonConfig, Rule, Share

_NEAR_SHARE = 0.3
"""A person whose way begins or ends nearer to the line than this share of the margin is on neither side."""
_MAX_SPEED = 8.0
"""Heights per second, more than any runner: a larger step is an exchange of two people, and no way."""
_EDGE_SHARE = 0.01
"""A line that ends nearer to an edge of the frame than this share of its size goes on outside."""
_MAX_STEP = 0.5
"""Heights that a point may jump in addition, because of noise."""


@dataclass(frozen=True, kw_only=True)
class LineConfig(CommonConfig):
    """Table `[[events.line]]`.

    Attributes:
        points: Two or more points, x and y as shares of width and height of the frame if no value is above 1, else in
            pixels. Looking from the first point to the last, a crossing from left to right is `in`.
        anchor: Point of a person that must cross: `feet`, `center`, or a keypoint.
        swap: Exchange `in` and `out`.
        margin: Distance from the line at which a crossing counts, as a share of the height of the person.
    """

    points: tuple[tuple[float, float], ...]
    anchor: str = "feet"
    swap: bool = False
    margin: Share = 0.1

    def check(self) -> None:
        """Raise ValueError if a value is out of range; the message begins with the key."""
        super().check()
        check_points("points", self.points, 2, "point")
        check_crossings("points", self.points, "point", "piece")


@dataclass(slots=True, eq=False)
class _Way:
    """Way of one person since they were last clear of the line.

    Attributes:
        point: Last point.
        time_s: Time of the last point.
        net: Crossings from left to right, less those from right to left.
        crossed_s: Time of the last crossing.
        height: Height of the person at the last point.
        distance: Distance of the last point from the line.
        event_s: Time of the last event.
        is_known: False if the way began on the line: then the side is not known yet.
    """

    point: Point
    time_s: float
    net: int = 0
    crossed_s: float = 0.0
    height: float = 0.0
    distance: float = 0.0
    event_s: float = -inf
    is_known: bool = False


class LineRule(Rule):
    """People who cross a line."""

    kind = "line"

    def __init__(self, config: LineConfig, skeleton: Skeleton = COCO18) -> None:
        super().__init__(config, skeleton)
        self._points, self._margin, self._cooldown_s = config.points, config.margin, config.cooldown_s
        self._locate = make_locator(config.anchor, skeleton)
        self._in_sign = -1 if config.swap else 1
        self._frame_size = (0, 0)
        self._shape: tuple[Point, ...] = ()
        self._path: tuple[Point, ...] = ()
        """The line, longer than its shape if that ends at an edge of the frame."""
        self._box = (0.0, 0.0, 0.0, 0.0)
        self._ways: dict[int, _Way] = {}
        self._counts = {"in": 0, "out": 0}
        self._state: RuleState | None = None
        """The state since the last change; None: it has changed."""

    @property
    def info(self) -> RuleInfo:
        """What sinks announce about the rule."""
        return RuleInfo(self.config.name, self.kind, ("cross",), has_duration=False, counts=("in", "out"))

    def update(self, people: Sequence[Person], time_s: float, frame_size: tuple[int, int]) -> list[Event]:
        """Report who has crossed the line."""
        if frame_size != self._frame_size:
            self._resize(frame_size)
        events = []
        for person in people:
            point = self._locate(person)
            if point is None:
                continue
            way = self._follow(person, point, time_s)
            margin = self._margin * way.height
            if not way.is_known:
                way.is_known = way.distance >= _NEAR_SHARE * margin
                way.net = 0
            if way.net and way.distance >= margin:
                events += self._count(person.number, way, time_s, person)
        return events

    def forget(self, person: int, seen_s: float) -> list[Event]:
        """Count a person who is gone, for example through a door, if they were on the other side of the line."""
        way = self._ways.pop(person, None)
        if way is None or not way.net or way.distance < _NEAR_SHARE * self._margin * way.height:
            return []
        return self._count(person, way, seen_s, None)

    def rename(self, old: int, new: int) -> None:
        """Give the way of a person to another number."""
        if old in self._ways:
            self._ways[new] = self._ways.pop(old)

    def finish(self, time_s: float) -> list[Event]:
        """Count people who are on the other side of the line, and forget all people."""
        return [event for person in list(self._ways) for event in self.forget(person, time_s)]

    def get_state(self) -> RuleState:
        """Return the counts."""
        if self._state is None:
            shape = self._shape[:: self._in_sign]  # reversed by `swap`: `in` is from left to right along the shape
            self._state = RuleState(self.config.name, "line", active=False, counts=dict(self._counts), shape=shape)
        return self._state

    def _follow(self, person: Person, point: Point, time_s: float) -> _Way:
        """Extend the way of a person to a point."""
        way = self._ways.get(person.number)
        height = person.height
        if way is None:
            way = self._ways[person.number] = _Way(point, time_s)
        else:
            step = dist(way.point, point)
            if step > height * (_MAX_STEP + _MAX_SPEED * (time_s - way.time_s)):
                way.net, way.is_known = 0, False
            elif step >= way.distance and (crossings := count_crossings(self._path, way.point, point)):
                way.net += crossings
                way.crossed_s = (way.time_s + time_s) / 2
        way.point, way.time_s, way.height = point, time_s, height
        way.distance = self._measure_distance(point, self._margin * height)
        return way

    def _measure_distance(self, point: Point, limit: float) -> float:
        """Return the distance of a point from the line, or a smaller one if it is larger than `limit`."""
        left, top, right, bottom = self._box
        x, y = point
        beside = max(left - x, x - right, top - y, y - bottom)
        return beside if beside > limit else measure_distance(self._path, point)

    def _count(self, number: int, way: _Way, time_s: float, person: Person | None) -> list[Event]:
        """Count a crossing. During the cool-down of the person it is not reported."""
        direction: Literal["in", "out"] = "in" if way.net * self._in_sign > 0 else "out"
        way.net = 0
        self._counts[direction] += 1
        self._state = None
        if time_s - way.event_s < self._cooldown_s:
            return []
        way.event_s = time_s
        return [
            Event(
                "cross",
                "once",
                self.config.name,
                "line",
                make_event_id(),
                number,
                way.crossed_s,
                way.crossed_s,
                direction=direction,
                count=self._counts[direction],
                pose=None if person is None else person.pose,
            )
        ]

    def _resize(self, frame_size: tuple[int, int]) -> None:
        self._frame_size, self._shape = frame_size, scale_points(self._points, frame_size)
        self._state = None
        self._path = _extend(self._shape, frame_size)
        xs, ys = [x for x, _ in self._path], [y for _, y in self._path]
        self._box = min(xs), min(ys), max(xs), max(ys)
        for way in self._ways.values():
            way.net, way.distance, way.is_known = 0, 0.0, False
        warn_if_outside(self.config.name, "points", self._points, frame_size)


def _extend(points: Sequence[Point], frame_size: tuple[int, int]) -> tuple[Point, ...]:
    """Return a line with both ends beyond the frame if they are at its edge: feet of close people are often outside."""
    first = _extend_end(points[1], points[0], frame_size)
    last = _extend_end(points[-2], points[-1], frame_size)
    return first, *points[1:-1], last


def _extend_end(before: Point, end: Point, frame_size: tuple[int, int]) -> Point:
    x, y = end[0] - before[0], end[1] - before[1]
    length = hypot(x, y)
    is_outwards = any(
        (step < 0 and value <= _EDGE_SHARE * size) or (step > 0 and value >= (1 - _EDGE_SHARE) * size)
        for step, value, size in zip((x, y), end, frame_size, strict=True)
    )
    if not is_outwards or not length:
        return end
    share = max(frame_size) / length
    return end[0] + share * x, end[1] + share * y
