"""Type of the JSON document of an event. docs/reference/message.md and its JSON Schema are made from it."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from ...runtime.io.documents import Count, PoseDocument, Time
from ...runtime.schema import Limits
from .event import EventName, EventState, RuleKind


class OptionalEntries(TypedDict, total=False):
    """Entries that not every event has; `EventDocument` describes them."""

    person: Annotated[int, Limits(1)]
    zone: str
    direction: Literal["in", "out"]
    label: str
    count: Count
    value: float


class DurationEntries(TypedDict, total=False):
    """Entries of an event that has ended; `EventDocument` describes them."""

    ended: Time | None
    duration_s: Annotated[float, Limits(0, unit="s")]


class PoseEntries(TypedDict, total=False):
    """Entries that show an event; `EventDocument` describes them."""

    pose: PoseDocument
    clip: str
    snapshot: str


class EventDocument(TypedDict):
    """An event that a rule reports. An entry that does not apply to an event is absent.

    Attributes:
        version: Version of this schema, the same as that of a frame.
        event: What happened. Only events have this key.
        state: `started` and `ended` come in pairs with the same `id`; `once` is an event without a duration.
        type: Event and state in one word, for automations.
        rule: Name of the rule.
        kind: Kind of the rule.
        id: Identifier, unique also across restarts. `id` and `state` together identify a message.
        person: Number of the person; absent if the event is about no single person (`capacity`).
        zone: Name of the zone in which it happened.
        direction: Direction in which the line was crossed; only of `cross`.
        label: What the rule found, for example the posture `lying`.
        count: What the rule counts, after this event: people in the zone, crossings in this direction, repetitions.
        value: Measured value, for example an angle in degrees.
        device: Display name of the device.
        camera: Name of the camera; absent if the process has only one camera without a name.
        source: The camera or file, without user name and password.
        index: Number of the frame in which the rule reported the event.
        time: Wall-clock time of the event; null if it is unknown. For `started` the time at which it was reported, else
            the time at which it happened, which can be earlier than the frame `index`.
        timestamp_ns: The same time on the clock of the frames.
        started: When it began; null if the wall-clock time is unknown.
        ended: When it ended; only with the state `ended`.
        duration_s: Seconds from the beginning to the end; only with the state `ended`.
        pose: The person at that moment; absent if the person was not in the frame.
        clip: Name of the video in the folder of the clips; absent if none is recorded. The file can appear later.
        snapshot: Name of the image in the folder of the clips; absent if none is recorded.
    """

    version: int
    event: EventName
    state: EventState
    type: str
    rule: str
    kind: RuleKind
    id: str
    person: NotRequired[Annotated[int, Limits(1)]]
    zone: NotRequired[str]
    direction: NotRequired[Literal["in", "out"]]
    label: NotRequired[str]
    count: NotRequired[Count]
    value: NotRequired[float]
    device: str
    camera: NotRequired[str]
    source: str
    index: Count
    time: Time | None
    timestamp_ns: Count
    started: Time | None
    ended: NotRequired[Time | None]
    duration_s: NotRequired[Annotated[float, Limits(0, unit="s")]]
    pose: NotRequired[PoseDocument]
    clip: NotRequired[str]
    snapshot: NotRequired[str]
