"""Benchmark of `PoseEstimator`: time of a whole frame compared with inference alone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ...runtime import PoseEstimator
from ...runtime.synthetic import Scene
from ..timing import Measurement, summarize


class FrameCost(NamedTuple):
    """Stage times of one model.

    `frame_to_inference_ratio` is the time of the whole frame divided by the inference time, median over all frames.
    """

    preprocess: Measurement
    inference: Measurement
    decode: Measurement
    frame_to_inference_ratio: float
    interpreter: str


def measure_frames(model: Path, threads: int, frames: int = 150) -> FrameCost:
    """Measure a model on a synthetic scene with five moving people, 640x480."""
    estimator = PoseEstimator(model, threads=threads)
    scene = Scene(5, 640, 480)
    images = [scene.render_frame(i).image for i in range(10)]
    for image in images[:3]:
        estimator.estimate(image)
    timings = [estimator.estimate(images[i % len(images)]).timings_ms for i in range(frames)]
    preprocess, inference, decode = (summarize(list(stage)) for stage in zip(*timings, strict=True))
    ratio = summarize([timing.total / timing.inference for timing in timings]).median_ms
    return FrameCost(preprocess, inference, decode, ratio, estimator.interpreter_name)
