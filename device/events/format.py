"""JSON line of an event; docs/reference/output.md, "Events", describes the entries."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from ...runtime.io.formats import FORMAT_VERSION, make_pose_entry
from ...runtime.io.redact import mask_credentials
from ...runtime.types import Frame
from .event import Event, EventState, RuleInfo, RuleState

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


def make_event_entry(event: Event, frame: Frame, device: str, captured_at: str | None, camera: str) -> dict[str, Any]:
    """Return an event as a dictionary for JSON. Entries that do not apply to the event are absent.

    `time` and `timestamp_ns` are those of the event; `index` is the frame that reports it, which can be later.
    """
    ended = event.state == "ended"
    delay_s = 0.0 if event.reported_s is None else event.reported_s - event.time_s
    captured_at = captured_at if not delay_s else _shift_time(captured_at, -delay_s)
    optional = {
        "person": event.person or None,
        "zone": event.zone or None,
        "direction": event.direction or None,
        "label": event.label or None,
        "count": event.count,
        "value": None if event.value is None else round(event.value, 2),
    }
    return {
        "version": FORMAT_VERSION,
        "event": event.event,
        "state": event.state,
        "type": make_event_type(event.event, event.state, event.direction),
        "rule": event.rule,
        "kind": event.kind,
        "id": event.id,
        **{key: value for key, value in optional.items() if value is not None},
        "device": device,
        **({"camera": camera} if camera else {}),
        "source": mask_credentials(frame.source) if "://" in frame.source else frame.source,
        "index": frame.index,
        "time": captured_at,
        "timestamp_ns": max(0, frame.timestamp_ns - round(1e9 * delay_s)),
        "started": _shift_time(captured_at, event.started_s - event.time_s),
        **({"ended": captured_at} if ended else {}),
        **({} if event.duration_s is None else {"duration_s": round(event.duration_s, 3)}),
        **({} if event.pose is None else {"pose": make_pose_entry(event.pose)}),
        **({"clip": event.clip} if event.clip else {}),
        **({"snapshot": event.snapshot} if event.snapshot else {}),
    }


def make_rule_entry(state: RuleState) -> dict[str, Any]:
    """Return the state of a rule as a dictionary for JSON."""
    return {
        "kind": state.kind,
        "active": state.active,
        "people": list(state.people),
        "counts": dict(state.counts),
        "labels": {str(person): label for person, label in state.labels.items()},
    }


def make_event_type(event: str, state: EventState, direction: str = "") -> str:
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
