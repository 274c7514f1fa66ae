"""History of the camera loop: FPS, latency, people and temperature of the last hour, in a ring buffer of fixed size."""

from __future__ import annotations

import json
import math
from time import monotonic, time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .stats import Stats

INTERVAL_S = 2.0
"""Time between two samples."""
LENGTH_S = 3600.0
"""Time that the history covers."""


class Sample(NamedTuple):
    """Values of the loop at one time. NaN: unknown, for example the latency while the camera is lost."""

    monotonic_s: float
    """Monotonic clock, so that a change of the wall clock does not move old samples."""
    fps: float
    latency_ms: float
    people: float
    """Maximum number of people in the frames since the last sample."""
    temperature_c: float


class History:
    """Samples of the last hour, 72 kB.

    Ownership: one thread calls all methods. `copy_samples` returns an array that any thread may use.
    """

    def __init__(self, stats: Stats, *, length_s: float = LENGTH_S, interval_s: float = INTERVAL_S) -> None:
        """Allocate the ring buffer.

        Args:
            stats: Statistics that the samples are taken from.
            length_s: Time from the oldest to the newest sample in seconds.
            interval_s: Time between two calls of `add_sample` in seconds.
        """
        self._stats, self._interval_s = stats, interval_s
        self._samples = np.full((math.ceil(length_s / interval_s) + 1, len(Sample._fields)), np.nan)
        self._count = 0

    def add_sample(self) -> Sample:
        """Take a sample of the statistics; it replaces the oldest one if the buffer is full."""
        snapshot = self._stats.take_snapshot()
        is_running = snapshot.state == "running"
        sample = Sample(
            monotonic(),
            snapshot.fps if is_running else 0.0,
            snapshot.latency_ms if is_running else math.nan,
            float(self._stats.find_max_people(self._interval_s)) if is_running else math.nan,
            math.nan if snapshot.temperature_c is None else snapshot.temperature_c,
        )
        self._samples[self._count % len(self._samples)] = sample
        self._count += 1
        return sample

    def copy_samples(self) -> npt.NDArray[np.float64]:
        """Return a copy of the samples, oldest first: (n, 5), in the order of `Sample`."""
        if self._count < len(self._samples):
            return self._samples[: self._count].copy()
        return np.roll(self._samples, -(self._count % len(self._samples)), axis=0)


def format_samples(samples: npt.NDArray[np.float64]) -> str:
    """Format samples as a JSON object with one list per value; `time` is Unix time in seconds, unknown values are null.

    Args:
        samples: (n, 5), in the order of `Sample`.
    """
    # The wall clock is read now: at the time of the first samples, NTP may not have set it yet.
    time_s = samples[:, 0] + (time() - monotonic())
    columns = {"time": time_s, **dict(zip(Sample._fields[1:], samples[:, 1:].T, strict=True))}
    return json.dumps(
        {name: [None if math.isnan(value) else round(value, 1) for value in column.tolist()]
         for name, column in columns.items()},
        separators=(",", ":"),
    )  # fmt: skip
