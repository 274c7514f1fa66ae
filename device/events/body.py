"""Measures of a body from its keypoints: how upright torso, thighs and shins are, and angles of joints.

All lengths are shares of the person's height, so that they do not depend on the distance from the camera. A measure is
None if its keypoints were not found. The axis of an upright body points up in the image: the camera must not be rolled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import acos, atan2, degrees, dist, exp, hypot
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from ...runtime.skeleton import Skeleton

if TYPE_CHECKING:
    from .person import Person

Point = tuple[float, float]
Points = list[list[float]]

TORSO, THIGH, SHIN, SHOULDERS, UPPER_ARM, FOREARM = 0.3, 0.235, 0.235, 0.224, 0.165, 0.15
"""Lengths as shares of the height, by the usual rule for figure drawing."""

_SHORT_LIMB_WEIGHT = 0.9
"""Short limbs count less for the size of a person, because the noise of keypoints makes them longer."""
_MIN_LIMBS_FOR_SECOND = 4
_HEIGHT_DECAY_PER_S = 0.2
_HEIGHT_RISE_S = 0.4


class BodyJoints(NamedTuple):
    """Indices of the keypoints in a skeleton, right side first; None for those that it does not have."""

    head: tuple[int, ...]
    neck: int | None
    shoulders: tuple[int | None, int | None]
    elbows: tuple[int | None, int | None]
    wrists: tuple[int | None, int | None]
    hips: tuple[int | None, int | None]
    mid_hip: int | None
    knees: tuple[int | None, int | None]
    ankles: tuple[int | None, int | None]
    pick: Callable[[list[Point | None]], tuple[Point | None, ...]]
    """Takes shoulders, hips, knees, ankles, elbows and wrists out of a list of all keypoints that ends with None."""

    @staticmethod
    @cache
    def of(skeleton: Skeleton) -> BodyJoints:
        """Return the indices for a skeleton."""
        index = {name: number for number, name in enumerate(skeleton.keypoints)}

        def get_pair(part: str) -> tuple[int | None, int | None]:
            return index.get(f"right_{part}"), index.get(f"left_{part}")

        shoulders, elbows, wrists = get_pair("shoulder"), get_pair("elbow"), get_pair("wrist")
        hips, knees, ankles = get_pair("hip"), get_pair("knee"), get_pair("ankle")
        limbs = (*shoulders, *hips, *knees, *ankles, *elbows, *wrists)
        names = ("nose", "right_eye", "left_eye", "right_ear", "left_ear", "head")
        return BodyJoints(
            tuple(index[name] for name in names if name in index), index.get("neck", index.get("thorax")),
            shoulders, elbows, wrists, hips, index.get("mid_hip", index.get("pelvis")), knees, ankles,
            itemgetter(*(-1 if number is None else number for number in limbs)),
        )  # fmt: skip

    @property
    def has_posture(self) -> bool:
        """True if the skeleton has what postures are recognized by: shoulders, hips, knees and ankles."""
        return None not in (*self.shoulders, *self.hips, *self.knees, *self.ankles)


@dataclass(slots=True, eq=False)
class Body:
    """Measures of one person in one frame; None if the keypoints were not found. Positions are pixels of the frame.

    Attributes:
        head: Mean of nose, eyes and ears.
        shoulder: Middle between the shoulders.
        hip: Middle between the hips.
        knee: Mean of the knees.
        ankle: Mean of the ankles.
        torso: Length of the torso in pixels.
        torso_angle: Angle between the torso and the vertical in degrees: 0 upright, 90 horizontal, 180 head down.
        height: Height of the body in pixels as if it stood upright, from the limb that is seen at its full length.
        knee_angle: Angle of the knees in degrees, the mean of both; 180 is straight.
        facing: How far the left shoulder is to the right of the right one, as a share of their distance: 1 if the
            person faces the camera, 0 from the side, -1 from behind.
        count: Number of keypoints that were found.
        size: Remembered height of the person in pixels, set with `posture`; None if unknown.
        posture: Posture in this frame, set by the first rule that needs it (`posture.PostureReader`).
        is_read: True if `size` and `posture` are set.
    """

    head: Point | None
    shoulder: Point | None
    hip: Point | None
    knee: Point | None
    ankle: Point | None
    torso: float | None
    torso_angle: float | None
    height: float | None
    knee_angle: float | None
    facing: float | None
    count: int
    size: float | None = None
    posture: str | None = None
    is_read: bool = False


def measure_body(points: Points, joints: BodyJoints) -> Body:
    """Measure a body.

    Args:
        points: `[x, y, score]` per keypoint; score 0 if it was not found.
        joints: Indices of the keypoints.
    """
    found = [(x, y) if score > 0 else None for x, y, score in points]
    found.append(None)  # for the index -1 of keypoints that the skeleton does not have
    (right_shoulder, left_shoulder, right_hip, left_hip, right_knee, left_knee, right_ankle, left_ankle, right_elbow,
     left_elbow, right_wrist, left_wrist) = joints.pick(found)  # fmt: skip
    neck = None if joints.neck is None else found[joints.neck]
    mid_hip = None if joints.mid_hip is None else found[joints.mid_hip]
    shoulder, hip = _find_axis(right_shoulder, left_shoulder, right_hip, left_hip, neck, mid_hip)
    torso = torso_angle = None
    sizes: list[float] = []
    if shoulder is not None and hip is not None:
        torso, torso_angle = dist(shoulder, hip), compute_axis_angle(hip, shoulder)
        sizes.append(torso / TORSO)
    right_angle = _measure_leg(right_hip, right_knee, right_ankle, sizes)
    left_angle = _measure_leg(left_hip, left_knee, left_ankle, sizes)
    if right_angle is None or left_angle is None:
        knee_angle = left_angle if right_angle is None else right_angle
    else:
        knee_angle = (right_angle + left_angle) / 2
    if right_shoulder is not None and left_shoulder is not None:
        sizes.append(_SHORT_LIMB_WEIGHT * dist(right_shoulder, left_shoulder) / SHOULDERS)
    _measure_arm(right_shoulder, right_elbow, right_wrist, sizes)
    _measure_arm(left_shoulder, left_elbow, left_wrist, sizes)
    height, facing = _choose_height(sizes), None
    if right_shoulder is not None and left_shoulder is not None and height:
        facing = (left_shoulder[0] - right_shoulder[0]) / (SHOULDERS * height)
        facing = 1.0 if facing > 1.0 else -1.0 if facing < -1.0 else facing
    return Body(
        _find_head(points, joints), shoulder, hip, _find_middle(right_knee, left_knee),
        _find_middle(right_ankle, left_ankle), torso, torso_angle, height,
        knee_angle, facing, len(found) - found.count(None),
    )  # fmt: skip


class BodySize:
    """Height of a person in pixels, remembered for frames in which all limbs point towards the camera or are missing.

    The height of a frame is too small if no limb is seen at its full length. So the remembered height follows a larger
    one at once, and a smaller one slowly, as a person who walks away from the camera needs.
    """

    def __init__(self) -> None:
        self.height: float | None = None
        self.is_lying = False
        self._time_s = 0.0

    def update(self, height: float | None, time_s: float, decay: float = 1.0) -> float | None:
        """Note the height of a frame, and return the remembered one.

        Args:
            height: Height in pixels from this frame; None if unknown.
            time_s: Time of the frame.
            decay: Factor for the speed at which the remembered height becomes smaller.
        """
        elapsed_s, self._time_s = max(0.0, time_s - self._time_s), time_s
        if height is None:
            return self.height
        if self.height is None:
            self.height = height
        elif height >= self.height:
            self.height += (height - self.height) * (1 - exp(-elapsed_s / _HEIGHT_RISE_S))
        else:
            self.height = max(height, self.height * exp(-_HEIGHT_DECAY_PER_S * decay * min(elapsed_s, 1.0)))
        return self.height


def compute_axis_angle(start: Point, end: Point) -> float:
    """Compute the angle between the line from start to end and straight up in the image, in degrees, 0 to 180."""
    return degrees(atan2(abs(end[0] - start[0]), start[1] - end[1]))


def get_body(person: Person, joints: BodyJoints) -> Body:
    """Return the measures of a person, computed once per frame for all rules."""
    body = person.body
    if body is None:
        body = person.body = measure_body(person.points, joints)
    return body


def _find_axis(
    right_shoulder: Point | None, left_shoulder: Point | None, right_hip: Point | None, left_hip: Point | None,
    neck: Point | None, mid_hip: Point | None,
) -> tuple[Point | None, Point | None]:  # fmt: skip
    """Return the two ends of the torso. A shoulder of one side and the hip of the other do not give its direction."""
    if right_shoulder and left_shoulder and right_hip and left_hip:
        return _find_middle(right_shoulder, left_shoulder), _find_middle(right_hip, left_hip)
    has_right, has_left = (right_shoulder and right_hip) is not None, (left_shoulder and left_hip) is not None
    if has_right != has_left:
        return (right_shoulder, right_hip) if has_right else (left_shoulder, left_hip)
    shoulder, hip = _find_middle(right_shoulder, left_shoulder), _find_middle(right_hip, left_hip)
    is_half = right_shoulder is None or left_shoulder is None
    if is_half and neck is not None:
        shoulder, is_half = neck, False
    if (right_hip is None or left_hip is None) and mid_hip is not None:
        return shoulder, mid_hip
    if is_half and (right_hip is None or left_hip is None):
        return shoulder, None
    return shoulder, hip


def _measure_leg(hip: Point | None, knee: Point | None, ankle: Point | None, sizes: list[float]) -> float | None:
    """Append the heights that thigh and shin give; return the angle of the knee."""
    if knee is None:
        return None
    x, y = knee
    thigh = shin = hip_x = hip_y = 0.0
    if hip is not None:
        hip_x, hip_y = hip[0] - x, hip[1] - y
        thigh = hypot(hip_x, hip_y)
        sizes.append(thigh / THIGH)
    if ankle is None:
        return None
    ankle_x, ankle_y = ankle[0] - x, ankle[1] - y
    shin = hypot(ankle_x, ankle_y)
    sizes.append(shin / SHIN)
    if hip is None or not thigh * shin:
        return None
    cosine = (hip_x * ankle_x + hip_y * ankle_y) / (thigh * shin)
    return degrees(acos(1.0 if cosine > 1.0 else -1.0 if cosine < -1.0 else cosine))


def _measure_arm(shoulder: Point | None, elbow: Point | None, wrist: Point | None, sizes: list[float]) -> None:
    """Append the heights that upper arm and forearm give."""
    if elbow is None:
        return
    if shoulder is not None:
        sizes.append(_SHORT_LIMB_WEIGHT * dist(elbow, shoulder) / UPPER_ARM)
    if wrist is not None:
        sizes.append(_SHORT_LIMB_WEIGHT * dist(elbow, wrist) / FOREARM)


def _choose_height(sizes: list[float]) -> float | None:
    """Choose the largest height that limbs give; of many the second largest, in case one keypoint is wrong."""
    if not sizes:
        return None
    if len(sizes) < _MIN_LIMBS_FOR_SECOND:
        return max(sizes) or None
    sizes.sort()
    return sizes[-2] or None


def _find_head(points: Points, joints: BodyJoints) -> Point | None:
    x = y = 0.0
    count = 0
    for index in joints.head:
        point = points[index]
        if point[2] > 0:
            x, y, count = x + point[0], y + point[1], count + 1
    return (x / count, y / count) if count else None


def _find_middle(a: Point | None, b: Point | None) -> Point | None:
    """Return the middle of two points, or the one that was found."""
    if a is None or b is None:
        return a or b
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
