"""Drawing of rule states on an image: zones, lines, counts, labels of people, and the events of the last seconds."""

from __future__ import annotations

import math
import unicodedata
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from ...runtime.types import Image, Pose
from ...runtime.visualize.draw import REFERENCE_SIDE_PX, locate_number
from .event import Event, RuleState
from .geometry import Point, contains
from .text import describe_counts, describe_event, describe_person

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SUBPIXEL_BITS = 4
_FILL_OPACITY = 0.28
_PLATE_COLOR = 28, 24, 20
_ALARM_COLOR = 32, 32, 208
_COLORS = (
    (233, 180, 86), (0, 159, 230), (125, 200, 50), (66, 228, 240), (190, 130, 225), (50, 110, 240), (240, 220, 90),
    (120, 160, 255),
)  # fmt: skip
"""BGR colors of the rules, in order; people with a color vision deficiency can tell neighbors apart."""
_KEEP_EVENTS_S = 3.0
_MAX_BANNER_LINES = 4
_MAX_TEXT_LENGTH = 60

Color = tuple[int, int, int]


class RecentEvents:
    """The events of the last three seconds, for `draw_rules`. It is used by one thread."""

    def __init__(self, keep_s: float = _KEEP_EVENTS_S) -> None:
        """Begin without events; `keep_s` is the time for which an event is kept, in seconds."""
        self._keep_s = keep_s
        self._kept: deque[tuple[float, Event]] = deque(maxlen=_MAX_BANNER_LINES)

    def update(self, events: Iterable[Event], time_s: float) -> tuple[Event, ...]:
        """Add the events of a frame and return the last ones, at most four, oldest first.

        Args:
            events: New events.
            time_s: Time of the frame in seconds, on any clock. If it goes back, the older events are removed.
        """
        if self._kept and time_s < self._kept[-1][0]:
            self._kept.clear()
        while self._kept and time_s - self._kept[0][0] > self._keep_s:
            self._kept.popleft()
        self._kept.extend((time_s, event) for event in events)
        return tuple(event for _, event in self._kept)


def draw_rules(
    image: Image, rules: Sequence[RuleState], poses: Sequence[Pose] = (), events: Sequence[Event] = ()
) -> Image:
    """Draw zones and lines with their counts, what rules say about people, and recent events.

    A zone is filled while the rule is active. An arrow shows the direction `in` of a line. Text is written on dark
    plates, which do not cover each other or the numbers of people if there is space elsewhere. Sizes scale with the
    image.

    Args:
        image: (H, W, 3) uint8 BGR, with or without skeletons; it is not changed.
        rules: States of the rules, with shapes in pixels of the image.
        poses: Tracked poses, in pixels of the image; their labels are drawn beside them.
        events: Events that are listed at the bottom, oldest first; see `RecentEvents`.

    Returns:
        A copy of the image with the drawings.
    """
    canvas = image.copy()
    plates = _Plates(canvas)
    found = [pose for pose in poses if (pose.keypoints[:, 2] > 0).any()]
    for pose in found:
        if pose.person:
            plates.reserve(_Rectangle(*locate_number(pose, canvas.shape)))
    for state, color in zip(rules, _iterate_colors(), strict=False):
        if len(state.shape) > 1:
            _draw_shape(canvas, state, color, plates.thickness)
    for state, color in zip(rules, _iterate_colors(), strict=False):
        if state.kind == "zone" and len(state.shape) > 2:
            plates.add([_make_title(state)], color, _list_zone_places(state.shape, plates), inside=state.shape)
        elif len(state.shape) > 1:
            plates.add([_make_title(state)], color, _list_line_places(state.shape, plates))
    _draw_banner(plates, events)
    for pose in found:
        _draw_labels(plates, pose, rules)
    return canvas


def find_in_arrow(shape: Sequence[Point]) -> tuple[Point, Point]:
    """Return where the arrow `in` of a line begins, and its direction as a unit vector.

    The arrow is in the middle of the longest piece and points to the right of its direction. Seen in the image, a line
    from the left to the right has `in` at the bottom.
    """
    (x0, y0), (x1, y1) = max(pairwise(shape), key=lambda piece: math.dist(*piece))
    length = max(1e-6, math.hypot(x1 - x0, y1 - y0))
    return ((x0 + x1) / 2, (y0 + y1) / 2), ((y0 - y1) / length, (x1 - x0) / length)


def get_rule_color(index: int) -> Color:
    """Return the BGR color of the rule at a position in the list of rules."""
    return _COLORS[index % len(_COLORS)]


class _Rectangle(NamedTuple):
    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: _Rectangle) -> bool:
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


class _Plates:
    """Texts on dark plates on one image, placed so that they do not cover each other."""

    def __init__(self, canvas: Image) -> None:
        self._canvas = canvas
        self.height, self.width = canvas.shape[:2]
        size = max(canvas.shape[:2]) / REFERENCE_SIDE_PX
        self._scale = max(0.34, 0.42 * size)
        self._stroke = max(1, round(1.1 * size))
        self.thickness = max(1, round(2 * size))
        (_, self._text_height), self._descent = cv2.getTextSize("Mg", _FONT, self._scale, self._stroke)
        self._padding = max(3, round(4 * size))
        self._taken: list[_Rectangle] = []

    def reserve(self, place: _Rectangle) -> None:
        """Keep plates away from a place."""
        self._taken.append(place)

    def measure(self, lines: Sequence[str]) -> tuple[int, int]:
        """Return width and height of a plate in pixels."""
        width = max(cv2.getTextSize(line, _FONT, self._scale, self._stroke)[0][0] for line in lines)
        bar = self.thickness + self._padding
        return width + bar + 2 * self._padding, len(lines) * self._line_height + self._padding

    @property
    def _line_height(self) -> int:
        return int(self._text_height + self._descent + self._padding // 2)

    def add(
        self,
        lines: Sequence[str],
        color: Color,
        places: Sequence[tuple[float, float, float, float]],
        *,
        inside: Sequence[Point] = (),
        background: Color = _PLATE_COLOR,
    ) -> None:
        """Draw lines of text on a plate.

        Args:
            lines: The text, ASCII.
            color: BGR color of the bar at the left.
            places: Possible places in the order of preference: a point of the image, and the point of the plate that
                lies on it, as shares of its size.
            inside: Polygon in which the center of the plate should be.
            background: BGR color of the plate.
        """
        width, height = self.measure(lines)
        best, least = _Rectangle(0, 0, width, height), float("inf")
        for x, y, share_x, share_y in places:
            left = min(max(0.0, x - share_x * width), max(0.0, self.width - width))
            top = min(max(0.0, y - share_y * height), max(0.0, self.height - height))
            place = _Rectangle(left, top, width, height)
            cost = 10.0 * sum(place.overlaps(other) for other in self._taken)
            if inside and not contains(inside, (left + width / 2, top + height / 2)):
                cost += 5
            if cost < least:
                best, least = place, cost
        self._taken.append(best)
        self._draw(best, lines, color, background)

    def _draw(self, place: _Rectangle, lines: Sequence[str], color: Color, background: Color) -> None:
        x, y = round(place.x), round(place.y)
        right, bottom = x + round(place.width) - 1, y + round(place.height) - 1
        cv2.rectangle(self._canvas, (x, y), (right, bottom), background, -1)
        bar = self.thickness + self._padding // 2
        cv2.rectangle(self._canvas, (x, y), (x + bar - 1, bottom), color, -1)
        for number, line in enumerate(lines):
            base = y + self._padding // 2 + number * self._line_height + self._text_height + self._padding // 4
            cv2.putText(
                self._canvas, line, (x + bar + self._padding, base), _FONT, self._scale, (255, 255, 255), self._stroke,
                cv2.LINE_AA,
            )  # fmt: skip


def _iterate_colors() -> Iterable[Color]:
    index = 0
    while True:
        yield get_rule_color(index)
        index += 1


def _draw_shape(canvas: Image, state: RuleState, color: Color, thickness: int) -> None:
    """Draw the polygon of a zone, or the pieces of a line with an arrow in the direction `in`."""
    points = _to_fixed_points(state.shape)
    is_zone = state.kind == "zone"
    if is_zone and state.active:
        _fill(canvas, state.shape, color)
    width = thickness + (thickness + 1) // 2 if state.active or not is_zone else thickness
    outline = thickness + 1
    for drawn, drawn_width in (((0, 0, 0), width + outline), (color, width)):
        cv2.polylines(canvas, [points], is_zone, drawn, drawn_width, cv2.LINE_AA, _SUBPIXEL_BITS)
        if not is_zone:
            _draw_arrow(canvas, state.shape, drawn, drawn_width, thickness)


def _draw_arrow(canvas: Image, shape: Sequence[Point], color: Color, width: int, thickness: int) -> None:
    (x, y), (dx, dy) = find_in_arrow(shape)
    longest = max(math.dist(*piece) for piece in pairwise(shape))
    length = min(14.0 * thickness, max(6.0 * thickness, longest / 3))
    tip, wing = (x + dx * length, y + dy * length), 0.35 * length
    back = tip[0] - dx * wing, tip[1] - dy * wing
    left, right = (back[0] - dy * wing, back[1] + dx * wing), (back[0] + dy * wing, back[1] - dx * wing)
    for path in (((x, y), tip), (left, tip, right)):
        cv2.polylines(canvas, [_to_fixed_points(path)], False, color, width, cv2.LINE_AA, _SUBPIXEL_BITS)
    # The ends of the line.
    for end in _to_fixed_points((shape[0], shape[-1])).reshape(-1, 2).tolist():
        cv2.circle(canvas, tuple(end), int((width + 1) * 2**_SUBPIXEL_BITS), color, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _fill(canvas: Image, shape: Sequence[Point], color: Color) -> None:
    """Fill a polygon translucently; only the rectangle around it is copied."""
    corners = np.clip(np.asarray(shape, np.float64), -1e4, 1e5)
    height, width = canvas.shape[:2]
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, (width, height)).astype(int).tolist()
    right, bottom = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, (width, height)).astype(int).tolist()
    if left >= right or top >= bottom:
        return
    part = canvas[top:bottom, left:right]
    filled = part.copy()
    moved = [(x - left, y - top) for x, y in shape]
    cv2.fillPoly(filled, [_to_fixed_points(moved)], color, cv2.LINE_AA, _SUBPIXEL_BITS)
    part[:] = cv2.addWeighted(filled, _FILL_OPACITY, part, 1 - _FILL_OPACITY, 0)


def _list_zone_places(shape: Sequence[Point], plates: _Plates) -> list[tuple[float, float, float, float]]:
    """List places for the title of a zone: inside it, at the corners of the part that is in the image."""
    xs, ys = [point[0] for point in shape], [point[1] for point in shape]
    gap = 2 * plates.thickness
    left, right = max(0, min(xs)) + gap, min(plates.width, max(xs)) - gap
    top, bottom = max(0, min(ys)) + gap, min(plates.height, max(ys)) - gap
    x, y = (left + right) / 2, (top + bottom) / 2
    center = sum(xs) / len(xs), sum(ys) / len(ys)
    return [
        (left, top, 0, 0), (x, top, 0.5, 0), (right, top, 1, 0), (*center, 0.5, 0.5), (x, y, 0.5, 0.5),
        (left, bottom, 0, 1), (right, bottom, 1, 1), (x, bottom, 0.5, 1),
    ]  # fmt: skip


def _list_line_places(shape: Sequence[Point], plates: _Plates) -> list[tuple[float, float, float, float]]:
    """List places for the title of a line: opposite to its arrow, then at its ends."""
    middle, (dx, dy) = find_in_arrow(shape)
    gap = 4 * plates.thickness
    points = (middle, shape[0], shape[-1])
    beside = [(x - dx * gap, y - dy * gap, 0.5 + dx / 2, 0.5 + dy / 2) for x, y in points]
    return [*beside, (*shape[0], 0, 1), (*shape[-1], 1, 0)]


def _draw_banner(plates: _Plates, events: Sequence[Event]) -> None:
    """List events at the lower left corner, the newest at the bottom."""
    if not events:
        return
    lines = [_make_banner_line(event) for event in events[-_MAX_BANNER_LINES:]]
    has_alarm = any(event.kind == "fall" and event.state == "started" for event in events)
    gap = 2 * plates.thickness
    place = (gap, plates.height - gap, 0.0, 1.0)
    plates.add(lines, (255, 255, 255), [place], background=_ALARM_COLOR if has_alarm else _PLATE_COLOR)


def _make_banner_line(event: Event) -> str:
    text = describe_event(event)
    # A rule with the name of its event would only repeat it.
    named = text if event.rule.replace("_", " ") == event.event.replace("_", " ") else f"{event.rule}: {text}"
    return _to_ascii(named)


def _draw_labels(plates: _Plates, pose: Pose, rules: Sequence[RuleState]) -> None:
    """Write what rules say about a person beside the person."""
    found = [
        (text, color, state.kind == "fall")
        for state, color in zip(rules, _iterate_colors(), strict=False)
        if pose.person and (text := describe_person(state, pose.person))
    ]
    if not found:
        return
    box = pose.bbox
    gap = 3 * plates.thickness
    right, left, bottom = box.x + box.width + gap, box.x - gap, box.y + box.height + gap
    middle_x, middle_y = box.x + box.width / 2, box.y + box.height / 2
    places = [
        (right, box.y, 0.0, 0.0), (left, box.y, 1.0, 0.0), (right, middle_y, 0.0, 0.5), (left, middle_y, 1.0, 0.5),
        (middle_x, bottom, 0.5, 0.0), (middle_x, box.y + box.height, 0.5, 1.0), (middle_x, middle_y, 0.5, 0.5),
    ]  # fmt: skip
    # If somebody has fallen, this matters more than the order of the rules.
    found.sort(key=lambda one: not one[2])
    lines = list(dict.fromkeys(_to_ascii(text) for text, _, _ in found))
    plates.add(lines, found[0][1], places, background=_ALARM_COLOR if found[0][2] else _PLATE_COLOR)


def _make_title(state: RuleState) -> str:
    return _to_ascii(f"{state.rule}  {describe_counts(state)}".rstrip())


def _to_ascii(text: str) -> str:
    """Return the text with the characters that OpenCV can draw: `Küche` becomes `Kuche`, others become `?`."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    shown = "".join(char if " " <= char <= "~" else "?" for char in plain)
    return shown if len(shown) <= _MAX_TEXT_LENGTH else shown[: _MAX_TEXT_LENGTH - 3] + "..."


def _to_fixed_points(points: Sequence[Point]) -> np.typing.NDArray[np.int32]:
    """Convert points to OpenCV's fixed-point numbers. The center of its first pixel is (0, 0), of ours (0.5, 0.5)."""
    values = (np.clip(np.asarray(points, np.float64), -1e4, 1e5) - 0.5) * 2**_SUBPIXEL_BITS
    return np.asarray(np.round(values).astype(np.int32).reshape(-1, 1, 2))
