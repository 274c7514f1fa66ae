"""People that the tracker has lost and found again under another number, for example in a fall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot

from ...runtime.types import Pose
from .body_anchor import BodyAnchor, BodyIndex

_MIN_DISTANCE, _MAX_DISTANCE, _MAX_SPEED = 0.5, 1.2, 4.0
"""Largest distance from the expected center of the lost person, in heights: it grows with the time, up to a limit."""
_MAX_HEIGHT_RATIO = 2.0


def find_handovers(
    new: Sequence[Pose], lost: Mapping[int, float], anchors: Mapping[int, BodyAnchor], index: BodyIndex, time_s: float
) -> list[tuple[int, int]]:
    """Find people who have got a new number: pairs of the old and the new one.

    Args:
        new: Poses with numbers that are new in this frame.
        lost: Time at which each person was last seen who was seen a moment ago, but is not in this frame.
        anchors: Memory of these people.
        index: Keypoints of the skeleton.
        time_s: Time of the frame.
    """
    pairs = []
    for pose in new:
        fresh = BodyAnchor(index)
        fresh.observe(pose.keypoints.tolist(), time_s)
        for number, seen_s in lost.items():
            old = anchors[number]
            if not old.height:
                continue
            height = max(old.height, fresh.height)
            elapsed_s = time_s - seen_s
            x, y = old.center[0] + elapsed_s * old.velocity[0], old.center[1] + elapsed_s * old.velocity[1]
            distance = hypot(fresh.center[0] - x, fresh.center[1] - y) / height
            limit = min(max(_MIN_DISTANCE, _MAX_SPEED * elapsed_s), _MAX_DISTANCE)
            if distance < limit and height < _MAX_HEIGHT_RATIO * min(old.height, fresh.height):
                pairs.append((distance, number, pose.person))
    found: list[tuple[int, int]] = []
    for _, number, person in sorted(pairs):
        if all(number != old and person != other for old, other in found):
            found.append((number, person))
    return found
