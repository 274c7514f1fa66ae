"""Who is who from frame to frame: every person found is joined to the person of the frame before that fits best.

Similarity is OKS, as in flow-less tracking of Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking"
(2018), against where the person would be by now: its last pose, moved on by its velocity. All pairs at once in NumPy:
ten people cost some hundred microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ...runtime.oks import sigmas
from ...runtime.skeleton import COCO18, Skeleton
from ...runtime.types import Pose

Points = npt.NDArray[np.float32]

_TOLERANCE = 2.0
"""A moving person is not a slip of an annotator: keypoints may be off by so many times COCO's spread."""
_DAMPING = 0.5
"""Share of the newest velocity in the one that is believed."""
_COMMON = 3
"""Keypoints that two poses must share to be compared."""


class Tracker:
    """Gives every pose its person's number. For one source of frames."""

    def __init__(self, skeleton: Skeleton = COCO18, *, least: float = 0.15, keep_s: float = 1.0) -> None:
        """`least`: OKS below which two poses are two people. `keep_s`: how long an absent person is remembered."""
        if not (0 < least < 1 and keep_s >= 0):
            raise ValueError(f"expected 0 < least < 1 and keep_s >= 0, got {least} and {keep_s}")
        parts = len(skeleton.keypoints)
        self._precision = (-0.5 / np.square(2 * _TOLERANCE * sigmas(skeleton.keypoints))).astype(np.float32)
        self._least, self._keep_s = least, keep_s
        # A row a person that is remembered: number, where each keypoint was last seen, pixels a second, when.
        self._person = np.zeros(0, np.int64)
        self._keypoints = np.zeros((0, parts, 3), np.float32)
        self._velocity = np.zeros((0, 2), np.float32)
        self._seen_s = np.zeros(0)
        self.people = 0
        """Numbers given so far."""

    def update(self, poses: Sequence[Pose], time_s: float) -> tuple[Pose, ...]:
        """The same poses with their numbers; `time_s`: exposure of the frame, not earlier than the last one's."""
        age = time_s - self._seen_s
        if not ((age >= 0) & (age <= self._keep_s)).all():
            self._keep((age >= 0) & (age <= self._keep_s))
        if not poses:
            return ()
        found = np.stack([pose.keypoints for pose in poses])
        rows = self._owners(found, time_s)
        known = rows >= 0
        if known.any():
            self._move(rows[known], found[known], time_s)
        if not known.all():
            self._add(found[~known], time_s)
            rows[~known] = np.arange(len(self._person) - int((~known).sum()), len(self._person))
        return tuple(
            replace(pose, person=person) for pose, person in zip(poses, self._person[rows].tolist(), strict=True)
        )

    def _owners(self, found: Points, time_s: float) -> npt.NDArray[np.int64]:
        """For every pose the row of the person it fits best, each row once; -1 where none fits."""
        rows = np.full(len(found), -1)
        if not len(self._person):
            return rows
        similar = self._similarity(found, time_s)
        columns = similar.shape[1]
        for _ in range(min(similar.shape)):
            row, column = divmod(int(similar.argmax()), columns)
            if similar[row, column] < self._least:
                break
            rows[row] = column
            similar[row], similar[:, column] = -1, -1
        return rows

    def _similarity(self, found: Points, time_s: float) -> Points:
        """OKS (poses, people) over the keypoints that both have, on the scale of the larger of the two."""
        ahead = self._velocity * (time_s - self._seen_s)[:, None].astype(np.float32)
        expected = self._keypoints[:, :, :2] + ahead[:, None]
        both = (found[:, None, :, 2] > 0) & (self._keypoints[None, :, :, 2] > 0)
        area = np.maximum(_areas(found)[:, None], _areas(self._keypoints)[None])
        apart = found[:, None, :, :2] - expected[None]
        apart *= apart
        each = np.exp(apart.sum(axis=-1) / area[..., None] * self._precision) * both
        count = both.sum(axis=-1)
        return np.asarray(np.where(count >= _COMMON, each.sum(axis=-1) / np.maximum(count, 1), 0), np.float32)

    def _move(self, rows: npt.NDArray[np.int64], found: Points, time_s: float) -> None:
        old = self._keypoints[rows]
        there = found[:, :, 2] > 0
        both = there & (old[:, :, 2] > 0)
        elapsed = (time_s - self._seen_s[rows])[:, None].astype(np.float32)
        steps = ((found[:, :, :2] - old[:, :, :2]) * both[:, :, None]).sum(axis=1)
        steps /= np.maximum(both.sum(axis=1), 1)[:, None]
        velocity = self._velocity[rows]
        velocity += np.float32(_DAMPING) * (steps / np.maximum(elapsed, 1e-6) - velocity) * (elapsed > 0)
        # What is hidden goes with the rest of the body, so that it is found again where it must be.
        old[:, :, :2] += (velocity * elapsed)[:, None]
        self._keypoints[rows] = np.where(there[:, :, None], found, old)
        self._velocity[rows] = velocity
        self._seen_s[rows] = time_s

    def _add(self, found: Points, time_s: float) -> None:
        count = len(found)
        self._person = np.concatenate((self._person, np.arange(self.people + 1, self.people + count + 1)))
        self._keypoints = np.concatenate((self._keypoints, found))
        self._velocity = np.concatenate((self._velocity, np.zeros((count, 2), np.float32)))
        self._seen_s = np.concatenate((self._seen_s, np.full(count, time_s)))
        self.people += count

    def _keep(self, rows: npt.NDArray[np.bool_]) -> None:
        self._person, self._keypoints = self._person[rows], self._keypoints[rows]
        self._velocity, self._seen_s = self._velocity[rows], self._seen_s[rows]


def _areas(people: Points) -> npt.NDArray[np.float32]:
    """Of the boxes around the keypoints that are there, times 0.53, as OKS has it; (n,)."""
    there = people[:, :, 2:] > 0
    low = np.where(there, people[:, :, :2], np.inf).min(axis=1)
    high = np.where(there, people[:, :, :2], -np.inf).max(axis=1)
    return np.asarray(0.53 * np.maximum(high - low, 1.0).prod(axis=1), np.float32)
