"""How long decoding takes: by the number of people, at its worst, and against upstream's way in the same run."""

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


def by_people(model: Path) -> Iterator[tuple[int, int, tuple[int, int], Measurement]]:
    """(people in the scene, people found, grid, time) on a real network's maps of the synthetic scene."""
    estimator = PoseEstimator(model)
    for people in (0, 1, 2, 5, 10, 20, 30):
        heatmaps, pafs = maps(estimator, people)
        decoder = Decoder(*heatmaps.shape[:2])
        fields = PoseFields(heatmaps, pafs)
        found = len(decoder.decode(fields, _TO_FRAME))
        yield people, found, heatmaps.shape[:2], measure(lambda d=decoder, f=fields: d.decode(f, _TO_FRAME))  # type: ignore[misc]


def maps(estimator: PoseEstimator, people: int) -> tuple[Maps, Maps]:
    """Copies of a network's maps for a scene of `people`."""
    fields = estimator.infer(Scene(people, 1280, 960).frame(3).image)
    return np.array(fields.heatmaps, np.float32), np.array(fields.pafs, np.float32)


def worst_cases(height: int, width: int) -> Iterator[tuple[str, Measurement]]:
    """Maps that no network makes: noise, every second cell a peak with every limb agreeing, one plateau."""
    rng = np.random.default_rng(1)
    noise = rng.random((height, width, 19), np.float32)
    dots = np.zeros((height, width, 19), np.float32)
    dots[::2, ::2] = 1
    agreeing = np.full((height, width, 38), 0.7, np.float32)
    cases = {
        "noise in both": (noise, rng.normal(0, 0.5, (height, width, 38)).astype(np.float32)),
        "noise, every limb agrees": (noise, agreeing),
        "a grid of peaks, every limb agrees": (dots, agreeing),
        "one plateau": (np.ones_like(noise), agreeing),
    }
    for name, (heatmaps, pafs) in cases.items():
        decoder, fields = Decoder(height, width), PoseFields(heatmaps, pafs)
        yield name, measure(lambda d=decoder, f=fields: d.decode(f, _TO_FRAME))  # type: ignore[misc]


class Comparison(NamedTuple):
    """Ours against upstream's way on the same maps, in the same run."""

    ours: Measurement
    enlarging: Measurement
    """Enlarging, smoothing and maxima with OpenCV, which splits the Gaussian into two lines."""
    grouping: Measurement
    tensorflow: Measurement | None
    """Enlarging, smoothing and maxima as upstream runs them, in TensorFlow; None where it is not installed."""


def against_upstream(model: Path, people: int = 5) -> Comparison:
    """Decoding of a scene; OpenCV and TensorFlow on two threads, ours on one."""
    heatmaps, pafs = maps(PoseEstimator(model), people)
    decoder, fields = Decoder(*heatmaps.shape[:2]), PoseFields(heatmaps, pafs)
    # Ours first: OpenCV's threads go on spinning for a while after their work.
    ours = measure(lambda: decoder.decode(fields, _TO_FRAME), least=1000, most=5000)
    cv2.setNumThreads(2)
    found = upstream_decoder.enlarge_and_find(heatmaps, pafs)
    enlarging = measure(lambda: upstream_decoder.enlarge_and_find(heatmaps, pafs), seconds=3)
    grouping = measure(lambda: upstream_decoder.group(*found), seconds=2)
    try:
        upstream = measure(upstream_tensorflow.enlarge_and_find(heatmaps, pafs), seconds=5)
    except MissingExtraError:
        upstream = None
    return Comparison(ours, enlarging, grouping, upstream)
