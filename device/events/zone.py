"""Rule for a zone: enter and leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .event import Event, RuleInfo, RuleState
from .person import Person, Point
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

    def __init__(self, config: ZoneConfig) -> None:
        super().__init__(config)
        self._polygon = config.polygon
        self._shape: tuple[Point, ...] = ()
        self._inside: dict[int, tuple[str, float]] = {}
        self._serial = 0

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
            left, _, right, bottom = person.box
            is_inside, number = _contains(self._shape, ((left + right) / 2, bottom)), person.number
            if is_inside and number not in self._inside:
                self._serial += 1
                self._inside[number] = f"{name}-{self._serial}", time_s
                identifier = self._inside[number][0]
                events.append(Event("enter", "started", name, "zone", identifier, number, time_s, time_s, zone=name,
                                    count=len(self._inside), pose=person.pose))  # fmt: skip
            elif not is_inside and number in self._inside:
                identifier, started_s = self._inside.pop(number)
                events.append(Event("leave", "ended", name, "zone", identifier, number, time_s, started_s,
                                    time_s - started_s, zone=name, count=len(self._inside),
                                    pose=person.pose))  # fmt: skip
        return events

    def finish(self, time_s: float) -> list[Event]:
        """Report everybody as gone."""
        name = self.config.name
        gone, self._inside = self._inside, {}
        return [
            Event("leave", "ended", name, "zone", identifier, number, time_s, start_s, time_s - start_s, zone=name)
            for number, (identifier, start_s) in gone.items()
        ]

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
