"""History of the loop: ring buffer, samples, JSON."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from edgepose.device.camera.pipeline import PipelineResult
from edgepose.device.monitor import history, stats
from edgepose.device.monitor.health import Health
from edgepose.device.monitor.history import History, Sample, format_samples
from edgepose.device.monitor.stats import Stats

from .sink_helpers import make_message

pytestmark = pytest.mark.once


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    for module in (history, stats):
        monkeypatch.setattr(module, "monotonic", lambda: now[0])
    monkeypatch.setattr(stats.health, "read", lambda firmware: Health(51.25, None, ()))
    return now


def record(collector: Stats, people: int) -> None:
    message = make_message(people=people)
    collector.record_frame(PipelineResult(message.frame, message.estimate, 25.0))


def test_the_default_covers_an_hour_in_fixed_memory() -> None:
    kept = History(Stats("x"))
    assert (len(kept._samples) - 1) * history.INTERVAL_S >= 3600
    assert kept._samples.nbytes < 100_000


def test_the_oldest_samples_are_replaced(clock: list[float]) -> None:
    kept = History(Stats("x"), length_s=8, interval_s=2)
    assert kept.copy_samples().shape == (0, 5)
    for number in range(1, 13):
        clock[0] += 2
        kept.add_sample()
        times = kept.copy_samples()[:, 0]
        assert len(times) == min(number, 5)
        assert np.all(np.diff(times) == 2)
        assert times[-1] == clock[0]


def test_a_sample_has_the_most_people_since_the_last_one(clock: list[float]) -> None:
    collector = Stats("x")
    collector.state = "running"
    kept = History(collector, interval_s=2)
    for people in (1, 3, 0):
        clock[0] += 0.5
        record(collector, people)
    sample = kept.add_sample()
    assert sample.people == 3
    assert sample.latency_ms == 25.0
    assert sample.temperature_c == 51.25
    assert sample.fps > 0
    clock[0] += 2
    assert kept.add_sample().people == 0, "the last frame, if there was none since"


def test_values_are_unknown_while_the_camera_is_lost(clock: list[float]) -> None:
    collector = Stats("x")
    kept = History(collector)
    record(collector, 2)
    collector.state = "camera lost"
    sample = kept.add_sample()
    assert (sample.fps, np.isnan(sample.latency_ms), np.isnan(sample.people)) == (0, True, True)
    columns = json.loads(format_samples(kept.copy_samples()))
    assert [columns[name] for name in ("fps", "latency_ms", "people", "temperature_c")] == [[0], [None], [None], [51.2]]


def test_times_follow_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A board without a battery-backed clock takes its first samples before NTP has set the clock."""
    now = time.monotonic()
    samples = np.array([Sample(now - 10, 1, 2, 3, 4), Sample(now, 1, 2, 3, 4)])
    monkeypatch.setattr(history, "time", lambda: 1_700_000_000.0)
    older, newer = json.loads(format_samples(samples))["time"]
    assert newer == pytest.approx(1_700_000_000, abs=5)
    assert newer - older == pytest.approx(10, abs=0.2)
