"""Rule for a zone: enter and leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...runtime.skeleton import COCO18, Skeleton
from .body_anchor import Point
from .event import Event, RuleInfo, RuleState, make_event_id
from .person import Person
from .rule import CommonConfig, Rule


@dataclass(frozen=True, kw_only=True)
class ZoneConfig(CommonConfig):
    """Table `[[events.zone]]`.

    Attributes:
        polygon: Corners, x and y as shares of width and height of the frame (0 to 1), or in pixels.
    """

    polygon: tuple[tuple[float, float], ...]


class ZoneRule(Rule):
    """People in a polygon."""

    kind = "zone"

    def __init__(self, config: ZoneConfig, skeleton: Skeleton = COCO18) -> None:
        super().__init__(config, skeleton)
        self._polygon = config.polygon
        self._shape: tuple[Point, ...] = ()
        self._inside: dict[int, tuple[str, float]] = {}

    @property
    def info(self) -> RuleInfo:
        """What sinks announce about the rule."""
        return RuleInfo(self.config.name, self.kind, ("enter", "leave"), has_duration=True, counts=("people",))

    def update(self, people: Sequence[Person], time_s: float, frame_size: tuple[int, int]) -> list[Event]:
        """Report people who have entered or left."""
        width, height = frame_size
        self._shape = tuple((x * width, y * height) for x, y in self._polygon)
        name, events = self.config.name, []
        for person in people:
            is_inside, number = _contains(self._shape, person.feet), person.number
            if is_inside and number not in self._inside:
                self._inside[number] = make_event_id(), time_s
                identifier = self._inside[number][0]
                events.append(Event("enter", "started", name, "zone", identifier, number, time_s, time_s, zone=name,
                                    count=len(self._inside), pose=person.pose))  # fmt: skip
            elif not is_inside and number in self._inside:
                identifier, started_s = self._inside.pop(number)
                events.append(Event("leave", "ended", name, "zone", identifier, number, time_s, started_s,
                                    time_s - started_s, zone=name, count=len(self._inside),
                                    pose=person.pose))  # fmt: skip
        return events

    def forget(self, person: int, seen_s: float) -> list[Event]:
        """Report a person as gone."""
        if person not in self._inside:
            return []
        (identifier, start_s), name = self._inside.pop(person), self.config.name
        return [Event("leave", "ended", name, "zone", identifier, person, seen_s, start_s, seen_s - start_s, zone=name,
                      count=len(self._inside))]  # fmt: skip

    def rename(self, old: int, new: int) -> None:
        """Give the state of a person to another number."""
        if old in self._inside:
            self._inside[new] = self._inside.pop(old)

    def finish(self, time_s: float) -> list[Event]:
        """Report everybody as gone."""
        return [event for person in list(self._inside) for event in self.forget(person, time_s)]

    def get_state(self) -> RuleState:
        """Return who is in the zone."""
        people = tuple(self._inside)
        return RuleState(self.config.name, "zone", bool(people), people, {"people": len(people)}, shape=self._shape)


def _contains(polygon: Sequence[Point], point: Point) -> bool:
    """Return True if the point is inside the polygon (even-odd rule)."""
    x, y = point
    inside = False
    x0, y0 = polygon[-1]
    for x1, y1 in polygon:
        if (y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
            inside = not inside
        x0, y0 = x1, y1
    return inside
