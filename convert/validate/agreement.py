"""Agreement of two models: average precision (AP) of the poses of one model, with those of the other as ground truth.

It works as COCO's AP over OKS 0.5 to 0.95, but every pose counts with its score: a weak pose that only one model finds
changes little, a strong one much. No annotations are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ...runtime.oks import compute_oks
from ...runtime.types import Pose

_OKS_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)


@dataclass
class PoseAgreement:
    """Collector of the poses of many images.

    Attributes:
        sigmas: OKS sigmas of the keypoints, (n,).
        min_keypoints: Poses of the reference with fewer keypoints do not count.
    """

    sigmas: npt.NDArray[np.float64]
    min_keypoints: int
    people: int = 0
    """Number of reference poses that count."""
    _weight: float = 0.0
    """Sum of the scores of these poses."""
    _found: list[tuple[float, npt.NDArray[np.float64]]] = field(default_factory=list)
    """Score of every found pose, and for each OKS threshold the score of the reference pose that it matches, else 0."""

    def add(self, reference: Sequence[Pose], found: Sequence[Pose]) -> None:
        """Add the poses of both models in one image."""
        counted = [pose for pose in reference if (pose.keypoints[:, 2] > 0).sum() >= self.min_keypoints]
        weights = np.array([pose.score for pose in counted])
        self.people += len(counted)
        self._weight += float(weights.sum())
        ranked = sorted(found, key=lambda pose: -pose.score)
        similarity = np.array(
            [[compute_oks(truth.keypoints, pose.keypoints, self.sigmas) for truth in counted] for pose in ranked]
        ).reshape(len(ranked), len(counted))
        matched = np.zeros((len(ranked), len(_OKS_THRESHOLDS)))
        for column, threshold in enumerate(_OKS_THRESHOLDS):
            free = np.ones(len(counted), bool)
            for row in range(len(ranked)):
                candidates = np.where(free & (similarity[row] >= threshold), similarity[row], -1.0)
                if candidates.size and candidates.max() >= 0:
                    best = int(candidates.argmax())
                    free[best] = False
                    matched[row, column] = weights[best]
        self._found.extend((pose.score, matched[row]) for row, pose in enumerate(ranked))

    def compute_ap(self) -> float | None:
        """Return the AP, 0 to 1; None if the reference has found nobody."""
        if not self._weight:
            return None
        if not self._found:
            return 0.0
        ranked = sorted(self._found, key=lambda entry: -entry[0])
        hits = np.array([entry[1] for entry in ranked])
        misses = np.array([entry[0] for entry in ranked])[:, None] * (hits == 0)
        true, false = hits.cumsum(axis=0), misses.cumsum(axis=0)
        recall = true / self._weight
        precision = true / np.maximum(true + false, 1e-12)
        # As COCO: the best precision at this recall or a higher one.
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        ap = []
        for column in range(len(_OKS_THRESHOLDS)):
            places = np.searchsorted(recall[:, column], _RECALLS - 1e-9)
            reached = places < len(ranked)
            ap.append(np.where(reached, precision[np.minimum(places, len(ranked) - 1), column], 0.0).mean())
        return float(np.mean(ap))
