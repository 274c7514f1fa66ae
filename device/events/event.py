"""What rules report: events, and the current state of a rule for overlays and sensors."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...runtime.types import Pose

RuleKind = Literal["zone", "line", "posture", "fall", "gesture", "angle", "repetitions", "expression"]
EventName = Literal[
    "enter", "leave", "dwell", "capacity", "cross", "posture", "fall", "hand_raised", "arms_crossed", "angle",
    "repetition", "expression",
]  # fmt: skip
EventState = Literal["started", "ended", "once"]
"""`started` and `ended` come in pairs with the same id; `once` is an event without a duration."""

_PROCESS = secrets.token_hex(4)
_serials = itertools.count(1)


def make_event_id() -> str:
    """Return a new identifier, unique in this process and, with its random part, across restarts."""
    return f"{_PROCESS}-{next(_serials)}"


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """Something that a rule has noticed.

    Attributes:
        event: What happened.
        state: If it began, ended, or has no duration.
        rule: Name of the rule.
        kind: Kind of the rule.
        id: Identifier; the same for `started` and `ended`, unique in this process and across restarts.
        person: Number of the person from tracking; 0 if the event is about no single person (`capacity`).
        time_s: When it happened, in seconds on the clock of the source. For `ended` the time at which it ended, which
            can be earlier than the frame that reports it.
        started_s: When it began, on the same clock. It can be earlier than `time_s` of `started`, because a rule with
            `for_s` or `dwell_s` reports late.
        duration_s: Seconds from beginning to end; None unless `ended`.
        zone: Name of the zone in which it happened; "" outside of all zones.
        direction: `in` or `out` for `cross`, else "".
        label: What the rule found, for example the posture `lying`; "" if the event says it all.
        count: Number that the rule counts, after this event: people in the zone, crossings in this direction,
            repetitions of this person; None if it counts nothing.
        value: Measured value, for example the angle in degrees; None if there is none.
        pose: Pose of the person in this frame, in pixels; None if the person is not in the frame.
        reported_s: Time of the frame that reports the event, on the same clock; None: `time_s`.
        clip: Name of the video that shows it, in the folder of the clips; "" if there is none.
        snapshot: Name of the image that shows it, in the same folder; "" if there is none.
    """

    event: EventName
    state: EventState
    rule: str
    kind: RuleKind
    id: str
    person: int
    time_s: float
    started_s: float
    duration_s: float | None = None
    zone: str = ""
    direction: Literal["", "in", "out"] = ""
    label: str = ""
    count: int | None = None
    value: float | None = None
    pose: Pose | None = None
    reported_s: float | None = None
    clip: str = ""
    snapshot: str = ""


@dataclass(frozen=True, slots=True)
class RuleState:
    """State of a rule after a frame, for overlays, sensors and the web page.

    Attributes:
        rule: Name of the rule.
        kind: Kind of the rule.
        active: True if the rule holds for at least one person now, for example if somebody is in the zone.
        people: Numbers of the people that it holds for now.
        counts: What the rule counts, for example `{"in": 3, "out": 1}` or `{"people": 2}`.
        labels: Text for a person, for example `{3: "lying"}` or `{3: "12"}` repetitions.
        shape: Polygon of a zone, or the points of a line, in pixels of the frame; () for other rules. Looking from the
            first point of a line to the last, `in` is from left to right.
    """

    rule: str
    kind: RuleKind
    active: bool
    people: tuple[int, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[int, str] = field(default_factory=dict)
    shape: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """What sinks announce about a rule before its first event (Home Assistant).

    Attributes:
        name: Name of the rule.
        kind: Kind of the rule.
        events: Events that it can report.
        has_duration: True if its events are `started` and `ended`, so that the rule has a state; False if it counts.
        counts: Keys of `RuleState.counts`.
    """

    name: str
    kind: RuleKind
    events: tuple[EventName, ...]
    has_duration: bool
    counts: tuple[str, ...] = ()
