"""Person tracker based on OKS: each pose is matched to the person of the previous frames that fits best.

The similarity is the OKS between a pose and the predicted pose of a person, which is the last pose moved by the
velocity of the person, as in the tracking without optical flow of Xiao et al., "Simple Baselines for Human Pose
Estimation and Tracking" (2018). NumPy computes all pairs at once: a frame with ten people takes a few hundred
microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ...runtime.oks import get_sigmas
from ...runtime.skeleton import COCO18, Skeleton
from ...runtime.types import Pose

Points = npt.NDArray[np.float32]

_SIGMA_FACTOR = 2.0
"""Factor for the keypoint sigmas of COCO, which describe annotation errors: the errors of a prediction are larger."""
_VELOCITY_WEIGHT = 0.5
"""Weight of the newest measurement in the running average of the velocity."""
_MIN_COMMON_KEYPOINTS = 3
"""Two poses are compared only if both have at least this number of keypoints."""


class Tracker:
    """Tracker that assigns a number to each person. Use one tracker per source of frames."""

    def __init__(self, skeleton: Skeleton = COCO18, *, min_oks: float = 0.15, max_absence_s: float = 1.0) -> None:
        """Create a tracker without people.

        Args:
            skeleton: Skeleton of the poses.
            min_oks: Minimum OKS, above 0 and below 1. A pose that is less similar to all people is a new person.
            max_absence_s: Time in seconds after which an absent person is forgotten.

        Raises:
            ValueError: A parameter is out of range.
        """
        if not isinstance(skeleton, Skeleton):
            raise TypeError(f"Tracker: expected a Skeleton, got {type(skeleton).__name__}")
        if not (0 < min_oks < 1 and max_absence_s >= 0):
            raise ValueError(
                "Tracker: expected a minimum OKS above 0 and below 1, and an absence of at least 0 s, "
                f"got {min_oks:g} and {max_absence_s:g} s"
            )
        keypoint_count = len(skeleton.keypoints)
        self._exponent_factors = (-0.5 / np.square(2 * _SIGMA_FACTOR * get_sigmas(skeleton))).astype(np.float32)
        self._min_oks, self._max_absence_s = min_oks, max_absence_s
        # One row per known person: number, last position of each keypoint, velocity in pixels per second, time of the
        # last pose.
        self._person = np.zeros(0, np.int64)
        self._keypoints = np.zeros((0, keypoint_count, 3), np.float32)
        self._velocity = np.zeros((0, 2), np.float32)
        self._seen_s = np.zeros(0)
        self.people_count = 0
        """Number of people that were assigned a number so far."""

    def update(self, poses: Sequence[Pose], time_s: float) -> tuple[Pose, ...]:
        """Assign the poses of one frame to people.

        Args:
            poses: Poses in frame pixels.
            time_s: Capture time of the frame in seconds, not earlier than that of the previous call. If it is earlier,
                the people are forgotten.

        Returns:
            The poses in the same order, with their person numbers (from 1).

        Raises:
            ValueError: The poses do not have the keypoints of the tracker's skeleton.
        """
        age_s = time_s - self._seen_s
        is_recent = (age_s >= 0) & (age_s <= self._max_absence_s)
        if not is_recent.all():
            self._keep_rows(is_recent)
        if not poses:
            return ()
        found = np.stack([pose.keypoints for pose in poses])
        if found.shape[1:] != self._keypoints.shape[1:]:
            raise ValueError(
                f"Tracker: expected poses with {self._keypoints.shape[1]} keypoints, got {found.shape[1]}; "
                "create the tracker with the skeleton of the poses: Tracker(pose.skeleton)"
            )
        rows = self._match(found, time_s)
        is_known = rows >= 0
        if is_known.any():
            self._update_people(rows[is_known], found[is_known], time_s)
        if not is_known.all():
            self._add_people(found[~is_known], time_s)
            rows[~is_known] = np.arange(len(self._person) - int((~is_known).sum()), len(self._person))
        return tuple(
            replace(pose, person=person) for pose, person in zip(poses, self._person[rows].tolist(), strict=True)
        )

    def _match(self, found: Points, time_s: float) -> npt.NDArray[np.int64]:
        """Match poses to people greedily by OKS.

        Returns:
            The row of a person for each pose, each row at most once; -1 for a pose without a match.
        """
        rows = np.full(len(found), -1)
        if not len(self._person):
            return rows
        oks = self._compute_oks(found, time_s)
        columns = oks.shape[1]
        for _ in range(min(oks.shape)):
            row, column = divmod(int(oks.argmax()), columns)
            if oks[row, column] < self._min_oks:
                break
            rows[row] = column
            oks[row], oks[:, column] = -1, -1
        return rows

    def _compute_oks(self, found: Points, time_s: float) -> Points:
        """Compute the OKS (poses, people) over the common keypoints, with the area of the larger pose of each pair."""
        offset = self._velocity * (time_s - self._seen_s)[:, None].astype(np.float32)
        predicted = self._keypoints[:, :, :2] + offset[:, None]
        is_common = (found[:, None, :, 2] > 0) & (self._keypoints[None, :, :, 2] > 0)
        area = np.maximum(_estimate_areas(found)[:, None], _estimate_areas(self._keypoints)[None])
        distance = found[:, None, :, :2] - predicted[None]
        distance *= distance
        similarity = np.exp(distance.sum(axis=-1) / area[..., None] * self._exponent_factors) * is_common
        count = is_common.sum(axis=-1)
        oks = similarity.sum(axis=-1) / np.maximum(count, 1)
        return np.asarray(np.where(count >= _MIN_COMMON_KEYPOINTS, oks, 0), np.float32)

    def _update_people(self, rows: npt.NDArray[np.int64], found: Points, time_s: float) -> None:
        """Update keypoints and velocity of the matched people."""
        keypoints = self._keypoints[rows]
        is_found = found[:, :, 2] > 0
        is_common = is_found & (keypoints[:, :, 2] > 0)
        elapsed_s = (time_s - self._seen_s[rows])[:, None].astype(np.float32)
        motion = ((found[:, :, :2] - keypoints[:, :, :2]) * is_common[:, :, None]).sum(axis=1)
        motion /= np.maximum(is_common.sum(axis=1), 1)[:, None]
        velocity = self._velocity[rows]
        velocity += np.float32(_VELOCITY_WEIGHT) * (motion / np.maximum(elapsed_s, 1e-6) - velocity) * (elapsed_s > 0)
        # Keypoints that are hidden now move with the body, so that they match when they are visible again.
        keypoints[:, :, :2] += (velocity * elapsed_s)[:, None]
        self._keypoints[rows] = np.where(is_found[:, :, None], found, keypoints)
        self._velocity[rows] = velocity
        self._seen_s[rows] = time_s

    def _add_people(self, found: Points, time_s: float) -> None:
        count = len(found)
        self._person = np.concatenate((self._person, np.arange(self.people_count + 1, self.people_count + count + 1)))
        self._keypoints = np.concatenate((self._keypoints, found))
        self._velocity = np.concatenate((self._velocity, np.zeros((count, 2), np.float32)))
        self._seen_s = np.concatenate((self._seen_s, np.full(count, time_s)))
        self.people_count += count

    def _keep_rows(self, rows: npt.NDArray[np.bool_]) -> None:
        self._person, self._keypoints = self._person[rows], self._keypoints[rows]
        self._velocity, self._seen_s = self._velocity[rows], self._seen_s[rows]


def _estimate_areas(people: Points) -> npt.NDArray[np.float32]:
    """Estimate the areas (n,) of people: 0.53 times the bounding box of the found keypoints, as for OKS."""
    is_found = people[:, :, 2:] > 0
    low = np.where(is_found, people[:, :, :2], np.inf).min(axis=1)
    high = np.where(is_found, people[:, :, :2], -np.inf).max(axis=1)
    return np.asarray(0.53 * np.maximum(high - low, 1.0).prod(axis=1), np.float32)
