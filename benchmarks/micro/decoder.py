"""Benchmark of the decoder: by number of people, worst cases, and in comparison with tf-pose-estimation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ...runtime import Decoder, GridToFrame, PoseEstimator, PoseFields
from ...runtime.errors import MissingExtraError
from ...runtime.synthetic import Scene
from ..timing import Measurement, measure
from . import upstream_decoder, upstream_tensorflow

Maps = npt.NDArray[np.float32]
_TO_FRAME = GridToFrame(8, 8)


def measure_by_people(model: Path) -> Iterator[tuple[int, int, tuple[int, int], Measurement]]:
    """Decode a network's maps of the synthetic scene, with 0 to 30 people.

    Yields:
        People in the scene, people found, height and width of the maps, time.
    """
    estimator = PoseEstimator(model)
    for people in (0, 1, 2, 5, 10, 20, 30):
        heatmaps, pafs = compute_maps(estimator, people)
        decoder = Decoder(*heatmaps.shape[:2])
        fields = PoseFields(heatmaps, pafs)
        found = len(decoder.decode(fields, _TO_FRAME))
        yield people, found, heatmaps.shape[:2], measure(lambda d=decoder, f=fields: d.decode(f, _TO_FRAME))  # type: ignore[misc]


def compute_maps(estimator: PoseEstimator, people: int) -> tuple[Maps, Maps]:
    """Run a network on a synthetic scene and return copies of its heatmaps and PAFs."""
    fields = estimator.infer(Scene(people, 1280, 960).render_frame(3).image)
    return np.array(fields.heatmaps, np.float32), np.array(fields.pafs, np.float32)


def measure_worst_cases(height: int, width: int) -> Iterator[tuple[str, Measurement]]:
    """Decode artificial maps that take the longest time: noise, a peak in every second cell, one large plateau.

    Yields:
        Description of the maps, time.
    """
    rng = np.random.default_rng(1)
    noise = rng.random((height, width, 19), np.float32)
    peak_grid = np.zeros((height, width, 19), np.float32)
    peak_grid[::2, ::2] = 1
    agreeing_pafs = np.full((height, width, 38), 0.7, np.float32)
    cases = {
        "noise in heatmaps and PAFs": (noise, rng.normal(0, 0.5, (height, width, 38)).astype(np.float32)),
        "noise, every PAF agrees": (noise, agreeing_pafs),
        "a grid of peaks, every PAF agrees": (peak_grid, agreeing_pafs),
        "one plateau": (np.ones_like(noise), agreeing_pafs),
    }
    for name, (heatmaps, pafs) in cases.items():
        decoder, fields = Decoder(height, width), PoseFields(heatmaps, pafs)
        yield name, measure(lambda d=decoder, f=fields: d.decode(f, _TO_FRAME))  # type: ignore[misc]


class Comparison(NamedTuple):
    """Times of this decoder and of tf-pose-estimation's method, on the same maps and in the same run."""

    edgepose: Measurement
    opencv: Measurement
    """Enlarging, smoothing and maxima in OpenCV, which uses a separable Gaussian."""
    grouping: Measurement
    """Limb connection and grouping in NumPy."""
    tensorflow: Measurement | None
    """Enlarging, smoothing and maxima in TensorFlow, as upstream runs them; None if TensorFlow is not installed."""


def compare_with_upstream(model: Path, people: int = 5) -> Comparison:
    """Compare this decoder (one thread) with tf-pose-estimation's method (OpenCV and TensorFlow, two threads)."""
    heatmaps, pafs = compute_maps(PoseEstimator(model), people)
    decoder, fields = Decoder(*heatmaps.shape[:2]), PoseFields(heatmaps, pafs)
    # This decoder first: OpenCV's threads keep the processor busy for a while after their work.
    ours = measure(lambda: decoder.decode(fields, _TO_FRAME), min_runs=1000, max_runs=5000)
    cv2.setNumThreads(2)
    found = upstream_decoder.enlarge_and_find(heatmaps, pafs)
    enlarging = measure(lambda: upstream_decoder.enlarge_and_find(heatmaps, pafs), seconds=3)
    grouping = measure(lambda: upstream_decoder.group(*found), seconds=2)
    try:
        upstream = measure(upstream_tensorflow.build_enlarge_and_find(heatmaps, pafs), seconds=5)
    except MissingExtraError:
        upstream = None
    return Comparison(ours, enlarging, grouping, upstream)
