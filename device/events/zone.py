"""Rule for a zone: enter and leave, dwell, number of people, capacity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated

from ...runtime.schema import Limits
from ...runtime.skeleton import COCO18, Skeleton
from .area import Area
from .condition import ConditionConfig, ConditionRule, PersonState
from .event import Event, EventName, RuleInfo, RuleState, make_event_id
from .geometry import Point, check_polygon
from .person import Person
from .rule import Duration


@dataclass(frozen=True, kw_only=True)
class ZoneConfig(ConditionConfig):
    """Table `[[events.zone]]`.

    Attributes:
        polygon: Corners, x and y as shares of width and height of the frame if no value is above 1, else in pixels.
        anchor: Point of a person that must be inside: `feet`, `center`, or a keypoint.
        enter_leave: Report `enter` and `leave`.
        dwell_s: Report `dwell` for people who stay longer than this; None: not reported.
        capacity: Report `capacity` while more people than this are inside; None: not reported.
    """

    polygon: tuple[tuple[float, float], ...]
    anchor: str = "feet"
    enter_leave: bool = True
    dwell_s: Duration | None = None
    capacity: Annotated[int, Limits(0, 1000)] | None = None
    for_s: Duration = 0.2
    release_s: Duration = 0.5

    @property
    def corners(self) -> tuple[Point, ...]:
        """The corners, without a last one that repeats the first."""
        is_closed = len(self.polygon) > 3 and self.polygon[0] == self.polygon[-1]
        return self.polygon[:-1] if is_closed else self.polygon

    def check(self) -> None:
        """Raise ValueError if a value is out of range; the message begins with the key."""
        super().check()
        check_polygon("polygon", self.corners)


@dataclass(slots=True, eq=False)
class _Dwell:
    """Stay of a person that is longer than `dwell_s`; `id` is empty if the cool-down hides it."""

    id: str
    started_s: float


class ZoneRule(ConditionRule):
    """People in a polygon."""

    kind = "zone"
    event = "enter"

    def __init__(self, config: ZoneConfig, skeleton: Skeleton = COCO18, area: Area | None = None) -> None:
        """Create a rule.

        Args:
            config: Keys of the rule, checked.
            skeleton: Skeleton of the poses.
            area: Area of the zone, which the caller updates before the rule; None: the rule has its own.

        Raises:
            ValueError: The skeleton does not have the anchor.
        """
        super().__init__(config, skeleton)
        self._enter_leave, self._dwell_s, self._capacity = config.enter_leave, config.dwell_s, config.capacity
        self._has_own_area = area is None
        self._area = area or Area(config.name, config.corners, config.anchor, skeleton)
        # The cool-down hides events, but people are still counted.
        self._hide_s, self._cooldown_s = config.cooldown_s, 0.0
        self._hidden: set[int] = set()
        self._left_s: dict[int, float] = {}
        self._dwells: dict[int, _Dwell] = {}
        self._dwelt_s: dict[int, float] = {}
        self._full: tuple[str, float] | None = None
        self._full_s = -inf
        self._count = 0

    @property
    def info(self) -> RuleInfo:
        """What sinks announce about the rule."""
        events: tuple[EventName, ...] = (
            *(("enter", "leave") if self._enter_leave else ()),
            *(("dwell",) if self._dwell_s is not None else ()),
            *(("capacity",) if self._capacity is not None else ()),
        )
        return RuleInfo(self.config.name, self.kind, events, has_duration=True, counts=("people",))

    def evaluate(self, person: Person, is_active: bool) -> bool | None:
        """Return True if the person is in the area."""
        return person.number in self._area.people

    def classify(self, person: Person, current: str) -> str:
        """Return `_HOLDS` if the person is in the area; the same as `evaluate`, without a call."""
        return self._HOLDS if person.number in self._area.people else ""

    def update(self, people: Sequence[Person], time_s: float, frame_size: tuple[int, int]) -> list[Event]:
        """Report who has entered, left or stayed for long, and if there are too many."""
        if self._has_own_area:
            self._area.update(people, frame_size)
        events = super().update(people, time_s, frame_size)
        if self._dwell_s is not None:
            events += self._find_dwells(people, time_s, self._dwell_s)
        return self._finish_events(events, time_s)

    def forget(self, person: int, seen_s: float) -> list[Event]:
        """End the stay of a person who is gone."""
        events = self._finish_events(super().forget(person, seen_s), seen_s)
        self._hidden.discard(person)
        self._left_s.pop(person, None)
        self._dwelt_s.pop(person, None)
        return events

    def rename(self, old: int, new: int) -> None:
        """Give the state of a person to another number."""
        super().rename(old, new)
        if self._has_own_area and old in self._area.people:
            self._area.people.discard(old)
            self._area.people.add(new)
        if old in self._hidden:
            self._hidden.discard(old)
            self._hidden.add(new)
        if old in self._dwells:
            self._dwells[new] = self._dwells.pop(old)
        for times in (self._left_s, self._dwelt_s):
            if old in times:
                times[new] = times.pop(old)

    def get_state(self) -> RuleState:
        """Return who is in the zone."""
        if self._state is None or self._state.shape is not self._area.shape:
            people = tuple(number for number, state in self._states.items() if state.label)
            self._state = RuleState(
                self.config.name, "zone", bool(people), people, {"people": len(people)}, shape=self._area.shape
            )
        return self._state

    def _start(self, state: PersonState, time_s: float, person: Person) -> Event:
        event = super()._start(state, time_s, person)
        self._count += 1
        number = person.number
        if time_s - self._left_s.get(number, -inf) < self._hide_s:
            self._hidden.add(number)
        return self._make(event, "enter")

    def _end(self, number: int, state: PersonState, time_s: float, person: Person | None) -> Event:
        event = super()._end(number, state, time_s, person)
        self._count -= 1
        return self._make(event, "leave")

    def _make(self, event: Event, name: EventName) -> Event:
        return Event(
            name, event.state, event.rule, event.kind, event.id, event.person, event.time_s, event.started_s,
            event.duration_s, zone=self.config.name, count=self._count, pose=event.pose,
        )  # fmt: skip

    def _find_dwells(self, people: Sequence[Person], time_s: float, dwell_s: float) -> list[Event]:
        """Report people who have been inside for long enough."""
        events = []
        for person in people:
            number = person.number
            state = self._states.get(number)
            if state is None or not state.label or state.off_s is not None or number in self._dwells:
                continue
            if time_s - state.started_s < dwell_s:
                continue
            is_hidden = time_s - self._dwelt_s.get(number, -inf) < self._hide_s
            dwell = self._dwells[number] = _Dwell("" if is_hidden else make_event_id(), state.started_s)
            if not is_hidden:
                events.append(
                    Event(
                        "dwell",
                        "started",
                        self.config.name,
                        "zone",
                        dwell.id,
                        number,
                        time_s,
                        state.started_s,
                        zone=self.config.name,
                        count=self._count,
                        pose=person.pose,
                    )
                )
        return events

    def _finish_events(self, events: list[Event], time_s: float) -> list[Event]:
        """Add what follows from who has entered and left, and remove what the settings exclude."""
        kept: list[Event] = []
        for event in events:
            number = event.person
            if event.event == "leave":
                if dwell := self._dwells.pop(number, None):
                    kept += self._end_dwell(dwell, event, time_s)
                is_hidden = number in self._hidden
                self._hidden.discard(number)
                if not is_hidden:
                    self._left_s[number] = time_s
            else:
                is_hidden = event.event == "enter" and number in self._hidden
            if event.event == "dwell" or (self._enter_leave and not is_hidden):
                kept.append(event)
        if self._capacity is not None:
            kept += self._check_capacity(self._capacity, time_s)
        return kept

    def _end_dwell(self, dwell: _Dwell, leave: Event, time_s: float) -> list[Event]:
        if not dwell.id:
            return []
        self._dwelt_s[leave.person] = time_s
        return [
            Event(
                "dwell",
                "ended",
                leave.rule,
                "zone",
                dwell.id,
                leave.person,
                leave.time_s,
                dwell.started_s,
                leave.time_s - dwell.started_s,
                zone=leave.zone,
                count=leave.count,
                pose=leave.pose,
            )
        ]

    def _check_capacity(self, capacity: int, time_s: float) -> list[Event]:
        """Report that there are too many people, or no longer."""
        name, is_full = self.config.name, self._count > capacity
        if is_full and self._full is None and time_s - self._full_s >= self._hide_s:
            self._full = make_event_id(), time_s
            return [Event("capacity", "started", name, "zone", self._full[0], 0, time_s, time_s, zone=name,
                          count=self._count)]  # fmt: skip
        if not is_full and self._full is not None:
            (identifier, started_s), self._full, self._full_s = self._full, None, time_s
            ended_s = max(time_s, started_s)  # a person who is gone was last seen earlier
            return [Event("capacity", "ended", name, "zone", identifier, 0, ended_s, started_s, ended_s - started_s,
                          zone=name, count=self._count)]  # fmt: skip
        return []
