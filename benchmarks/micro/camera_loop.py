"""Benchmark of the camera loop: latency, and its overhead: preprocessing, decoding, tracking and smoothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import numpy as np

from ...device.camera.loop import Loop
from ...device.camera.pipeline import PipelineResult
from ...device.config import LoopConfig
from ...device.monitor.stats import Stats
from ...device.sinks.base import Message, Sink
from ...device.sources.base import FrameSource
from ...device.tracking.one_euro import OneEuroSmoother
from ...device.tracking.tracker import Tracker
from ...runtime import PoseEstimator
from ...runtime.synthetic import Scene
from ...runtime.types import Pose
from ..timing import Measurement, measure

_WARM_UP = 10
"""Frames at the start of a run that do not count."""


class LoopCost(NamedTuple):
    """Measurements over all frames of a run.

    Attributes:
        fps: Frames per second.
        latency_p95_ms: 95th percentile of the time from exposure to poses.
        inference_p95_ms: 95th percentile of the inference time.
        overhead: Overhead: median time of preprocessing, decoding, tracking and smoothing, divided by the median
            inference time.
    """

    fps: float
    latency_p95_ms: float
    inference_p95_ms: float
    overhead: float


class _TimingSink(Sink):
    """Sink that keeps the stage times of each frame, but no images."""

    name = "timing"

    def __init__(self) -> None:
        super().__init__()
        self.stage_times_ms: list[tuple[float, float, float]] = []

    def write(self, message: Message) -> None:
        timings = message.estimate.timings_ms
        self.stage_times_ms.append((timings.preprocess, timings.inference, timings.decode))


class _LatencyStats(Stats):
    """Statistics that keep all latencies."""

    def __init__(self) -> None:
        super().__init__("bench")
        self.latencies_ms: list[float] = []

    def record_frame(self, result: PipelineResult) -> None:
        super().record_frame(result)
        self.latencies_ms.append(result.latency_ms)


def measure_loop(model: Path, source: FrameSource, threads: int = 1, seconds: float = 8.0) -> LoopCost:
    """Run the camera loop with tracking and smoothing on a live source.

    Args:
        model: Path of the model.
        source: A live source.
        threads: Number of interpreter threads.
        seconds: Duration in seconds.
    """
    estimator, sink, stats = PoseEstimator(model, threads=threads), _TimingSink(), _LatencyStats()
    Loop(lambda: source, [lambda: estimator], [sink], LoopConfig(), stats).run(seconds)
    tracking = measure_tracking(5)
    preprocess, inference, decode = zip(*sink.stage_times_ms[_WARM_UP:], strict=True)
    overhead_ms = median(preprocess) + median(decode) + tracking.median_ms
    return LoopCost(
        len(stats.latencies_ms) / seconds,
        _compute_p95(stats.latencies_ms[_WARM_UP:]),
        _compute_p95(inference),
        overhead_ms / median(inference),
    )


def measure_tracking(people: int) -> Measurement:
    """Measure tracking and smoothing of one frame with the given number of people."""
    scene, tracker, smoother = Scene(people, 1280, 960), Tracker(), OneEuroSmoother()
    rng = np.random.default_rng(0)
    frames = [
        [Pose(np.column_stack((xy, np.ones(18))).astype(np.float32), 0.8) for xy in rng.permutation(keypoints)]
        for keypoints in (scene.render_frame(index).keypoints for index in range(30))
    ]
    frames += frames[::-1]
    time_s = [0.0]

    def track() -> None:
        time_s[0] += 1 / 30
        poses = frames[round(time_s[0] * 30) % len(frames)]
        smoother.update(tracker.update(poses, time_s[0]), time_s[0])

    return measure(track, seconds=1.0)


def _compute_p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20)[-1]
