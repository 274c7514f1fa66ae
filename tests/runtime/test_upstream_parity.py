"""Parity with upstream's own decoder on real networks' maps (EDGEPOSE_TEST_DATA/golden).

Upstream's known defect that touches every keypoint: its coordinates are whole numbers on a map that was enlarged four
times and smoothed, so they lie up to a cell from the maximum of the map itself, and where the map has none within a
cell, smoothing has run several people's blobs together. The comparison therefore moves each of upstream's keypoints
to the map's own maximum within one cell, and leaves out those that have none. Whatever still differs is named below.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgepose.runtime import COCO18, Decoder, GridToFrame, PoseFields
from edgepose.runtime.oks import oks, sigmas

from ..conftest import data
from . import decoder_twin as twin

NETWORKS = ("human-pose-estimation-0001", "mobilenet_v2_small")

EXPLAINED = {
    ("human-pose-estimation-0001", "000000229849", 2): "smoothing: parts of three people whose blobs ran together",
    ("human-pose-estimation-0001", "000000229849", 8): "whole numbers: a person one cell high, both eyes in one place",
    ("human-pose-estimation-0001", "000000329323", 7): "smoothing: parts of three people whose blobs ran together",
}
"""(network, image, number of upstream's person): which of upstream's defects it shows."""

DIFFERENT = {
    ("mobilenet_v2_small", "000000234607", 1): "two weak neck peaks (0.08) of one man: smoothing joins them, here the "
    "head and arm go to one, the legs to the other, and two people with a neck each are never merged",
    ("mobilenet_v2_small", "000000410456", 3): "a right leg between two people: here the neighbor gets it",
}
"""Where no defect of upstream's explains it: upstream does better on these two of 84 people."""

_SHIFT = 0.125 - 0.5
"""Upstream's 0 is the center of the first enlarged cell; ours the center of the first cell."""


def cases() -> list[tuple[str, str]]:
    import os

    root = Path(os.environ.get("EDGEPOSE_TEST_DATA", "nowhere")) / "golden"
    found = [(network, path.stem) for network in NETWORKS for path in sorted((root / network).glob("*.npz"))]
    return found or [(network, "none") for network in NETWORKS]


@pytest.mark.parametrize(("network", "image"), cases())
def test_finds_whom_upstream_finds(network: str, image: str) -> None:
    folder = data("golden") / network
    fields = np.load(folder / f"{image}.npz")
    heatmaps, pafs = fields["heatmaps"].astype(np.float32), fields["pafs"].astype(np.float32)
    poses = Decoder(*heatmaps.shape[:2]).decode(PoseFields(heatmaps, pafs), GridToFrame(1, 1, -0.5, -0.5))
    maxima = [np.array(twin.find_peaks(heatmaps[:, :, part], 0.05)).reshape(-1, 3)[:, :2] for part in range(18)]
    spread = sigmas(COCO18.keypoints)
    entries = {
        Path(entry["image"]).stem: entry["poses"] for entry in json.loads((folder / "upstream_poses.json").read_text())
    }
    lost = []
    for number, person in enumerate(entries[image]):
        keypoints = np.array(person["keypoints"], np.float32)
        if (keypoints[:, 2] > 0).sum() < 5:
            continue
        expected = on_the_map(keypoints, maxima)
        best = max((oks(expected, pose.keypoints, spread) for pose in poses), default=0.0)
        if best < 0.85 and (network, image, number) not in EXPLAINED | DIFFERENT:
            lost.append(f"person {number}: OKS {best:.2f}")
    assert not lost


def on_the_map(keypoints: np.ndarray, maxima: list[np.ndarray]) -> np.ndarray:
    """Upstream's keypoints at the maxima of the map they came from; absent where there is none within a cell."""
    moved = np.zeros_like(keypoints)
    for part in np.flatnonzero(keypoints[:, 2] > 0):
        place = keypoints[part, :2] + _SHIFT
        distances = np.hypot(*(maxima[part] - place).T) if len(maxima[part]) else np.array([np.inf])
        if distances.min() <= 1:
            moved[part] = *maxima[part][distances.argmin()], keypoints[part, 2]
    return moved
