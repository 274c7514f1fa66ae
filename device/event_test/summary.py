"""Summary of the events of a video: frames, people, and per rule the number and duration of its events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...runtime.types import Pose
from ..events.event import Event, RuleKind, RuleState


@dataclass
class _Tally:
    """Events of one rule."""

    kind: RuleKind
    counts: dict[str, int] = field(default_factory=dict)
    """Number of events by name, `ended` not counted."""
    durations_s: dict[str, float] = field(default_factory=dict)
    repetitions: dict[int, int] = field(default_factory=dict)
    """Number of repetitions by person."""
    max_people: int = 0
    names: dict[str, str] = field(default_factory=dict)
    """Name of each event that has started, by its id."""


class Summary:
    """Counts frames, people and events.

    Attributes:
        frames: Number of frames.
        last_s: Time of the last frame in seconds from the first one.
    """

    def __init__(self) -> None:
        self.frames = self._events = 0
        self.last_s = 0.0
        self._people: set[int] = set()
        self._tallies: dict[str, _Tally] = {}
        self._states: dict[str, RuleState] = {}

    def add_frame(self, time_s: float, poses: Sequence[Pose]) -> None:
        """Add a frame at `time_s` seconds from the first one, with its tracked poses."""
        self.frames += 1
        self.last_s = time_s
        self._people.update(pose.person for pose in poses if pose.person)

    def add_events(self, events: Sequence[Event], rules: Sequence[RuleState]) -> None:
        """Add the events of a frame and the states of all rules after it."""
        for state in rules:
            tally = self._tallies.setdefault(state.rule, _Tally(state.kind))
            tally.max_people = max(tally.max_people, state.counts.get("people", 0))
            self._states[state.rule] = state
        for event in events:
            self._events += 1
            _add(self._tallies.setdefault(event.rule, _Tally(event.kind)), event)

    def describe(self) -> list[str]:
        """Return the summary as lines of text."""
        frames, people = _count(self.frames, "frame"), _count(len(self._people), "person", "people")
        lines = [f"{frames}, {self.last_s:.1f} s, {people}, {_count(self._events, 'event')}"]
        name_width = max(map(len, self._tallies), default=0)
        kind_width = max((len(tally.kind) for tally in self._tallies.values()), default=0)
        for name, tally in self._tallies.items():
            lines.append(f"  {name:{name_width}}  {tally.kind:{kind_width}}  {self._describe_rule(name, tally)}")
        return lines

    def _describe_rule(self, name: str, tally: _Tally) -> str:
        if tally.kind == "line" and name in self._states:
            return ", ".join(f"{direction} {count}" for direction, count in self._states[name].counts.items())
        if tally.repetitions:
            people = ", ".join(f"person {person}: {count}" for person, count in sorted(tally.repetitions.items()))
            return f"{_count(sum(tally.repetitions.values()), 'repetition')} ({people})"
        if not tally.counts:
            return "no events"
        parts = [_describe_event(tally, event) for event in tally.counts]
        if tally.kind == "zone":
            parts.append(f"at most {tally.max_people} at once")
        return ", ".join(parts)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _add(tally: _Tally, event: Event) -> None:
    name = (event.label or event.event).replace("_", " ")
    if event.event == "repetition":
        tally.repetitions[event.person] = tally.repetitions.get(event.person, 0) + 1
    if event.state == "ended":
        name = tally.names.pop(event.id, name)
        tally.durations_s[name] = tally.durations_s.get(name, 0.0) + (event.duration_s or 0.0)
        return
    tally.counts[name] = tally.counts.get(name, 0) + 1
    if event.state == "started":
        tally.names[event.id] = name


def _describe_event(tally: _Tally, name: str) -> str:
    count = tally.counts[name]
    duration = f" ({tally.durations_s[name]:.1f} s)" if name in tally.durations_s else ""
    return f"{count} x {name}{duration}"
