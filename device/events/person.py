"""People as rules see them: keypoints as Python numbers, with measures that are computed once per frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ...runtime.types import Pose

Point = tuple[float, float]


class Person:
    """A tracked person in one frame. All coordinates are pixels of the frame, y points down.

    Attributes:
        number: Number of the person from tracking.
        pose: The pose.
        points: `[x, y, score]` per keypoint of the skeleton; score 0 if it was not found.
    """

    def __init__(self, pose: Pose, points: list[list[float]]) -> None:
        self.number, self.pose, self.points = pose.person, pose, points

    def get_point(self, index: int) -> Point | None:
        """Return a keypoint by its index in the skeleton; None if it was not found."""
        x, y, score = self.points[index]
        return (x, y) if score > 0 else None

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the keypoints that were found."""
        found = [point for point in self.points if point[2] > 0]
        xs, ys = [point[0] for point in found], [point[1] for point in found]
        return min(xs), min(ys), max(xs), max(ys)


def measure_people(poses: Sequence[Pose]) -> list[Person]:
    """Return the tracked people of one frame that have at least one keypoint."""
    tracked = [pose for pose in poses if pose.person and (pose.keypoints[:, 2] > 0).any()]
    if not tracked:
        return []
    points = np.stack([pose.keypoints for pose in tracked]).tolist()
    return [Person(pose, one) for pose, one in zip(tracked, points, strict=True)]
