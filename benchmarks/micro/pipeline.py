"""What overlapping capture, inference and decoding gains, with a stand-in for the camera that keeps time."""

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


class Overlap(NamedTuple):
    """A camera's rate (None: as fast as frames are taken), and what came out of it, serially and overlapped."""

    camera_fps: float | None
    serial_fps: float
    fps: float
    limit_fps: float
    """What the slowest stage alone allows: the camera, or the network by itself."""
    serial_latency_ms: float
    latency_ms: float
    late: float
    """How much later than serially poses come, in frames of the camera (0 where it does not keep time)."""

    @property
    def share(self) -> float:
        """Of what the slowest stage allows."""
        return self.fps / self.limit_fps


def measure(model: Path, camera_fps: float | None, threads: int = 1, frames: int = 300) -> Overlap:
    """Latency is from exposure to poses. Everything in one run, in turns, so that all see the same machine."""
    estimator = PoseEstimator(model, threads=threads)
    serial = [_serially(estimator, camera_fps, frames // 2)]
    inference = [_inference_ms(estimator, frames // 2)]
    fps, latency = _overlapped(estimator, camera_fps, frames)
    serial.append(_serially(estimator, camera_fps, frames // 2))
    inference.append(_inference_ms(estimator, frames // 2))
    network_fps = 1e3 / (sum(inference) / 2)
    serial_latency = sum(entry[1] for entry in serial) / 2
    return Overlap(
        camera_fps,
        sum(entry[0] for entry in serial) / 2,
        fps,
        min(network_fps, camera_fps or network_fps),
        serial_latency,
        latency,
        (latency - serial_latency) * camera_fps / 1e3 if camera_fps else 0.0,
    )


def _serially(estimator: PoseEstimator, camera_fps: float | None, count: int) -> tuple[float, float]:
    """Frames a second and median latency of one frame after the other."""
    source = SyntheticCamera(fps=camera_fps)
    latencies = []
    start = 0.0
    for number, frame in enumerate(itertools.islice(source.frames(), count + _WARM_UP)):
        if number == _WARM_UP:
            start = perf_counter()
        estimator.estimate(frame.image)
        latencies.append((monotonic_ns() - frame.timestamp_ns) / 1e6)
    return count / (perf_counter() - start), median(latencies[_WARM_UP:])


def _overlapped(estimator: PoseEstimator, camera_fps: float | None, count: int) -> tuple[float, float]:
    latencies = []
    start = 0.0
    with Pipeline(SyntheticCamera(fps=camera_fps), estimator) as results:
        for number, result in enumerate(itertools.islice(results, count + _WARM_UP)):
            if number == _WARM_UP:
                start = perf_counter()
            latencies.append(result.latency_ms)
        spent = perf_counter() - start
    return (count - 1) / spent, median(latencies[_WARM_UP:])


def _inference_ms(estimator: PoseEstimator, count: int) -> float:
    frame = next(SyntheticCamera(fps=None, painted=1).frames())
    return median(estimator.estimate(frame.image).timings_ms.inference for _ in range(count))
