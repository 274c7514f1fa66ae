"""Who is who from frame to frame: every person found is joined to the person of the frame before that fits best.

Similarity is OKS, as in flow-less tracking of Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking"
(2018), against where the person would be by now: its last pose, moved on by its velocity. All pairs at once in NumPy:
ten people cost some hundred microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgepose.runtime.oks import spreads
from edgepose.runtime.skeleton import COCO18, Skeleton
from edgepose.runtime.types import Pose

Points = npt.NDArray[np.float32]

_TOLERANCE = 2.0
"""A moving person is not a slip of an annotator: keypoints may be off by so many times COCO's spread."""
_DAMPING = 0.5
"""Share of the newest velocity in the one that is believed."""
_COMMON = 3
"""Keypoints that two poses must share to be compared."""


@dataclass
class _Track:
    person: int
    keypoints: Points
    """Where each keypoint was last seen."""
    velocity: npt.NDArray[np.float32]
    """Of the middle, pixels a second."""
    seen_s: float


class Tracker:
    """Gives every pose its person's number. For one source of frames."""

    def __init__(self, skeleton: Skeleton = COCO18, *, least: float = 0.15, keep_s: float = 1.0) -> None:
        """`least`: OKS below which two poses are two people. `keep_s`: how long an absent person is remembered."""
        if not (0 < least < 1 and keep_s >= 0):
            raise ValueError(f"expected 0 < least < 1 and keep_s >= 0, got {least} and {keep_s}")
        self._variance = np.square(2 * _TOLERANCE * spreads(skeleton.keypoints)).astype(np.float32)
        self._least, self._keep_s = least, keep_s
        self._tracks: list[_Track] = []
        self.people = 0
        """Numbers given so far."""

    def update(self, poses: Sequence[Pose], time_s: float) -> tuple[Pose, ...]:
        """The same poses with their numbers; `time_s`: exposure of the frame, not earlier than the last one's."""
        self._tracks = [track for track in self._tracks if 0 <= time_s - track.seen_s <= self._keep_s]
        if not poses:
            return ()
        found = np.stack([pose.keypoints for pose in poses])
        owner: dict[int, _Track] = {}
        if self._tracks:
            similar = self._similarity(found, time_s)
            for _ in range(min(similar.shape)):
                row, column = np.unravel_index(int(similar.argmax()), similar.shape)
                if similar[row, column] < self._least:
                    break
                owner[int(row)] = self._tracks[int(column)]
                similar[row], similar[:, column] = -1, -1
        named = []
        for number, pose in enumerate(poses):
            track = owner.get(number)
            if track is None:
                self.people += 1
                track = _Track(self.people, pose.keypoints.copy(), np.zeros(2, np.float32), time_s)
                self._tracks.append(track)
            else:
                _move(track, pose.keypoints, time_s)
            named.append(pose._replace(person=track.person))
        return tuple(named)

    def _similarity(self, found: Points, time_s: float) -> Points:
        """OKS (poses, tracks) over the keypoints that both have, on the scale of the larger of the two."""
        tracks = np.stack([track.keypoints for track in self._tracks])
        ahead = np.stack([track.velocity * (time_s - track.seen_s) for track in self._tracks])
        expected = tracks[:, :, :2] + ahead[:, None]
        both = (found[:, None, :, 2] > 0) & (tracks[None, :, :, 2] > 0)
        area = np.maximum(_areas(found)[:, None], _areas(tracks)[None])
        distance = np.square(found[:, None, :, :2] - expected[None]).sum(axis=-1)
        each = np.exp(-distance / (2 * area[..., None] * self._variance)) * both
        count = both.sum(axis=-1)
        return np.asarray(np.where(count >= _COMMON, each.sum(axis=-1) / np.maximum(count, 1), 0), np.float32)


def _areas(people: Points) -> npt.NDArray[np.float32]:
    """Of the boxes around the keypoints that are there, times 0.53, as OKS has it; (n,)."""
    there = people[:, :, 2:] > 0
    low = np.where(there, people[:, :, :2], np.inf).min(axis=1)
    high = np.where(there, people[:, :, :2], -np.inf).max(axis=1)
    return np.asarray(0.53 * np.maximum(high - low, 1.0).prod(axis=1), np.float32)


def _move(track: _Track, keypoints: Points, time_s: float) -> None:
    there = keypoints[:, 2] > 0
    both = there & (track.keypoints[:, 2] > 0)
    elapsed = time_s - track.seen_s
    if elapsed > 0 and both.any():
        velocity = (keypoints[both, :2] - track.keypoints[both, :2]).mean(axis=0) / elapsed
        track.velocity += np.float32(_DAMPING) * (velocity - track.velocity)
    # What is hidden goes with the rest of the body, so that it is found again where it must be.
    track.keypoints[~there, :2] += track.velocity * max(elapsed, 0.0)
    track.keypoints[there] = keypoints[there]
    track.seen_s = time_s
