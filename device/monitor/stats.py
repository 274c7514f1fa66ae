"""Statistics of the camera loop, read by the log, the web page, the status file and the metrics."""

from __future__ import annotations

import os
import shutil
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic, time
from typing import NamedTuple, Protocol

from ...runtime.io.printable import make_printable
from ...runtime.types import Timings
from ..camera.pipeline import PipelineResult
from . import health
from .health import Health

_WINDOW_FRAMES = 120
"""Medians and FPS are computed over this number of frames."""


@dataclass(frozen=True)
class Snapshot:
    """State of the loop at one moment. Latency and stage times are medians over the last frames, in milliseconds."""

    time: float
    """Seconds since 1970 (Unix time)."""
    uptime_s: float
    state: str
    """`starting`, `running`, `paused`, `camera lost` or `stopping`."""
    problem: str
    """Current problem; empty if there is none."""
    model: str
    fps: float
    latency_ms: float
    stages_ms: dict[str, float]
    people: int
    last_person: float | None
    """Time at which a person was last detected, in seconds since 1970; None if there was no person yet."""
    processed: int
    dropped: int
    skipped: int
    camera_losses: int
    level: int
    """Slow-down level because of heat; 0 is normal operation."""
    temperature_c: float | None
    flags: tuple[str, ...]
    memory_mb: float | None
    disk_free_mb: float | None
    """None if it cannot be read, for example because there are no free file descriptors."""
    sinks: dict[str, dict[str, int | str]] = field(default_factory=dict)
    camera: str = ""
    """Sensor mode, field of view and frame size; empty if the source does not know them."""


class _ProcessedFrame(NamedTuple):
    time_s: float
    latency_ms: float
    people: int
    timings_ms: Timings


class SinkCounters(Protocol):
    """Sink whose message counts are part of the statistics."""

    name: str

    def get_counts(self) -> dict[str, int | str]:
        """Return the number of sent and lost messages, and the current problem."""
        ...


class Stats:
    """Collector of the statistics.

    The thread of the loop writes. Any thread may call `take_snapshot` and `get_health`.
    """

    def __init__(self, model: str) -> None:
        """Start the clock of the uptime.

        Args:
            model: Name of the model for display.
        """
        self._lock = threading.Lock()
        self._recent: deque[_ProcessedFrame] = deque(maxlen=_WINDOW_FRAMES)
        self._start_s = monotonic()
        self.model = model
        self.state, self.problem, self.camera = "starting", "", ""
        self.processed = self.dropped = self.skipped = self.camera_losses = self.level = 0
        self.pauses = 0
        """Number of pauses so far: a message from before the last one is out of date."""
        self.sinks: list[SinkCounters] = []
        self._last_person: float | None = None
        self._health = Health(None, None, None)
        self._health_read_s = 0.0

    def record_frame(self, result: PipelineResult) -> None:
        """Record a processed frame."""
        with self._lock:
            self.processed += 1
            # Do not keep the result: with their images, 120 results need about 100 MB.
            people = len(result.estimate)
            if people:
                self._last_person = time()
            self._recent.append(_ProcessedFrame(monotonic(), result.latency_ms, people, result.estimate.timings_ms))

    def record_pause(self) -> None:
        """Record that the loop is paused; the values of the last frames are no longer current."""
        with self._lock:
            self._recent.clear()
        self.pauses += 1
        self.state, self.problem = "paused", ""

    def find_max_people(self, window_s: float) -> int:
        """Return the maximum number of people in the frames of the last `window_s` seconds.

        If there was none, the number in the last frame. Only 120 frames are known: two seconds at 60 FPS.
        """
        with self._lock:
            since_s = monotonic() - window_s
            recent = self._recent
            last = recent[-1].people if recent else 0
            return max((frame.people for frame in recent if frame.time_s > since_s), default=last)

    def get_health(self, max_age_s: float = 2.0) -> Health:
        """Return the state of the board. It is read again if the last value is older than `max_age_s` seconds."""
        if monotonic() - self._health_read_s >= max_age_s:
            self._health_read_s = monotonic()
            self._health = health.read(firmware=False)
        return self._health

    def take_snapshot(self) -> Snapshot:
        """Return the current state of the loop."""
        with self._lock:
            recent = list(self._recent)
        board = self.get_health()
        elapsed_s = monotonic() - recent[0].time_s if len(recent) > 1 else 0.0
        stages: dict[str, float] = {}
        if recent:
            columns = zip(*(frame.timings_ms for frame in recent), strict=True)
            stages = dict(zip(Timings._fields, map(median, columns), strict=True))
        return Snapshot(
            time=time(),
            uptime_s=monotonic() - self._start_s,
            state=self.state,
            # The web page, Home Assistant and terminals show these texts; parts come from cameras and model files.
            problem=make_printable(self.problem, limit=400),
            model=make_printable(self.model, limit=100),
            fps=(len(recent) - 1) / elapsed_s if elapsed_s > 0 else 0.0,
            latency_ms=median(frame.latency_ms for frame in recent) if recent else 0.0,
            stages_ms=stages,
            people=recent[-1].people if recent else 0,
            last_person=self._last_person,
            processed=self.processed,
            dropped=self.dropped,
            skipped=self.skipped,
            camera_losses=self.camera_losses,
            level=self.level,
            temperature_c=board.temperature_c,
            flags=board.flags or (),
            memory_mb=_read_resident_mb(),
            disk_free_mb=_read_disk_free_mb(),
            camera=make_printable(self.camera, limit=400),
            sinks={f"{number}-{sink.name}": sink.get_counts() for number, sink in enumerate(self.sinks)},
        )


def _read_resident_mb() -> float | None:
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _read_disk_free_mb() -> float | None:
    try:
        return shutil.disk_usage(Path.cwd()).free / 1e6
    except OSError:
        return None
