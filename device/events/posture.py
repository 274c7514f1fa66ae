"""Rule for postures: standing, sitting, crouching, lying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ...runtime.skeleton import COCO18, Skeleton
from .body import SHIN, THIGH, TORSO, Body, BodyJoints, Point, compute_axis_angle, get_body
from .condition import ConditionConfig, LabelRule
from .event import Event, RuleState
from .person import Person
from .rule import Duration, Share

Posture = Literal["standing", "sitting", "crouching", "lying"]
POSTURES: tuple[Posture, ...] = ("standing", "sitting", "crouching", "lying")

_LYING_DECAY = 0.15
"""The size of somebody who lies becomes smaller more slowly: perhaps no limb is seen at its full length."""
_MARGIN = 0.06
"""Hysteresis: by how much a measure must exceed its threshold before the posture changes."""
_MAX_LYING_TORSO, _MAX_LYING_LEG, _MAX_LYING_THIGH = 0.55, 0.62, 0.7
"""How far torso, leg and thigh of a lying person rise at most, as shares of their lengths: 1 is upright."""
_STRICTNESS = 0.2
_MIN_LYING_ANGLE = 52.0
_MAX_LYING_TORSO_ALONG, _MAX_LYING_EXTENT = 0.42, 0.3
"""Shoulders above the feet, as a share of the height, if the torso is not inclined: the person lies along the view."""
_MIN_UPRIGHT_SHIN = 0.6
_MIN_LYING_ANGLE_ALONE = 62.0
"""Angle of the torso if the legs were not found."""
_MAX_UPRIGHT_ANGLE = 50.0
_MIN_STANDING_LEG, _MIN_STANDING_THIGH = 0.68, 0.68
_MIN_STRAIGHT_KNEE, _MAX_STRAIGHT_TORSO_ANGLE = 160.0, 30.0
_MIN_SITTING_THIGH = 0.1
_MAX_CROUCHING_LEG = 0.34
"""How far the hips of somebody who crouches are above the feet, if the knees were not found."""
_MAX_CROUCHING_RISE, _CROUCHING_SHIN, _CROUCHING_TORSO = -0.3, 0.3, 0.5
"""How far the knees are below the hips, as a share of the thigh: below 0 if they are above them. Who crouches leans
forward, which shows as a short torso, and so counts as lower."""
_FACING_RISE = 0.28
_FACING_SHIFT = 0.09
"""A camera that looks down sees the knees of a seated person lower if the person faces it, and higher from behind."""


@dataclass(frozen=True, kw_only=True)
class PostureConfig(ConditionConfig):
    """Table `[[events.posture]]`.

    Attributes:
        postures: Postures that are reported.
        for_s: Time for which a posture must last before it is reported.
        release_s: Time for which it must be over before its end is reported.
    """

    postures: tuple[Posture, ...] = POSTURES
    for_s: Duration = 1.0
    release_s: Duration = 0.7
    min_score: Share = 0.2

    def check(self) -> None:
        """Raise ValueError if a value is out of range; the message begins with the key."""
        super().check()
        if not self.postures:
            raise ValueError(f"postures: expected some of {', '.join(POSTURES)}, got none")


class PostureRule(LabelRule):
    """The posture of each person. The state shows all postures, events are about those of the configuration."""

    kind = "posture"
    event = "posture"

    def __init__(self, config: PostureConfig, skeleton: Skeleton = COCO18) -> None:
        super().__init__(config, skeleton)
        self._reader = PostureReader(skeleton)
        self._postures = frozenset(config.postures)
        self._selected: tuple[RuleState, RuleState] | None = None

    def classify(self, person: Person, current: str) -> str | None:
        """Return the posture; None if it cannot be decided."""
        return self._reader.read(person, current)

    def update(self, people: Sequence[Person], time_s: float, frame_size: tuple[int, int]) -> list[Event]:
        """Classify each person, and report the postures of the configuration that began and ended."""
        return self._select(super().update(people, time_s, frame_size))

    def forget(self, person: int, seen_s: float) -> list[Event]:
        """End the posture of a person who is gone."""
        return self._select(super().forget(person, seen_s))

    def get_state(self) -> RuleState:
        """Return the people in one of the postures of the configuration, and the postures of all people as labels."""
        state = super().get_state()
        if self._selected is None or self._selected[0] is not state:
            people = tuple(person for person in state.people if state.labels.get(person) in self._postures)
            self._selected = state, replace(state, active=bool(people), people=people)
        return self._selected[1]

    def _select(self, events: list[Event]) -> list[Event]:
        return events and [event for event in events if event.label in self._postures]


class PostureReader:
    """Classifies the postures of people; it remembers their sizes."""

    def __init__(self, skeleton: Skeleton) -> None:
        """Create a reader.

        Raises:
            ValueError: The skeleton has no shoulders, hips, knees and ankles.
        """
        self._joints = BodyJoints.of(skeleton)
        if not self._joints.has_posture:
            raise ValueError(
                f"name: postures need shoulders, hips, knees and ankles, and the skeleton {skeleton.name} has not all"
            )

    def read(self, person: Person, current: str = "") -> str | None:
        """Return the posture, "" if it is none of the known ones, None if keypoints are missing.

        Args:
            person: The person.
            current: The posture that holds now, for hysteresis.
        """
        body = person.body or get_body(person, self._joints)
        if not body.is_read:
            _read_posture(body, person)
        # Hysteresis only widens the thresholds of the current posture.
        if not current or current == body.posture or current == "lying" or body.size is None:
            return body.posture
        return classify_posture(body, body.size, current)

    def get_height(self, person: Person) -> float | None:
        """Return the remembered height of a person in pixels; call `read` before."""
        body = person.body or get_body(person, self._joints)
        return body.size


def _read_posture(body: Body, person: Person) -> None:
    """Set size and posture, once per frame for all rules."""
    size = person.anchor.size
    body.size = size.update(body.height, person.time_s, _LYING_DECAY if size.is_lying else 1.0)
    if body.size is not None:
        body.posture = classify_posture(body, body.size, "lying" if size.is_lying else "")
    if body.posture is not None:
        size.is_lying = body.posture == "lying"
    body.is_read = True


def classify_posture(body: Body, height: float, current: str = "") -> str | None:
    """Classify the posture in one frame.

    Args:
        body: Measures of the body.
        height: Height of the person in pixels as if upright.
        current: The posture that holds now, for hysteresis.

    Returns:
        A posture; "" if the body is in none of them, such as bent down; None if keypoints are missing.
    """
    shoulder, hip, knee, ankle = body.shoulder, body.hip, body.knee, body.ankle
    if shoulder is None or hip is None or body.torso_angle is None:
        return _classify_without_torso(shoulder or body.head, knee, ankle, height)
    torso = (hip[1] - shoulder[1]) / (TORSO * height)
    thigh = None if knee is None else (knee[1] - hip[1]) / (THIGH * height)
    shin = None if knee is None or ankle is None else (ankle[1] - knee[1]) / (SHIN * height)
    leg = (ankle[1] - hip[1]) / ((THIGH + SHIN) * height) if ankle is not None else thigh
    margin = _MARGIN if current == "lying" else 0.0
    if torso < _MAX_LYING_TORSO + margin and _is_lying(torso, body.torso_angle, thigh, shin, leg, margin):
        return "lying"
    if body.torso_angle > _MAX_UPRIGHT_ANGLE or torso < 0.25:
        return ""
    if leg is None:
        return None
    is_straight = body.knee_angle is not None and body.knee_angle > _MIN_STRAIGHT_KNEE
    # Networks squeeze legs that the lower edge of the frame cuts off, so that only the straight knee is left. From the
    # front, the bent knees of a seated person look straight too if the camera looks down and the torso leans.
    is_front = leg <= 0.3 or (body.facing or 0.0) >= 0.5
    if is_straight and (body.torso_angle < _MAX_STRAIGHT_TORSO_ANGLE or not is_front):
        return "standing"
    if ankle is None:
        return _classify_without_shins(leg, current)
    facing = body.facing or 0.0
    standing = _MIN_STANDING_LEG + 0.4 * _FACING_SHIFT * facing - (_MARGIN if current == "standing" else 0)
    if leg > standing and (thigh is None or thigh > _MIN_STANDING_THIGH - (_MARGIN if current == "standing" else 0)):
        return "standing"
    shift = _MARGIN / 2 if current == "crouching" else -_MARGIN / 2 if current == "sitting" else 0
    if thigh is None or shin is None:
        is_crouching = leg < _MAX_CROUCHING_LEG + _FACING_SHIFT * facing + shift
    else:
        rise = thigh + _CROUCHING_SHIN * (shin - 1) + _CROUCHING_TORSO * (torso - 1)
        is_crouching = rise < _MAX_CROUCHING_RISE + _FACING_RISE * facing + 2 * shift
    return "crouching" if is_crouching else "sitting"


def _is_lying(torso: float, angle: float, thigh: float | None, shin: float | None, leg: float | None,
              margin: float) -> bool:  # fmt: skip
    """Return True if neither the torso nor the legs are upright."""
    if leg is None:
        return angle > _MIN_LYING_ANGLE_ALONE - 100 * margin
    # The more horizontal the torso, the more horizontal are the legs: otherwise the person bends down or kneels.
    tilt = min(1.0, max(0.0, (angle - _MIN_LYING_ANGLE) / 25))
    limit = margin - _STRICTNESS * tilt
    if leg > _MAX_LYING_LEG + limit or (thigh is not None and thigh > _MAX_LYING_THIGH + limit):
        return False
    if angle > _MIN_LYING_ANGLE - 100 * margin:
        return True
    # The person may lie along the view: then the whole body is short in the image. Who crouches has upright shins.
    extent = TORSO * torso + (THIGH + SHIN) * leg
    is_crouching = shin is not None and shin > _MIN_UPRIGHT_SHIN and torso > 0.2
    return torso < _MAX_LYING_TORSO_ALONG + margin and extent < _MAX_LYING_EXTENT + margin and not is_crouching


def _classify_without_shins(thigh: float, current: str) -> str | None:
    """Classify if the lower legs are hidden: the thighs tell standing from sitting only."""
    if thigh > _MIN_STANDING_THIGH + 0.1 - (_MARGIN if current == "standing" else 0):
        return "standing"
    # Thighs that are level or rise may be those of somebody who sits or crouches.
    return "sitting" if _MIN_SITTING_THIGH < thigh < 0.45 else current or None


def _classify_without_torso(top: Point | None, knee: Point | None, ankle: Point | None, height: float) -> str | None:
    """Classify by the line from the shoulders to the feet: only `lying` is possible."""
    end = ankle or knee
    if top is None or end is None:
        return None
    extent = (end[1] - top[1]) / height
    return "lying" if compute_axis_angle(end, top) > _MIN_LYING_ANGLE_ALONE and extent < _MAX_LYING_EXTENT else None
