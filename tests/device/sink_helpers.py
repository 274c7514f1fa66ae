"""Helper functions for the tests of sinks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from edgepose.device.events.event import Event, RuleState
from edgepose.device.sinks.base import Message
from edgepose.runtime.skeleton import COCO18
from edgepose.runtime.synthetic import Scene
from edgepose.runtime.types import EstimateResult, Frame, Pose, Timings


def make_message(index: int = 0, people: int = 2) -> Message:
    frame = Scene(people, 320, 240).render_frame(index)
    poses = tuple(
        Pose(np.column_stack((truth, np.ones(18))).astype(np.float32), 0.9, person)
        for person, truth in enumerate(frame.keypoints, 1)
    )
    return Message(Frame(frame.image, "scene", index), EstimateResult(poses, Timings(1, 2, 3)), COCO18)


def make_event(identifier: str, **values: Any) -> Event:
    """Return an event about the first person, who enters the zone `yard`."""
    event = Event("enter", "started", "yard", "zone", identifier, 1, 2.0, 2.0, zone="yard", count=1)
    return replace(event, **values)


def make_event_message(
    *identifiers: str, index: int = 0, captured_ns: int = 0, rules: tuple[RuleState, ...] = ()
) -> Message:
    """Return a frame with events."""
    message = make_message(index)
    frame = replace(message.frame, captured_ns=captured_ns)
    return replace(message, frame=frame, events=tuple(map(make_event, identifiers)), rules=rules, capture_time=None)


def wait_until(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found
