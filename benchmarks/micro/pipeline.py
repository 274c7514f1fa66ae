"""Benchmark of the pipeline: FPS and latency with and without parallel stages, on a simulated camera."""

from __future__ import annotations

import itertools
from pathlib import Path
from statistics import median
from time import monotonic_ns, perf_counter
from typing import NamedTuple

from ...device.camera.pipeline import Pipeline
from ...device.sources.base import SyntheticCamera
from ...runtime import PoseEstimator

_WARM_UP = 10
"""Frames at the start of a run that do not count."""


class PipelineMeasurement(NamedTuple):
    """FPS and latency of the pipeline (`fps`, `latency_ms`) and without it (`serial_fps`, `serial_latency_ms`)."""

    camera_fps: float | None
    """Frame rate of the camera; None if a frame is delivered whenever one is requested."""
    serial_fps: float
    fps: float
    limit_fps: float
    """FPS of the slowest stage alone: the camera or the network."""
    serial_latency_ms: float
    latency_ms: float
    added_latency_frames: float
    """Latency added by the pipeline, in camera frames; 0 if the camera has no frame rate."""

    @property
    def efficiency(self) -> float:
        """Pipeline FPS as a fraction of the FPS of the slowest stage."""
        return self.fps / self.limit_fps


def measure(model: Path, camera_fps: float | None, threads: int = 1, frames: int = 300) -> PipelineMeasurement:
    """Measure FPS and latency (from exposure to poses) with and without the pipeline.

    The measurements alternate in one run, so that all see the machine in the same state.

    Args:
        model: Path of the model.
        camera_fps: Frame rate of the simulated camera; None for no limit.
        threads: Number of interpreter threads.
        frames: Number of frames.
    """
    estimator = PoseEstimator(model, threads=threads)
    serial = [_run_serially(estimator, camera_fps, frames // 2)]
    inference = [_measure_inference_ms(estimator, frames // 2)]
    fps, latency_ms = _run_pipeline(estimator, camera_fps, frames)
    serial.append(_run_serially(estimator, camera_fps, frames // 2))
    inference.append(_measure_inference_ms(estimator, frames // 2))
    network_fps = 1e3 / (sum(inference) / 2)
    serial_latency_ms = sum(run[1] for run in serial) / 2
    return PipelineMeasurement(
        camera_fps,
        sum(run[0] for run in serial) / 2,
        fps,
        min(network_fps, camera_fps or network_fps),
        serial_latency_ms,
        latency_ms,
        (latency_ms - serial_latency_ms) * camera_fps / 1e3 if camera_fps else 0.0,
    )


def _run_serially(estimator: PoseEstimator, camera_fps: float | None, count: int) -> tuple[float, float]:
    """Process one frame after the other. Returns FPS and median latency in ms."""
    source = SyntheticCamera(fps=camera_fps)
    latencies_ms = []
    start = 0.0
    for number, frame in enumerate(itertools.islice(source.frames(), count + _WARM_UP)):
        if number == _WARM_UP:
            start = perf_counter()
        estimator.estimate(frame.image)
        latencies_ms.append((monotonic_ns() - frame.timestamp_ns) / 1e6)
    return count / (perf_counter() - start), median(latencies_ms[_WARM_UP:])


def _run_pipeline(estimator: PoseEstimator, camera_fps: float | None, count: int) -> tuple[float, float]:
    """Process frames in the pipeline. Returns FPS and median latency in ms."""
    latencies_ms = []
    start = 0.0
    with Pipeline(SyntheticCamera(fps=camera_fps), estimator) as results:
        for number, result in enumerate(itertools.islice(results, count + _WARM_UP)):
            if number == _WARM_UP:
                start = perf_counter()
            latencies_ms.append(result.latency_ms)
        elapsed_s = perf_counter() - start
    return (count - 1) / elapsed_s, median(latencies_ms[_WARM_UP:])


def _measure_inference_ms(estimator: PoseEstimator, count: int) -> float:
    frame = next(SyntheticCamera(fps=None, distinct_frames=1).frames())
    return median(estimator.estimate(frame.image).timings_ms.inference for _ in range(count))
