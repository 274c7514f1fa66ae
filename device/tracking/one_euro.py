"""Keypoint smoothing with the One-Euro filter (Casiez et al., "1 Euro Filter", CHI 2012), one filter per keypoint.

The filter is a low-pass filter whose cutoff frequency rises with the speed: jitter of still keypoints is removed, and
fast keypoints do not lag. Speeds are measured in person heights per second, so that the same settings work for people
near and far.
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
    """One-Euro filter for poses that a `Tracker` has numbered; poses without a number are not changed."""

    def __init__(
        self, min_cutoff_hz: float = 1.5, beta: float = 4.0, speed_cutoff_hz: float = 1.0, max_absence_s: float = 1.0
    ) -> None:
        """Create a filter without people.

        Args:
            min_cutoff_hz: Cutoff frequency for a still keypoint; lower values remove more jitter.
            beta: Increase of the cutoff frequency in Hz per person height per second; higher values reduce the lag.
            speed_cutoff_hz: Cutoff frequency of the low-pass filter for the speed.
            max_absence_s: Time in seconds for which the state of an absent person is kept.

        Raises:
            ValueError: A cutoff frequency is not above 0, or `beta` is negative.
        """
        if not (min_cutoff_hz > 0 and beta >= 0 and speed_cutoff_hz > 0):
            raise ValueError(
                "OneEuroSmoother: expected cutoff frequencies above 0 and beta of at least 0, "
                f"got {min_cutoff_hz:g} Hz, {speed_cutoff_hz:g} Hz and beta {beta:g}"
            )
        self._min_cutoff_hz, self._beta, self._speed_cutoff_hz, self._max_absence_s = (
            min_cutoff_hz, beta, speed_cutoff_hz, max_absence_s
        )  # fmt: skip
        # One row per person: filtered position (NaN if absent), filtered speed in heights per second, time of the last
        # update.
        self._row_of_person: dict[int, int] = {}
        self._points = np.zeros((0, 0, 2), np.float32)
        self._speeds = np.zeros((0, 0, 2), np.float32)
        self._time_s = np.zeros(0)

    def update(self, poses: Sequence[Pose], time_s: float) -> tuple[Pose, ...]:
        """Smooth the poses of one frame.

        Args:
            poses: Poses with their person numbers, in frame pixels.
            time_s: Capture time of the frame in seconds, not earlier than that of the previous call.

        Returns:
            The poses in the same order, with smoothed keypoints.
        """
        numbered = [index for index, pose in enumerate(poses) if pose.person]
        if not numbered:
            return tuple(poses)
        keypoints = np.stack([poses[index].keypoints for index in numbered])
        rows = self._find_rows([poses[index].person for index in numbered], keypoints.shape[1], time_s)
        self._filter(rows, keypoints, time_s)
        smoothed = list(poses)
        for index, points in zip(numbered, keypoints, strict=True):
            smoothed[index] = replace(poses[index], keypoints=points)
        return tuple(smoothed)

    def _find_rows(self, people: Sequence[int], keypoint_count: int, time_s: float) -> npt.NDArray[np.int64]:
        """Return the row of each person; new people get an empty row."""
        self._forget_absent_people(time_s)
        new_people = [person for person in people if person not in self._row_of_person]
        free_rows = self._find_free_rows(len(new_people), keypoint_count)
        for person, row in zip(new_people, free_rows, strict=True):
            self._row_of_person[person] = row
            self._time_s[row] = time_s
        return np.array([self._row_of_person[person] for person in people])

    def _forget_absent_people(self, time_s: float) -> None:
        for person, row in list(self._row_of_person.items()):
            # The age is negative if a repeated video has started again.
            age_s = time_s - self._time_s[row]
            if not 0 <= age_s <= self._max_absence_s:
                del self._row_of_person[person]
                self._points[row] = np.nan

    def _find_free_rows(self, count: int, keypoint_count: int) -> list[int]:
        """Return the first `count` rows that no person uses; append rows if there are too few."""
        used = set(self._row_of_person.values())
        free = [row for row in range(len(self._time_s)) if row not in used]
        missing = count - len(free)
        if missing > 0:
            free += range(len(self._time_s), len(self._time_s) + missing)
            self._append_rows(missing, keypoint_count)
        return free[:count]

    def _append_rows(self, count: int, keypoint_count: int) -> None:
        absent = np.full((count, keypoint_count, 2), np.nan, np.float32)
        self._points = np.concatenate((self._points.reshape(-1, keypoint_count, 2), absent))
        self._speeds = np.concatenate((self._speeds.reshape(-1, keypoint_count, 2), np.zeros_like(absent)))
        self._time_s = np.concatenate((self._time_s, np.zeros(count)))

    def _filter(self, rows: npt.NDArray[np.int64], keypoints: Points, time_s: float) -> None:
        """Filter keypoints (n, keypoints, 3) in place."""
        is_found = keypoints[:, :, 2:] > 0
        points = keypoints[:, :, :2]
        previous, speeds = self._points[rows], self._speeds[rows]
        elapsed_s = (time_s - self._time_s[rows])[:, None, None]
        # A keypoint that was absent starts without a history: its earlier position does not tell how it moves now.
        has_history = np.isfinite(previous) & is_found & (elapsed_s > 0)
        low = np.where(is_found, points, np.inf).min(axis=1)
        high = np.where(is_found, points, -np.inf).max(axis=1)
        size_px = np.maximum((high - low).max(axis=1), 1.0)[:, None, None]
        elapsed_s = np.maximum(elapsed_s, 1e-6)
        offset_px = np.where(has_history, points - previous, 0)
        speeds += _smoothing_factor(self._speed_cutoff_hz, elapsed_s) * (offset_px / (elapsed_s * size_px) - speeds)
        speeds *= has_history
        cutoff_hz = self._min_cutoff_hz + self._beta * np.abs(speeds)
        # points = previous + factor * (points - previous); points stay unchanged if there is no history.
        points -= ((1 - _smoothing_factor(cutoff_hz, elapsed_s)) * offset_px).astype(np.float32)
        self._points[rows] = np.where(is_found, points, np.nan)
        self._speeds[rows], self._time_s[rows] = speeds, time_s


def _smoothing_factor(cutoff_hz: float | Real, elapsed_s: Real) -> Real:
    """Compute the weight of the new value in a first-order low-pass filter."""
    ratio = 2 * pi * elapsed_s * cutoff_hz
    return np.asarray(ratio / (ratio + 1))
