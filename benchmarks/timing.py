"""Timing of function calls."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns


@dataclass(frozen=True)
class Measurement:
    """Time per call in milliseconds: median, 95th percentile, number of calls."""

    median_ms: float
    p95_ms: float
    runs: int

    def __str__(self) -> str:
        return f"{self.median_ms:9.3f} ms  p95 {self.p95_ms:9.3f} ms  n={self.runs}"


def measure(
    call: Callable[[], object], *, seconds: float = 1.0, min_runs: int = 10, max_runs: int = 1000
) -> Measurement:
    """Measure the time of a call.

    Args:
        call: Function to measure. Two calls before the measurement warm up.
        seconds: Duration of the measurement.
        min_runs: Minimum number of calls, even if they take longer than `seconds`.
        max_runs: Maximum number of calls.
    """
    call()
    call()
    times: list[int] = []
    end = perf_counter_ns() + int(seconds * 1e9)
    while len(times) < min_runs or (perf_counter_ns() < end and len(times) < max_runs):
        start = perf_counter_ns()
        call()
        times.append(perf_counter_ns() - start)
    return summarize([ns / 1e6 for ns in times])


def summarize(times_ms: list[float]) -> Measurement:
    """Compute median and 95th percentile of times in milliseconds."""
    ordered = sorted(times_ms)
    return Measurement(statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1))], len(ordered))
