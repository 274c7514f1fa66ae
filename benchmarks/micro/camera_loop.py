"""What the camera loop costs beside inference: identity, smoothing, hand-over to sinks; and how late its poses are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import numpy as np

from ...device.camera.loop import Loop
from ...device.camera.pipeline import Result
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


class LoopCost(NamedTuple):
    """Over all frames of a run; `share`: everything but inference, of inference."""

    fps: float
    latency_p95_ms: float
    inference_p95_ms: float
    share: float


class _Counting(Sink):
    """Keeps figures, not images."""

    name = "counting"

    def __init__(self) -> None:
        super().__init__()
        self.times: list[tuple[float, float, float]] = []

    def write(self, message: Message) -> None:
        timings = message.estimate.timings_ms
        self.times.append((timings.preprocess, timings.inference, timings.decode))


class _Late(Stats):
    """Remembers all latencies."""

    def __init__(self) -> None:
        super().__init__("bench")
        self.latencies: list[float] = []

    def frame(self, result: Result) -> None:
        super().frame(result)
        self.latencies.append(result.latency_ms)


def measure_loop(model: Path, source: FrameSource, threads: int = 1, seconds: float = 8.0) -> LoopCost:
    """The loop on a live source, tracking and smoothing."""
    estimator, sink, stats = PoseEstimator(model, threads=threads), _Counting(), _Late()
    Loop(lambda: source, [lambda: estimator], [sink], LoopConfig(), stats).run(seconds)
    following = following_ms(5)
    preprocess, inference, decode = zip(*sink.times[10:], strict=True)
    beside = median(preprocess) + median(decode) + following.median_ms
    return LoopCost(
        len(stats.latencies) / seconds, _p95(stats.latencies[10:]), _p95(inference), beside / median(inference)
    )


def following_ms(people: int) -> Measurement:
    """Identity and smoothing of so many people, a frame."""
    scene, tracker, smoother = Scene(people, 1280, 960), Tracker(), OneEuroSmoother()
    rng = np.random.default_rng(0)
    frames = [
        [Pose(np.column_stack((truth, np.ones(18))).astype(np.float32), 0.8) for truth in rng.permutation(keypoints)]
        for keypoints in (scene.frame(index).keypoints for index in range(30))
    ]
    frames += frames[::-1]
    clock = [0.0]

    def step() -> None:
        clock[0] += 1 / 30
        poses = frames[round(clock[0] * 30) % len(frames)]
        smoother.update(tracker.update(poses, clock[0]), clock[0])

    return measure(step, seconds=1.0)


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20)[-1]
