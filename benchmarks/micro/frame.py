"""What a whole frame costs beside inference."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ...runtime import PoseEstimator
from ...runtime.synthetic import Scene
from ..timing import Measurement, summary


class FrameCost(NamedTuple):
    """Stage times of one model; `ratio` is the whole frame over inference alone, the median over frames."""

    preprocess: Measurement
    inference: Measurement
    decode: Measurement
    ratio: float
    interpreter: str


def measure_frames(model: Path, threads: int, frames: int = 150) -> FrameCost:
    """Runs a model over a moving scene of five people, 640x480."""
    estimator = PoseEstimator(model, threads=threads)
    scene = Scene(5, 640, 480)
    images = [scene.frame(i).image for i in range(10)]
    for image in images[:3]:
        estimator.estimate(image)
    timings = [estimator.estimate(images[i % len(images)]).timings_ms for i in range(frames)]
    preprocess, inference, decode = (summary(list(stage)) for stage in zip(*timings, strict=True))
    ratio = summary([timing.total / timing.inference for timing in timings]).median_ms
    return FrameCost(preprocess, inference, decode, ratio, estimator.interpreter_name)
