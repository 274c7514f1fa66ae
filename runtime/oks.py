"""Object keypoint similarity: how alike two poses are, by COCO's measure.

Source: cocodataset.org/#keypoints-eval; OKS = mean over keypoints of exp(-d^2 / (2 area k^2)), k twice the annotators'
spread of each keypoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .types import Pose

_COCO_SPREAD = {
    "nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062, "hip": 0.107,
    "knee": 0.087, "ankle": 0.089, "neck": 0.079,
}  # fmt: skip


def sigmas(names: Sequence[str]) -> npt.NDArray[np.float64]:
    """The spread of each keypoint by its name; the neck, which COCO lacks, has the shoulders'."""
    return np.array([_COCO_SPREAD[name.rpartition("_")[2]] for name in names])


def oks(truth: npt.NDArray[np.float32], found: npt.NDArray[np.float32], spread: npt.NDArray[np.float64]) -> float:
    """OKS over the keypoints present in `truth`, (n, 3) each; a keypoint absent from `found` counts as 0.

    The area is that of the box around the truth times 0.53, as COCO does where there is no mask.
    """
    present = truth[:, 2] > 0
    points = truth[present, :2]
    area = 0.53 * max(1.0, float(np.prod(np.ptp(points, axis=0))))
    distance = np.square(points - found[present, :2]).sum(axis=1)
    similarity = np.exp(-distance / (2 * area * np.square(2 * spread[present])))
    return float(np.where(found[present, 2] > 0, similarity, 0).mean())


def matched(
    truth: Sequence[Pose], found: Sequence[Pose], spread: npt.NDArray[np.float64], *, least: float, min_keypoints: int
) -> tuple[int, int]:
    """How many poses of `truth` with enough keypoints have one of OKS `least` in `found`, and of how many."""
    wanted = [pose for pose in truth if (pose.keypoints[:, 2] > 0).sum() >= min_keypoints]
    hits = sum(any(oks(pose.keypoints, other.keypoints, spread) >= least for other in found) for pose in wanted)
    return hits, len(wanted)
