"""What the loop has done and how it fares: one place that log, page and metrics read."""

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

from ...runtime.io.printable import printable
from ...runtime.types import Timings
from ..camera.pipeline import Result
from . import health
from .health import Health

_WINDOW = 120
"""Frames that medians are taken over."""


@dataclass(frozen=True)
class Snapshot:
    """The loop at one moment. Times in milliseconds, medians over the last frames."""

    time: float
    """Seconds since 1970."""
    uptime_s: float
    state: str
    """`starting`, `running`, `camera lost` or `stopping`."""
    problem: str
    """What is wrong, empty where nothing is."""
    model: str
    fps: float
    latency_ms: float
    stages_ms: dict[str, float]
    people: int
    last_person: float | None
    """When somebody was last seen, seconds since 1970; None for not yet."""
    processed: int
    dropped: int
    skipped: int
    camera_losses: int
    level: int
    """How far the loop has been slowed down because of heat; 0 is not at all."""
    temperature_c: float | None
    flags: tuple[str, ...]
    memory_mb: float | None
    disk_free_mb: float | None
    """None where the system does not tell, for example because no descriptors are left."""
    sinks: dict[str, dict[str, int | str]] = field(default_factory=dict)


class _Moment(NamedTuple):
    time_s: float
    latency_ms: float
    people: int
    timings_ms: Timings


class Counted(Protocol):
    """A sink, as far as statistics go."""

    name: str

    def counts(self) -> dict[str, int | str]:
        """Messages by what became of them."""
        ...


class Stats:
    """Collects; any thread may ask."""

    def __init__(self, model: str) -> None:
        self._lock = threading.Lock()
        self._recent: deque[_Moment] = deque(maxlen=_WINDOW)
        self._started = monotonic()
        self.model = model
        self.state, self.problem = "starting", ""
        self.processed = self.dropped = self.skipped = self.camera_losses = self.level = 0
        self.sinks: list[Counted] = []
        self._last_person: float | None = None
        self._health = Health(None, None, None)
        self._looked = 0.0

    def frame(self, result: Result) -> None:
        """A frame was processed."""
        with self._lock:
            self.processed += 1
            # Not the result itself: its image would stay, a hundred megabytes in all.
            people = len(result.estimate)
            if people:
                self._last_person = time()
            self._recent.append(_Moment(monotonic(), result.latency_ms, people, result.estimate.timings_ms))

    def health(self, every_s: float = 2.0) -> Health:
        """The board's health, read anew every `every_s`."""
        if monotonic() - self._looked >= every_s:
            self._looked = monotonic()
            self._health = health.read(firmware=False)
        return self._health

    def snapshot(self) -> Snapshot:
        """The loop at this moment."""
        with self._lock:
            recent = list(self._recent)
        board = self.health()
        spent = monotonic() - recent[0].time_s if len(recent) > 1 else 0.0
        stages: dict[str, float] = {}
        if recent:
            columns = zip(*(moment.timings_ms for moment in recent), strict=True)
            stages = dict(zip(Timings._fields, map(median, columns), strict=True))
        return Snapshot(
            time=time(),
            uptime_s=monotonic() - self._started,
            state=self.state,
            # Shown by the page, by Home Assistant and on terminals; parts come from cameras and model files.
            problem=printable(self.problem, limit=400),
            model=printable(self.model, limit=100),
            fps=(len(recent) - 1) / spent if spent > 0 else 0.0,
            latency_ms=median(moment.latency_ms for moment in recent) if recent else 0.0,
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
            memory_mb=_resident_mb(),
            disk_free_mb=_disk_free_mb(),
            sinks={f"{number}-{sink.name}": sink.counts() for number, sink in enumerate(self.sinks)},
        )


def _resident_mb() -> float | None:
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _disk_free_mb() -> float | None:
    try:
        return shutil.disk_usage(Path.cwd()).free / 1e6
    except OSError:
        return None
