"""Steadier keypoints: the One-Euro filter (Casiez et al., "1 Euro Filter", CHI 2012), one for each of a person's.

A low-pass filter whose cutoff rises with speed: still keypoints stop trembling, fast ones do not lag. Speeds are taken
in heights of the person, so that one setting serves people near and far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi

import numpy as np
import numpy.typing as npt

from edgepose.runtime.types import Pose

Points = npt.NDArray[np.float32]
Real = npt.NDArray[np.floating]


@dataclass
class _State:
    points: Points
    """Filtered places (parts, 2); NaN where a keypoint was absent."""
    speed: Points
    """Filtered, heights a second."""
    time_s: float


class Smoother:
    """Filters poses that a `Tracker` has numbered; others pass unchanged."""

    def __init__(
        self, min_cutoff_hz: float = 1.5, beta: float = 4.0, speed_cutoff_hz: float = 1.0, keep_s: float = 1.0
    ) -> None:
        """`min_cutoff_hz`: of a still keypoint; lower is steadier. `beta`: how much speed opens the filter."""
        if not (min_cutoff_hz > 0 and beta >= 0 and speed_cutoff_hz > 0):
            raise ValueError("expected cutoffs above 0 and beta of at least 0")
        self._min, self._beta, self._speed, self._keep_s = min_cutoff_hz, beta, speed_cutoff_hz, keep_s
        self._known: dict[int, _State] = {}

    def update(self, poses: Sequence[Pose], time_s: float) -> tuple[Pose, ...]:
        """The poses with smoothed keypoints; `time_s` as for the tracker."""
        self._known = {person: state for person, state in self._known.items() if time_s - state.time_s <= self._keep_s}
        return tuple(self._smoothed(pose, time_s) if pose.person else pose for pose in poses)

    def _smoothed(self, pose: Pose, time_s: float) -> Pose:
        there = pose.keypoints[:, 2] > 0
        points = np.where(there[:, None], pose.keypoints[:, :2], np.nan).astype(np.float32)
        state = self._known.get(pose.person)
        if state is None or time_s <= state.time_s:
            self._known[pose.person] = _State(points, np.zeros_like(points), time_s)
            return pose
        elapsed = time_s - state.time_s
        box = pose.bbox
        size = max(box.width, box.height, 1.0)
        # A keypoint that comes back starts anew: where it was before says nothing of how it moves.
        old = np.isfinite(state.points)
        speed = np.where(old, (points - state.points) / (elapsed * size), 0)
        state.speed = np.where(old, _blend(state.speed, speed, _share(self._speed, elapsed)), 0).astype(np.float32)
        state.speed[~there] = 0
        cutoff = self._min + self._beta * np.abs(state.speed)
        state.points = np.where(old, _blend(state.points, points, _share(cutoff, elapsed)), points).astype(np.float32)
        state.time_s = time_s
        keypoints = pose.keypoints.copy()
        keypoints[there, :2] = state.points[there]
        return pose._replace(keypoints=keypoints)


def _share(cutoff: float | Real, elapsed: float) -> float | Real:
    """Share of the new value in a first-order low-pass filter."""
    turn = 2 * pi * elapsed * cutoff
    return turn / (turn + 1)


def _blend(old: Real, new: Real, share: float | Real) -> Points:
    return np.asarray(old + share * (new - old), np.float32)
