"""JSON of events: the times are those at which something happened, not those of the report."""

from __future__ import annotations

import json

import numpy as np

from edgepose.device.events.event import Event
from edgepose.device.events.format import format_event_line
from edgepose.runtime.types import Frame

FRAME = Frame(np.zeros((4, 4, 3), np.uint8), "rtsp://me:secret@10.0.0.9/door", 7, 10_000_000_000, captured_ns=1)


def make_entry(event: Event, captured_at: str | None = "2026-11-30T23:59:59.500Z") -> dict[str, object]:
    line = format_event_line(event, FRAME, device="d", captured_at=captured_at)
    assert "\n" not in line and "secret" not in line
    entry: dict[str, object] = json.loads(line)
    return entry


def test_an_end_that_is_reported_late_has_the_time_of_the_end() -> None:
    event = Event("leave", "ended", "yard", "zone", "x-1", 3, 8.5, 2.0, 6.5, zone="yard", count=0, reported_s=9.5)
    entry = make_entry(event)
    assert (entry["time"], entry["ended"]) == ("2026-11-30T23:59:58.500Z",) * 2
    assert entry["started"] == "2026-11-30T23:59:52.000Z"
    assert (entry["timestamp_ns"], entry["index"], entry["duration_s"]) == (9_000_000_000, 7, 6.5)
    assert (entry["person"], entry["zone"], entry["pose"]) == (3, "yard", None)


def test_a_start_has_the_time_at_which_it_began() -> None:
    entry = make_entry(Event("capacity", "started", "yard", "zone", "x-1", 0, 9.5, 9.0))
    assert (entry["time"], entry["started"], entry["ended"]) == (
        "2026-11-30T23:59:59.500Z", "2026-11-30T23:59:59.000Z", None,
    )  # fmt: skip
    assert (entry["person"], entry["timestamp_ns"]) == (None, 10_000_000_000)
    unknown = make_entry(Event("capacity", "started", "yard", "zone", "x-1", 0, 9.5, 9.0), None)
    assert (unknown["time"], unknown["started"]) == (None, None)
