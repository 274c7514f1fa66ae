"""People as rules see them: keypoints as Python numbers, with measures that are computed once per frame."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, inf

import numpy as np

from ...runtime.skeleton import COCO18, Skeleton
from ...runtime.types import Pose
from .body import Body
from .body_anchor import BodyAnchor, BodyIndex, measure_torso
from .geometry import Point


class Person:
    """A tracked person in one frame. All coordinates are pixels of the frame, y points down.

    Attributes:
        number: Number of the person from tracking.
        pose: The pose.
        points: `[x, y, score]` per keypoint of the skeleton; score 0 if it was not found.
        time_s: Time of the frame.
        anchor: What is remembered about the body of this person from frame to frame.
        body: Measures of the body, set by the first rule that needs them (`body.get_body`).
    """

    __slots__ = ("_box", "_is_observed", "anchor", "body", "number", "points", "pose", "time_s")

    def __init__(self, pose: Pose, points: list[list[float]], time_s: float, anchor: BodyAnchor) -> None:
        self.number, self.pose, self.points = pose.person, pose, points
        self.time_s, self.anchor = time_s, anchor
        self.body: Body | None = None
        # Not `cached_property`, which takes a lock in Python 3.11.
        self._box: tuple[float, float, float, float] | None = None
        self._is_observed = False

    def get_point(self, index: int) -> Point | None:
        """Return a keypoint by its index in the skeleton; None if it was not found."""
        x, y, score = self.points[index]
        return (x, y) if score > 0 else None

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the keypoints that were found."""
        if self._box is None:
            left = top = inf
            right = bottom = -inf
            for x, y, score in self.points:
                if score > 0:
                    # Twice as fast as `min` and `max`.
                    if x < left:
                        left = x
                    if x > right:
                        right = x
                    if y < top:
                        top = y
                    if y > bottom:
                        bottom = y
            self._box = left, top, right, bottom
        return self._box

    @property
    def height(self) -> float:
        """Height of the body in pixels as if it stood upright, estimated from torso and legs; always above 0.

        It is the same for a person who sits or lies, and hardly changes if keypoints are missing.
        """
        if not self._is_observed:
            self._observe()
        return self.anchor.height

    @property
    def center(self) -> Point:
        """Center of the torso, estimated from all keypoints, so that it does not jump if some are missing."""
        if not self._is_observed:
            self._observe()
        return self.anchor.center

    @property
    def feet(self) -> Point:
        """Point between the ankles; estimated from the rest of the body if they were not found."""
        if not self._is_observed:
            self._observe()
        return self.anchor.feet

    @property
    def speed(self) -> float:
        """Speed of the center in heights per second, smoothed."""
        height = self.height
        return hypot(*self.anchor.velocity) / height

    @property
    def torso(self) -> float | None:
        """Length from neck to hips in pixels, in this frame; None if they were not found."""
        return measure_torso(self.points, self.anchor.index)

    def _observe(self) -> None:
        self._is_observed = True
        self.anchor.observe(self.points, self.time_s)


def measure_people(
    poses: Sequence[Pose],
    time_s: float = 0.0,
    anchors: dict[int, BodyAnchor] | None = None,
    skeleton: Skeleton = COCO18,
) -> list[Person]:
    """Return the tracked people of one frame that have at least one keypoint.

    Args:
        poses: Poses of the frame.
        time_s: Time of the frame.
        anchors: Memory per person, extended by new people; None: nothing is remembered.
        skeleton: Skeleton of the poses.
    """
    tracked = [pose for pose in poses if pose.person]
    if not tracked:
        return []
    anchors = {} if anchors is None else anchors
    index = BodyIndex.of(skeleton)
    people = []
    stack = np.array([pose.keypoints for pose in tracked])
    if not np.isfinite(stack).all():
        # One such value would stay in the memory of the body.
        stack = np.where(np.isfinite(stack).all(axis=2, keepdims=True), stack, 0.0)
    has_points = np.any(stack[:, :, 2] > 0, axis=1).tolist()
    for pose, points, is_found in zip(tracked, stack.tolist(), has_points, strict=True):
        if not is_found:
            continue
        anchor = anchors.get(pose.person)
        if anchor is None:
            anchor = anchors[pose.person] = BodyAnchor(index)
        people.append(Person(pose, points, time_s, anchor))
    return people
