"""JSON line of an event; docs/reference/message.md describes the entries."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from ...runtime.io.documents import CameraDocument
from ...runtime.io.formats import FORMAT_VERSION, make_pose_entry
from ...runtime.io.redact import mask_credentials
from ...runtime.types import Frame
from .document import DurationEntries, EventDocument, OptionalEntries, PoseEntries
from .event import Event, EventName, EventState, RuleInfo, RuleState

_EVENTS_WITH_OWN_STATE = ("enter", "leave")
"""Events whose name says if something began or ended."""


def format_event_line(event: Event, frame: Frame, *, device: str, captured_at: str | None, camera: str = "") -> str:
    """Format an event as a JSON line without a line end.

    Args:
        event: The event.
        frame: The frame in which it happened.
        device: Display name of the device.
        captured_at: Time of the exposure as RFC 3339; None if unknown.
        camera: Name of the camera; empty if the device has only one.
    """
    return json.dumps(make_event_entry(event, frame, device, captured_at, camera), separators=(",", ":"))


def make_event_entry(event: Event, frame: Frame, device: str, captured_at: str | None, camera: str) -> EventDocument:
    """Return an event as a dictionary for JSON. Entries that do not apply to the event are absent.

    `time` and `timestamp_ns` are those of the event; `index` is the frame that reports it, which can be later.
    """
    delay_s = 0.0 if event.reported_s is None else event.reported_s - event.time_s
    captured_at = captured_at if not delay_s else _shift_time(captured_at, -delay_s)
    camera_entry: CameraDocument = {"camera": camera} if camera else {}
    return {
        "version": FORMAT_VERSION,
        "event": event.event,
        "state": event.state,
        "type": make_event_type(event.event, event.state, event.direction),
        "rule": event.rule,
        "kind": event.kind,
        "id": event.id,
        **_make_optional_entries(event),
        "device": device,
        **camera_entry,
        "source": mask_credentials(frame.source) if "://" in frame.source else frame.source,
        "index": frame.index,
        "time": captured_at,
        "timestamp_ns": max(0, frame.timestamp_ns - round(1e9 * delay_s)),
        "started": _shift_time(captured_at, event.started_s - event.time_s),
        **_make_duration_entries(event, captured_at),
        **_make_pose_entries(event),
    }


def _make_optional_entries(event: Event) -> OptionalEntries:
    entries: OptionalEntries = {}
    if event.person:
        entries["person"] = event.person
    if event.zone:
        entries["zone"] = event.zone
    if event.direction:
        entries["direction"] = event.direction
    if event.label:
        entries["label"] = event.label
    if event.count is not None:
        entries["count"] = event.count
    if event.value is not None:
        entries["value"] = round(event.value, 2)
    return entries


def _make_duration_entries(event: Event, time: str | None) -> DurationEntries:
    entries: DurationEntries = {"ended": time} if event.state == "ended" else {}
    if event.duration_s is not None:
        entries["duration_s"] = round(event.duration_s, 3)
    return entries


def _make_pose_entries(event: Event) -> PoseEntries:
    entries: PoseEntries = {}
    if event.pose is not None:
        entries["pose"] = make_pose_entry(event.pose)
    if event.clip:
        entries["clip"] = event.clip
    if event.snapshot:
        entries["snapshot"] = event.snapshot
    return entries


def make_rule_entry(state: RuleState) -> dict[str, Any]:
    """Return the state of a rule as a dictionary for JSON."""
    return {
        "kind": state.kind,
        "active": state.active,
        "people": list(state.people),
        "counts": dict(state.counts),
        "labels": {str(person): label for person, label in state.labels.items()},
    }


def make_event_type(event: EventName, state: EventState, direction: str = "") -> str:
    """Return one word for what happened, for automations: `enter`, `cross_in`, `fall_started`, `repetition`."""
    if event in _EVENTS_WITH_OWN_STATE or state == "once":
        return f"{event}_{direction}" if direction else event
    return f"{event}_{state}"


def list_event_types(info: RuleInfo) -> list[str]:
    """Return the types of all events that a rule can report."""
    types: list[str] = []
    for event in info.events:
        if event in _EVENTS_WITH_OWN_STATE:
            types.append(event)
        elif event == "cross":
            types += ["cross_in", "cross_out"]
        elif info.has_duration:
            types += [f"{event}_started", f"{event}_ended"]
        else:
            types.append(event)
    return types


def _shift_time(time: str | None, seconds: float) -> str | None:
    """Add seconds to a time in RFC 3339."""
    if time is None:
        return None
    moment = datetime.fromtimestamp(datetime.fromisoformat(time).timestamp() + seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
