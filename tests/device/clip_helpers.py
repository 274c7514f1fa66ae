"""A camera for the tests of clips: it sends frames and events to a sink, as the loop does, without a thread."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgepose.device.clips.config import ClipsConfig
from edgepose.device.clips.sink import ClipSink
from edgepose.device.events.event import Event, EventState
from edgepose.device.sinks.base import Message
from edgepose.device.sinks.privacy import Privacy
from edgepose.runtime.types import Image

from .sink_helpers import make_message

START_S = 1000.0
CLIP_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z-door-[a-z0-9-]+\.mp4")


def make_event(
    state: EventState = "once", rule: str = "fall", identifier: str = "fall-1", started_s: float = 1e9
) -> Event:
    return Event("fall", state, rule, "fall", identifier, 1, started_s, started_s)


def make_settings(**settings: Any) -> ClipsConfig:
    """Settings for tests: 1 s before and after, at most 10 s."""
    return ClipsConfig(**{"before_s": 1.0, "after_s": 1.0, "max_s": 10.0, "free": "0MB", **settings})


class Camera:
    """A sink and its planner; frames of 10 FPS unless told otherwise."""

    def __init__(self, folder: Path, privacy: Privacy = "none", report_delay_s: float = 0, **settings: Any) -> None:
        self.sink = ClipSink(folder, make_settings(**settings), privacy, "door", report_delay_s)
        self.folder, self.time_s, self.events = folder, START_S, list[Event]()
        self.sink.open()
        self.sink.connect()

    def send(self, *events: Event, image: Image | None = None, step_s: float = 0.1, work: bool = True) -> Message:
        self.time_s += step_s
        found, clip, clip_s = self.sink.planner.update(events, self.time_s, None)
        self.events += found
        base = make_message(0)
        frame = replace(
            base.frame, timestamp_ns=round(self.time_s * 1e9), captured_ns=round(self.time_s * 1e9),
            image=base.frame.image if image is None else image,
        )  # fmt: skip
        message = Message(frame, base.estimate, base.skeleton, "door", events=found, clip=clip, clip_s=clip_s)
        self.sink.write(message)
        if found:
            self.sink.write_events(message)
        if work:
            self.work()
        return message

    def run(self, seconds: float, **arguments: Any) -> None:
        step_s = arguments.get("step_s", 0.1)
        for _ in range(round(seconds / step_s)):
            self.send(**arguments)

    def work(self) -> None:
        """Do what the thread of the sink does while no message comes."""
        while self.sink.wake_interval_s == 0:
            self.sink.handle_wake()

    def close(self) -> None:
        self.sink.close()

    def list_names(self, suffix: str = ".mp4") -> list[str]:
        return sorted(path.name for path in self.folder.glob(f"*{suffix}") if not path.name.startswith("."))

    def read_sidecar(self, index: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / self.list_names(".json")[index]).read_text())
        return found


def make_noise(count: int, height: int = 240, width: int = 320) -> Sequence[Image]:
    noise = np.random.default_rng(0)
    return [noise.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]
