"""Rule for gestures of people who are upright: a raised hand, crossed arms."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from ...runtime.skeleton import COCO18, Skeleton
from .body import SHOULDERS, TORSO, UPPER_ARM, Body, BodyJoints, Point, Points, get_body
from .condition import ConditionConfig, ConditionRule
from .event import Event, RuleInfo
from .person import Person
from .posture import PostureReader
from .rule import Duration, Share

Gesture = Literal["hand_raised", "arms_crossed"]
Hand = Literal["any", "left", "right", "both"]

_MAX_TORSO_ANGLE, _MIN_TORSO_RISE = 40.0, 0.72
"""The torso of somebody who lies along the view seems upright, but it is short."""
_RAISED_ABOVE_HEAD = 0.03
"""The wrist is this far above eyes and ears, as a share of the height; a hand at the ear is not."""
_RAISED_ABOVE_SHOULDERS = 0.17
"""The same above the shoulders, if the head was not found."""
_RELEASE = 0.06
_MIN_CROSSING = 0.04
"""How far the wrists pass each other across the chest, as a share of the height."""
_MAX_CROSSED_ELBOW = 0.12
"""Distance from a wrist to the elbow of the other arm, as a share of the height."""
_MAX_HELD_S = 0.8
_MIN_UP_S = 3.0
"""Time after which a person who lay can raise a hand: arms of people on the floor point anywhere."""
_MIN_FACING = 0.35
"""From the side, crossed arms cannot be seen."""


@dataclass(frozen=True, kw_only=True)
class GestureConfig(ConditionConfig):
    """Table `[[events.gesture]]`.

    Attributes:
        gesture: `hand_raised`, above the head; or `arms_crossed`, in front of the chest.
        hand: For `hand_raised`: which hand must be raised; `left` and `right` are those of the person.
        for_s: Time for which the gesture must last before it is reported.
    """

    gesture: Gesture
    hand: Hand = "any"
    for_s: Duration = 0.7
    min_score: Share = 0.2


class GestureRule(ConditionRule):
    """A gesture of each person."""

    kind = "gesture"

    def __init__(self, config: GestureConfig, skeleton: Skeleton = COCO18) -> None:
        super().__init__(config, skeleton)
        self.event = config.gesture
        self._hand, self._joints = config.hand, BodyJoints.of(skeleton)
        self._held: dict[int, dict[int, tuple[float, float, float]]] = {}
        self._lying_s: dict[int, float] = {}
        self._upright: dict[int, bool] = {}
        """If the torso was upright when it was found the last time; people behind a table have none."""
        if None in (*self._joints.shoulders, *self._joints.elbows, *self._joints.wrists):
            raise ValueError(
                f"gesture: needs shoulders, elbows and wrists, which the skeleton {skeleton.name} does not have"
            )
        self._reader = PostureReader(skeleton)

    @property
    def info(self) -> RuleInfo:
        """What sinks announce about the rule."""
        return RuleInfo(self.config.name, self.kind, (self.event,), has_duration=True)

    def evaluate(self, person: Person, is_active: bool) -> bool | None:
        """Return True if the person makes the gesture; None if keypoints are missing."""
        body = get_body(person, self._joints)
        posture = self._reader.read(person, "")
        height = self._reader.get_height(person)
        if height is None or body.shoulder is None:
            return None
        if posture == "lying":
            self._lying_s[person.number] = self.time_s
        if self.time_s - self._lying_s.get(person.number, -inf) < _MIN_UP_S:
            return False
        if body.torso_angle is not None and body.hip is not None:
            rise = (body.hip[1] - body.shoulder[1]) / (TORSO * height)
            self._upright[person.number] = body.torso_angle < _MAX_TORSO_ANGLE and rise > _MIN_TORSO_RISE
        if not self._upright.get(person.number, True):
            return False
        if self.event == "arms_crossed":
            return are_arms_crossed(self._hold(person, body.shoulder), self._joints, body, height, is_active)
        return self._is_hand_raised(person.points, body, height, is_active)

    def forget(self, person: int, seen_s: float) -> list[Event]:
        """End the gesture of a person who is gone."""
        self._held.pop(person, None)
        self._upright.pop(person, None)
        self._lying_s.pop(person, None)
        return super().forget(person, seen_s)

    def rename(self, old: int, new: int) -> None:
        """Give the state of a person to another number."""
        self._held.pop(old, None)
        self._upright[new] = self._upright.pop(old, True)
        self._lying_s[new] = self._lying_s.pop(old, -inf)
        super().rename(old, new)

    def _hold(self, person: Person, shoulder: Point) -> Points:
        """Return the keypoints, with those of the arms that were found a moment ago where they are missing."""
        held = self._held.setdefault(person.number, {})
        points = list(person.points)
        for index in (*self._joints.shoulders, *self._joints.elbows, *self._joints.wrists):
            if index is None:
                continue
            x, y, score = points[index]
            if score > 0:
                held[index] = x - shoulder[0], y - shoulder[1], self.time_s
            elif index in held and self.time_s - held[index][2] <= _MAX_HELD_S:
                points[index] = [shoulder[0] + held[index][0], shoulder[1] + held[index][1], 1.0]
        return points

    def _is_hand_raised(self, points: Points, body: Body, height: float, is_active: bool) -> bool | None:
        right, left = (
            is_hand_raised(points, elbow, wrist, body, height, is_active)
            for elbow, wrist in zip(self._joints.elbows, self._joints.wrists, strict=True)
        )
        if self._hand == "right":
            return right
        if self._hand == "left":
            return left
        is_any = self._hand == "any"
        if right is is_any or left is is_any:
            return is_any
        return None if right is None or left is None else not is_any


def is_hand_raised(points: Points, elbow: int | None, wrist: int | None, body: Body, height: float,
                   is_active: bool) -> bool | None:  # fmt: skip
    """Return True if a hand is above the head; None if it was not found.

    Args:
        points: Keypoints of the person.
        elbow: Index of the elbow.
        wrist: Index of the wrist.
        body: Measures of the body.
        height: Height of the person in pixels.
        is_active: True if the hand is raised already, for hysteresis.
    """
    if wrist is None or points[wrist][2] <= 0 or body.shoulder is None:
        return None
    rise = (body.shoulder[1] - points[wrist][1]) / height
    release = _RELEASE if is_active else 0.0
    if body.head is not None:
        head_rise = (body.shoulder[1] - body.head[1]) / height
        return rise > max(head_rise, 0.0) + _RAISED_ABOVE_HEAD - release
    return rise > _RAISED_ABOVE_SHOULDERS - release


def are_arms_crossed(points: Points, joints: BodyJoints, body: Body, height: float, is_active: bool) -> bool | None:
    """Return True if the forearms cross in front of the chest; None if it cannot be seen."""
    found = [_get(points, index) for index in (*joints.shoulders, *joints.elbows, *joints.wrists)]
    right_shoulder, left_shoulder, right_elbow, left_elbow, right_wrist, left_wrist = found
    if right_wrist is None or left_wrist is None or right_elbow is None or left_elbow is None:
        return None
    if right_shoulder is None or left_shoulder is None:
        return None
    facing = (left_shoulder[0] - right_shoulder[0]) / (SHOULDERS * height)
    if abs(facing) < _MIN_FACING:
        return False
    side = 1.0 if facing > 0 else -1.0
    release = 0.04 if is_active else 0.0
    crossing = side * (right_wrist[0] - left_wrist[0]) / height
    if crossing < (_MIN_CROSSING - release) * min(1.0, abs(facing) + 0.1):
        return False
    low = max(right_shoulder[1], left_shoulder[1]) + 0.3 * height
    high = min(right_shoulder[1], left_shoulder[1]) + 0.02 * height
    if not all(high < wrist[1] < low for wrist in (right_wrist, left_wrist)):
        return False
    limit = (_MAX_CROSSED_ELBOW + release) * height
    return (
        _distance(right_wrist, left_elbow) < limit
        and _distance(left_wrist, right_elbow) < limit
        and _distance(right_elbow, left_elbow) > 0.5 * SHOULDERS * height * abs(facing)
        and min(right_elbow[1] - right_shoulder[1], left_elbow[1] - left_shoulder[1]) > 0.3 * UPPER_ARM * height
    )


def _get(points: Points, index: int | None) -> Point | None:
    if index is None or points[index][2] <= 0:
        return None
    return points[index][0], points[index][1]


def _distance(a: Point, b: Point) -> float:
    return float(((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 0.5)
