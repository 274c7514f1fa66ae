"""JSON line of an event; docs/output.md, "Events", describes the entries."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from ...runtime.io.formats import FORMAT_VERSION, make_pose_entry
from ...runtime.io.redact import mask_credentials
from ...runtime.types import Frame
from .event import Event


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
    """Return an event as a dictionary for JSON.

    `time` and `timestamp_ns` are those of the event; `index` is the frame that reports it, which can be later.
    """
    ended = event.state == "ended"
    delay_s = 0.0 if event.reported_s is None else event.reported_s - event.time_s
    captured_at = captured_at if not delay_s else _shift_time(captured_at, -delay_s)
    return {
        "version": FORMAT_VERSION,
        "event": event.event,
        "state": event.state,
        "rule": event.rule,
        "kind": event.kind,
        "id": event.id,
        "person": event.person or None,
        "zone": event.zone or None,
        "direction": event.direction or None,
        "label": event.label or None,
        "count": event.count,
        "value": None if event.value is None else round(event.value, 2),
        "device": device,
        **({"camera": camera} if camera else {}),
        "source": mask_credentials(frame.source) if "://" in frame.source else frame.source,
        "index": frame.index,
        "time": captured_at,
        "timestamp_ns": max(0, frame.timestamp_ns - round(1e9 * delay_s)),
        "started": _shift_time(captured_at, event.started_s - event.time_s),
        "ended": captured_at if ended else None,
        "duration_s": None if event.duration_s is None else round(event.duration_s, 3),
        "pose": None if event.pose is None else make_pose_entry(event.pose),
    }


def _shift_time(time: str | None, seconds: float) -> str | None:
    """Add seconds to a time in RFC 3339."""
    if time is None:
        return None
    moment = datetime.fromtimestamp(datetime.fromisoformat(time).timestamp() + seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
