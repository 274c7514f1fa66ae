"""Agreement of a model's poses with those of its float source: average precision with the source as ground truth.

The measure is COCO's: poses are matched by object keypoint similarity (OKS), best score first, at ten thresholds from
0.5 to 0.95, and the result is the mean area under the ten precision-recall curves. The difference: a pose counts with
its score as weight. A weak pose of the source, which rounding alone can remove, then counts little, and a person that
both see clearly counts most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ...runtime.oks import compute_oks
from ...runtime.types import Pose

OKS_THRESHOLDS = tuple(float(threshold) for threshold in np.linspace(0.5, 0.95, 10).round(2))
_RECALL_LEVELS = np.linspace(0, 1, 101)
_Floats = npt.NDArray[np.float64]


@dataclass
class PoseAgreement:
    """Collects the poses of both networks image by image, then computes the AP.

    Attributes:
        sigmas: OKS sigma of every keypoint.
        weight: Sum of the scores of the source's poses: how much evidence there is, about 0.5 for a clear person.
    """

    sigmas: _Floats
    weight: float = 0.0
    _scores: list[float] = field(default_factory=list)
    """Score of every pose of the model."""
    _gains: list[_Floats] = field(default_factory=list)
    """Weight of the source's pose that a pose of the model matched, at every threshold; 0 for no match."""

    def add(self, truth: Sequence[Pose], found: Sequence[Pose]) -> None:
        """Add the poses of one image.

        Args:
            truth: Poses of the source.
            found: Poses of the model, highest score first.
        """
        self.weight += sum(pose.score for pose in truth)
        similarity = np.array(
            [[compute_oks(pose.keypoints, other.keypoints, self.sigmas) for pose in truth] for other in found]
        ).reshape(len(found), len(truth))
        gains = np.stack([_match(similarity, truth, threshold) for threshold in OKS_THRESHOLDS], axis=1)
        self._scores += [pose.score for pose in found]
        self._gains += list(gains)

    def compute_ap(self) -> float | None:
        """Compute the AP, 0 to 1; None if the source found no people."""
        if self.weight <= 0:
            return None
        if not self._scores:
            return 0.0
        scores = np.array(self._scores)
        order = np.argsort(-scores, kind="stable")
        gains, scores = np.array(self._gains)[order], scores[order]
        return float(np.mean([self._compute_area(gains[:, i], scores) for i in range(len(OKS_THRESHOLDS))]))

    def _compute_area(self, gains: _Floats, scores: _Floats) -> float:
        """Compute the area under a precision-recall curve, interpolated at 101 levels of recall as COCO does."""
        hits = np.cumsum(gains)
        misses = np.cumsum(np.where(gains > 0, 0.0, scores))
        precision = np.maximum.accumulate((hits / np.maximum(hits + misses, 1e-12))[::-1])[::-1]
        # Rounding of the sum must not lose the last level.
        position = np.searchsorted(hits / self.weight + 1e-9, _RECALL_LEVELS)
        return float(np.append(precision, 0.0)[position].mean())


def _match(similarity: _Floats, truth: Sequence[Pose], threshold: float) -> _Floats:
    """Match every pose of the model to the most similar pose of the source that is left; return the weights."""
    left = similarity.copy()
    gains = np.zeros(len(similarity))
    for number in range(len(similarity) if truth else 0):
        best = int(left[number].argmax())
        if left[number, best] >= threshold:
            gains[number] = truth[best].score
            left[:, best] = -1
    return gains
