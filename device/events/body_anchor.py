"""Points of a body that do not jump if keypoints are missing: feet, center, and its height.

Every keypoint has an offset from the center of the body, which is measured while the keypoint is visible. The center is
the mean of what all visible keypoints say, and the feet are where the offsets of the ankles point to.
"""

from __future__ import annotations

from functools import cache
from math import hypot
from typing import NamedTuple

from ...runtime.skeleton import Skeleton
from .body import BodySize
from .geometry import Point

_ANKLE_DROP = 0.6
_TEMPLATE = {
    "neck": (-0.165, 1.0), "right_shoulder": (-0.165, 1.0), "left_shoulder": (-0.165, 1.0),
    "right_hip": (0.135, 1.0), "left_hip": (0.135, 1.0), "mid_hip": (0.135, 1.0), "pelvis": (0.135, 1.0),
    "thorax": (-0.165, 1.0), "nose": (-0.28, 0.4), "head": (-0.28, 0.4), "head_top": (-0.35, 0.4),
    "right_ear": (-0.28, 0.3), "left_ear": (-0.28, 0.3),
    "right_knee": (0.37, 0.3), "left_knee": (0.37, 0.3), "right_ankle": (_ANKLE_DROP, 0.15),
    "left_ankle": (_ANKLE_DROP, 0.15),
}  # fmt: skip
"""Height of a keypoint below the center of the torso of a standing person, as a share of the height of the body, and
the weight of the keypoint for the position of the center."""
_TORSO_SHARE, _THIGH_SHARE, _SHIN_SHARE, _SHOULDERS_SHARE = 0.3, 0.235, 0.235, 0.224
_OFFSET_TIME_CONSTANT_S = 0.3
_HEIGHT_TIME_CONSTANT_S = 0.5
_SPEED_TIME_CONSTANT_S = 0.3
_ANKLE_SHARE = 0.5
"""Share of a visible ankle in the position of the feet; the rest is where its offset points to."""
_MIN_HEIGHT_PX = 1.0


class BodyIndex(NamedTuple):
    """Indices of the keypoints of a body in a skeleton; None or () for those that it does not have.

    Attributes:
        template: Index, share of the height below the center, and weight of each keypoint that has them.
        segments: Pairs of indices, and the length between them as a share of the height.
        shoulders: Indices of the shoulders.
        hips: Indices of the hips.
        neck: Index of the neck.
        ankles: Index of each ankle, and its place in `template`.
    """

    template: tuple[tuple[int, float, float], ...]
    segments: tuple[tuple[int, int, float], ...]
    shoulders: tuple[int, int] | None
    hips: tuple[int, int] | None
    neck: int | None
    ankles: tuple[tuple[int, int], ...]

    @staticmethod
    @cache
    def of(skeleton: Skeleton) -> BodyIndex:
        """Return the indices for a skeleton."""
        index = {name: number for number, name in enumerate(skeleton.keypoints)}

        def find_pair(part: str) -> tuple[int, int] | None:
            pair = index.get(f"right_{part}"), index.get(f"left_{part}")
            return None if pair[0] is None or pair[1] is None else (pair[0], pair[1])

        names = [name for name in _TEMPLATE if name in index]
        segments = [
            (index[f"{side}_{a}"], index[f"{side}_{b}"], share)
            for side in ("right", "left")
            for a, b, share in (("hip", "knee", _THIGH_SHARE), ("knee", "ankle", _SHIN_SHARE))
            if f"{side}_{a}" in index and f"{side}_{b}" in index
        ]
        return BodyIndex(
            tuple((index[name], *_TEMPLATE[name]) for name in names),
            tuple(segments),
            find_pair("shoulder"),
            find_pair("hip"),
            index.get("neck", index.get("thorax")),
            tuple((index[name], names.index(name)) for name in ("right_ankle", "left_ankle") if name in index),
        )


class BodyAnchor:
    """What is remembered about the body of one person.

    Attributes:
        center: Center of the torso in the last frame, in pixels.
        feet: Point between the ankles.
        height: Height of the body as if it stood upright, above 0.
        velocity: Velocity of the center in pixels per second, smoothed.
        size: Size of the person for measures of posture.
    """

    def __init__(self, index: BodyIndex) -> None:
        self.index = index
        self._offsets = [[0.0, share, 0.0] for _, share, _ in index.template]
        """x and y of each keypoint of the template from the center, as shares of the height; 1 if it was measured."""
        self._slots = [
            (number, weight, offset) for (number, _, weight), offset in zip(index.template, self._offsets, strict=True)
        ]
        self._ankles = [(number, self._offsets[slot]) for number, slot in index.ankles]
        self._time_s: float | None = None
        self.velocity: Point = (0.0, 0.0)
        self.center: Point = (0.0, 0.0)
        self.feet: Point = (0.0, 0.0)
        self.height = 0.0
        self.size = BodySize()

    def observe(self, points: list[list[float]], time_s: float) -> None:
        """Note the keypoints of one frame, at least one of them found."""
        elapsed_s = 0.0 if self._time_s is None else max(0.0, time_s - self._time_s)
        self._time_s = time_s
        before_x, before_y = self.center
        self._observe_height(points, elapsed_s)
        self._observe_offsets(points, elapsed_s)
        if elapsed_s:
            weight = elapsed_s / (_SPEED_TIME_CONSTANT_S + elapsed_s)
            x, y = self.center
            velocity_x, velocity_y = self.velocity
            self.velocity = (
                velocity_x + weight * ((x - before_x) / elapsed_s - velocity_x),
                velocity_y + weight * ((y - before_y) / elapsed_s - velocity_y),
            )

    def _observe_height(self, points: list[list[float]], elapsed_s: float) -> None:
        height = _estimate_height(points, self.index)
        if height is None:
            if self.height:
                return
            found = [point for point in points if point[2] > 0]
            xs, ys = [point[0] for point in found], [point[1] for point in found]
            height = hypot(max(xs) - min(xs), max(ys) - min(ys))
        if not self.height:
            self.height = max(height, _MIN_HEIGHT_PX)
        else:
            weight = elapsed_s / (_HEIGHT_TIME_CONSTANT_S + elapsed_s)
            height = self.height + weight * (height - self.height)
            self.height = height if height > _MIN_HEIGHT_PX else _MIN_HEIGHT_PX

    def _observe_offsets(self, points: list[list[float]], elapsed_s: float) -> None:
        height = self.height
        total = sum_x = sum_y = 0.0
        visible = []
        for index, weight, offset in self._slots:
            x, y, score = points[index]
            if score > 0:
                total += weight
                sum_x += weight * (x - height * offset[0])
                sum_y += weight * (y - height * offset[1])
                visible.append((offset, x, y))
        if not visible:
            self._use_box(points)
            return
        center_x, center_y = sum_x / total, sum_y / total
        self.center = center_x, center_y
        usual_weight = elapsed_s / (_OFFSET_TIME_CONSTANT_S + elapsed_s)
        for offset, x, y in visible:
            offset_x, offset_y, is_measured = offset
            if is_measured:
                weight = usual_weight
            else:
                weight, offset[2] = 1.0, 1.0
            offset[0] = offset_x + weight * ((x - center_x) / height - offset_x)
            offset[1] = offset_y + weight * ((y - center_y) / height - offset_y)
        self._find_feet(points)

    def _find_feet(self, points: list[list[float]]) -> None:
        """Set the feet: the mean of both ankles, seen or expected."""
        (center_x, center_y), height = self.center, self.height
        if not self._ankles:
            self.feet = center_x, center_y + _ANKLE_DROP * height
            return
        sum_x = sum_y = 0.0
        for index, (offset_x, offset_y, _) in self._ankles:
            x, y = center_x + height * offset_x, center_y + height * offset_y
            seen_x, seen_y, score = points[index]
            if score > 0:
                x, y = x + _ANKLE_SHARE * (seen_x - x), y + _ANKLE_SHARE * (seen_y - y)
            sum_x += x
            sum_y += y
        count = len(self._ankles)
        self.feet = sum_x / count, sum_y / count

    def _use_box(self, points: list[list[float]]) -> None:
        """Use the box of the keypoints: nothing of the body itself is visible, or the skeleton is not one of a body."""
        found = [point for point in points if point[2] > 0]
        xs, ys = [point[0] for point in found], [point[1] for point in found]
        self.center = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
        self.feet = self.center[0], max(ys)


def measure_torso(points: list[list[float]], index: BodyIndex) -> float | None:
    """Return the length from the neck, or the shoulders, to the hips; None if they were not found."""
    if index.hips is None:
        return None
    hip = _find_middle(points, index.hips)
    if hip is None:
        return None
    top = None if index.neck is None or points[index.neck][2] <= 0 else points[index.neck]
    if top is None and index.shoulders is not None:
        top = _find_middle(points, index.shoulders)
    return None if top is None else hypot(top[0] - hip[0], top[1] - hip[1])


def _estimate_height(points: list[list[float]], index: BodyIndex) -> float | None:
    """Estimate the height from the longest of torso and legs; None if nothing of them is visible.

    The longest one counts, because segments that point towards the camera look shorter.
    """
    best = (measure_torso(points, index) or 0.0) / _TORSO_SHARE
    for first, second, share in index.segments:
        ax, ay, a_score = points[first]
        bx, by, b_score = points[second]
        if a_score > 0 and b_score > 0:
            height = hypot(ax - bx, ay - by) / share
            if height > best:
                best = height
    if not best and index.shoulders is not None:
        a, b = points[index.shoulders[0]], points[index.shoulders[1]]
        if a[2] > 0 and b[2] > 0:
            best = hypot(a[0] - b[0], a[1] - b[1]) / _SHOULDERS_SHARE
    return best or None


def _find_middle(points: list[list[float]], pair: tuple[int, int]) -> list[float] | None:
    """Return the middle of two keypoints, or the one that was found."""
    a, b = points[pair[0]], points[pair[1]]
    if a[2] > 0 and b[2] > 0:
        return [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]
    return a if a[2] > 0 else b if b[2] > 0 else None
