"""Object keypoint similarity (OKS) of two poses, as defined by COCO.

OKS is the mean over keypoints of exp(-d^2 / (2 area k^2)). d is the distance of the two keypoints, and k is twice the
sigma of the keypoint: the standard deviation of its position between annotators. Source:
cocodataset.org/#keypoints-eval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .skeleton import Skeleton
from .types import Pose


def get_sigmas(skeleton: Skeleton) -> npt.NDArray[np.float64]:
    """Return the OKS sigma of each keypoint of a skeleton: (n,) float64."""
    return np.array(skeleton.sigmas)


def compute_oks(
    truth: npt.NDArray[np.float32], found: npt.NDArray[np.float32], sigmas: npt.NDArray[np.float64]
) -> float:
    """Compute the OKS of two poses over the keypoints that are present in `truth`.

    The area is 0.53 times the area of the box around `truth`. COCO does the same if there is no segmentation mask.

    Args:
        truth: Reference pose, (n, 3) float32: x, y in pixels, score; score 0 for a keypoint that is not present.
        found: The other pose, in the same format. A keypoint that is not present in it has similarity 0.
        sigmas: Sigmas of the keypoints, (n,).

    Returns:
        0 (different) to 1 (equal).
    """
    present = truth[:, 2] > 0
    positions = truth[present, :2]
    area = 0.53 * max(1.0, float(np.prod(np.ptp(positions, axis=0))))
    squared_distances = np.square(positions - found[present, :2]).sum(axis=1)
    similarity = np.exp(-squared_distances / (2 * area * np.square(2 * sigmas[present])))
    return float(np.where(found[present, 2] > 0, similarity, 0).mean())


def count_matches(
    truth: Sequence[Pose], found: Sequence[Pose], sigmas: npt.NDArray[np.float64], *, min_oks: float, min_keypoints: int
) -> tuple[int, int]:
    """Count the reference poses that have a similar pose in `found`.

    A pose in `found` can match several reference poses.

    Args:
        truth: Reference poses.
        found: The other poses.
        sigmas: Sigmas of the keypoints, (n,).
        min_oks: Minimum OKS of a match.
        min_keypoints: Reference poses with fewer keypoints are ignored.

    Returns:
        Number of matched reference poses, and number of reference poses with enough keypoints.
    """
    counted = [pose for pose in truth if (pose.keypoints[:, 2] > 0).sum() >= min_keypoints]
    hits = sum(
        any(compute_oks(pose.keypoints, other.keypoints, sigmas) >= min_oks for other in found) for pose in counted
    )
    return hits, len(counted)
