"""Steadier keypoints: the One-Euro filter (Casiez et al., "1 Euro Filter", CHI 2012), one for each of a person's.

A low-pass filter whose cutoff rises with speed: still keypoints stop trembling, fast ones do not lag. Speeds are taken
in heights of the person, so that one setting serves people near and far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import pi

import numpy as np
import numpy.typing as npt

from ...runtime.types import Pose

Points = npt.NDArray[np.float32]
Real = npt.NDArray[np.floating]


class OneEuroSmoother:
    """Filters poses that a `Tracker` has numbered; others pass unchanged."""

    def __init__(
        self, min_cutoff_hz: float = 1.5, beta: float = 4.0, speed_cutoff_hz: float = 1.0, keep_s: float = 1.0
    ) -> None:
        """`min_cutoff_hz`: of a still keypoint; lower is steadier. `beta`: how much speed opens the filter."""
        if not (min_cutoff_hz > 0 and beta >= 0 and speed_cutoff_hz > 0):
            raise ValueError("expected cutoffs above 0 and beta of at least 0")
        self._min, self._beta, self._speed_cutoff, self._keep_s = min_cutoff_hz, beta, speed_cutoff_hz, keep_s
        # A row a person: filtered places (NaN where absent), filtered speeds in heights a second, when.
        self._row: dict[int, int] = {}
        self._points = np.zeros((0, 0, 2), np.float32)
        self._speeds = np.zeros((0, 0, 2), np.float32)
        self._time_s = np.zeros(0)

    def update(self, poses: Sequence[Pose], time_s: float) -> tuple[Pose, ...]:
        """The poses with smoothed keypoints; `time_s` as for the tracker."""
        numbered = [place for place, pose in enumerate(poses) if pose.person]
        if not numbered:
            return tuple(poses)
        keypoints = np.stack([poses[place].keypoints for place in numbered])
        rows = self._rows([poses[place].person for place in numbered], keypoints.shape[1], time_s)
        self._filter(rows, keypoints, time_s)
        smoothed = list(poses)
        for place, points in zip(numbered, keypoints, strict=True):
            smoothed[place] = replace(poses[place], keypoints=points)
        return tuple(smoothed)

    def _rows(self, people: Sequence[int], parts: int, time_s: float) -> npt.NDArray[np.int64]:
        """The rows of these people; new ones are empty. Those who have been away too long lose theirs."""
        gone = [who for who, row in self._row.items() if not 0 <= time_s - self._time_s[row] <= self._keep_s]
        for who in gone:
            self._points[self._row.pop(who)] = np.nan
        new = [who for who in people if who not in self._row]
        if new:
            free = sorted(set(range(len(self._time_s))) - set(self._row.values()))
            more = max(0, len(new) - len(free))
            if more:
                free += range(len(self._time_s), len(self._time_s) + more)
                empty = np.full((more, parts, 2), np.nan, np.float32)
                self._points = np.concatenate((self._points.reshape(-1, parts, 2), empty))
                self._speeds = np.concatenate((self._speeds.reshape(-1, parts, 2), np.zeros_like(empty)))
                self._time_s = np.concatenate((self._time_s, np.zeros(more)))
            for who, row in zip(new, free, strict=False):
                self._row[who] = row
                self._time_s[row] = time_s
        return np.array([self._row[who] for who in people])

    def _filter(self, rows: npt.NDArray[np.int64], keypoints: Points, time_s: float) -> None:
        """Filters (n, parts, 3) in place."""
        there = keypoints[:, :, 2:] > 0
        points = keypoints[:, :, :2]
        old, speeds = self._points[rows], self._speeds[rows]
        elapsed = (time_s - self._time_s[rows])[:, None, None]
        # A keypoint that comes back starts anew: where it was before says nothing of how it moves.
        known = np.isfinite(old) & there & (elapsed > 0)
        low = np.where(there, points, np.inf).min(axis=1)
        high = np.where(there, points, -np.inf).max(axis=1)
        size = np.maximum((high - low).max(axis=1), 1.0)[:, None, None]
        safe = np.maximum(elapsed, 1e-6)
        moved = np.where(known, points - old, 0)
        speeds += _share(self._speed_cutoff, safe) * (moved / (safe * size) - speeds)
        speeds *= known
        cutoff = self._min + self._beta * np.abs(speeds)
        # points = old + share * (new - old), and new where there is no old.
        points -= ((1 - _share(cutoff, safe)) * moved).astype(np.float32)
        self._points[rows] = np.where(there, points, np.nan)
        self._speeds[rows], self._time_s[rows] = speeds, time_s


def _share(cutoff: float | Real, elapsed: Real) -> Real:
    """Share of the new value in a first-order low-pass filter."""
    turn = 2 * pi * elapsed * cutoff
    return np.asarray(turn / (turn + 1))
