"""Rule that counts repetitions of an exercise: squats, push-ups, curls, or any angle that goes down and up again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import asin, degrees, exp, hypot, inf
from typing import Annotated, Literal, NamedTuple

from ...runtime.schema import Limits
from ...runtime.skeleton import COCO18, Skeleton
from .angle import Angle, Triple, find_triples
from .body import FOREARM, SHIN, THIGH, TORSO, UPPER_ARM, Body, BodyJoints, Point, Points, get_body
from .event import Event, RuleInfo, RuleState, make_event_id
from .geometry import compute_angle
from .person import Person
from .posture import PostureReader
from .rule import CommonConfig, Rule, Share

Preset = Literal["squat", "push_up", "curl"]

_SMOOTHING_S = 0.1
_MAX_SIDE_AGE_S = 0.6
"""An angle is used for this time while its keypoints are missing."""
_MAX_UNKNOWN_S = 2.0
"""A repetition is not counted if nothing was known for longer than this."""
_MIN_PHASE_S = 0.2
"""Time for which the joint must be bent: shorter ones are noise."""
_MIN_STRAIGHT_S = 0.2
"""Time for which it must be straight before the first repetition."""
_REACH_DECAY_PER_S = 0.02
_MIN_PUSH_UP_ANGLE, _MAX_SQUAT_ANGLE, _MAX_CURL_ANGLE = 50.0, 75.0, 45.0
"""Angle of the torso in degrees, 0 upright, in which repetitions are counted."""
_MIN_CURL_RISE, _MIN_CURL_DROP = 0.4, 0.6
"""In a curl the wrist rises above the elbow, and then drops below it, by these shares of the forearm."""
_MAX_RAISED_S = 3.0
"""Arms that are crossed, or hold something, are bent for longer."""
_MIN_SIDE = 0.075
"""Distance of the shoulder from the middle, as a share of the height, from which a wrist can be on the other side."""
_MIN_HANGING, _FOLLOW_WEIGHT, _SINK_WEIGHT = 0.6, 0.3, 0.05
_MAX_ELBOW_SHIFT = 0.13
"""How far the elbow moves relative to the shoulder during a curl, as a share of the height."""
_MAX_PAUSE = 0.4
"""Pause between repetitions of a series, as a share of `longest_s`."""
_MAX_OVERLAP = 0.3
"""Curls of both arms are one if they overlap by more than this share."""
_MAX_FEET_SHIFT = 0.35
"""How far the feet move during a repetition, as a share of the height: people who walk do not train."""
_MIN_REPETITION_S = 0.5
"""Time for which the joint is not straight: hands that move faster do not train."""
_MIN_SUPPORT, _MIN_BENT_SUPPORT, _MIN_SUPPORT_DROP = 0.6, 0.1, 0.25
"""In a push-up the shoulders are above both hands, and come down, by these shares of the arm."""
_MIN_SQUAT_SHIN, _MAX_PUSH_UP_LEG = 0.6, 0.8
"""How upright the shins are in squats, and the legs in push-ups; 1 is upright."""


class _Exercise(NamedTuple):
    """How a preset is measured.

    Attributes:
        keypoints: Three keypoints.
        low: Default of `low`.
        high: Default of `high`.
        choose: Which side counts: `max` for the straighter one, or `mean`; each arm by itself in curls.
    """

    keypoints: tuple[str, str, str]
    low: float
    high: float
    choose: Literal["max", "mean"]


_EXERCISES: dict[Preset, _Exercise] = {
    "squat": _Exercise(("hip", "knee", "ankle"), 105, 150, "max"),
    "push_up": _Exercise(("shoulder", "elbow", "wrist"), 120, 140, "mean"),
    "curl": _Exercise(("shoulder", "elbow", "wrist"), 65, 120, "mean"),
}


@dataclass(frozen=True, kw_only=True)
class RepetitionsConfig(CommonConfig):
    """Table `[[events.repetitions]]`: a preset, or three keypoints with two angles.

    Attributes:
        preset: The exercise; "": none, `keypoints` are required.
        keypoints: Three keypoints, the one at the vertex in the middle; without a side both sides are used. ():
            those of the preset.
        low: Angle below which the joint is bent; None: that of the preset. Required with `keypoints`.
        high: Angle above which the joint is straight; None: that of the preset. Required with `keypoints`.
        longest_s: A repetition that takes longer than this is not counted, for example sitting down for a while.
        series: Repetitions are reported from this one on, with those before it, if the pauses between them are shorter
            than 0.4 `longest_s`; 1 reports each at once. None: 2 for presets, because people train in series, else 1.
    """

    preset: Literal["", "squat", "push_up", "curl"] = ""
    keypoints: tuple[str, ...] = ()
    low: Angle | None = None
    high: Angle | None = None
    longest_s: Annotated[float, Limits(0.5, 600, unit="s")] = 8.0
    series: Annotated[int, Limits(1, 100)] | None = None
    min_score: Share = 0.2

    def check(self) -> None:
        """Raise ValueError if a value is out of range; the message begins with the key."""
        super().check()
        if bool(self.preset) == bool(self.keypoints):
            raise ValueError(f"preset: expected a preset ({', '.join(_EXERCISES)}) or three keypoints, "
                             f"got {'both' if self.preset else 'neither'}")  # fmt: skip
        if self.keypoints and (self.low is None or self.high is None):
            raise ValueError("low: expected `low` and `high` in degrees, which `keypoints` need")
        low, high = get_thresholds(self)
        if high - low < 10:
            raise ValueError(f"high: expected at least 10 degrees more than `low`, got {low:g} and {high:g}")


def get_thresholds(config: RepetitionsConfig) -> tuple[float, float]:
    """Return the angles below which the joint is bent, and above which it is straight."""
    exercise = _EXERCISES[config.preset] if config.preset else None
    low = config.low if config.low is not None else exercise.low if exercise else 0.0
    high = config.high if config.high is not None else exercise.high if exercise else 0.0
    return low, high


class _Repetition(NamedTuple):
    """A repetition that is complete.

    Attributes:
        started_s: When the joint was straight before.
        time_s: When it was straight again.
        angle: Smallest angle.
    """

    started_s: float
    time_s: float
    angle: float


@dataclass(slots=True, eq=False)
class _Cycle:
    """How far one joint, or both of a pair, is in a repetition."""

    angle: float | None = None
    """Smoothed angle."""
    time_s: float = -inf
    is_armed: bool = False
    """True if the joint was straight."""
    straight_since_s: float | None = None
    straight_s: float = 0.0
    """When it was straight the last time."""
    bent_s: float | None = None
    extreme: float = 180.0
    feet: Point | None = None
    """Where the feet were when the joint was straight the last time."""
    support: float | None = None
    """How far the shoulders were above the hands then, as a share of the arm."""
    elbow: Point | None = None
    """Where the elbow was then, relative to the shoulder, as a share of the height."""


@dataclass(slots=True, eq=False)
class _PersonState:
    """What is known about one person."""

    angles: list[tuple[float, float] | None]
    """Angle of each side, and when it was measured."""
    supports: list[tuple[float, float] | None]
    """How far each shoulder is above its hand, as a share of the arm, and when it was measured."""
    cycles: list[_Cycle]
    """One for each arm in curls, otherwise one for both sides."""
    is_in_position: bool = False
    posture: str = ""
    reach: float = 0.0
    """Largest distance between the ends of the limb, as a share of the height."""
    time_s: float = -inf
    waiting: list[_Repetition] = field(default_factory=list)
    """Repetitions that are not reported yet."""
    is_in_series: bool = False
    last_s: float = -inf
    """When the last repetition was complete."""
    count: int = 0
    event_s: float = -inf


class RepetitionsRule(Rule):
    """Repetitions of each person."""

    kind = "repetitions"

    def __init__(self, config: RepetitionsConfig, skeleton: Skeleton = COCO18) -> None:
        super().__init__(config, skeleton)
        exercise = _EXERCISES[config.preset] if config.preset else None
        self._preset, self._is_curl = config.preset, config.preset == "curl"
        self._choose = exercise.choose if exercise else "mean"
        self._triples = find_triples(exercise.keypoints if exercise else config.keypoints, skeleton)
        self._low, self._high = get_thresholds(config)
        self._longest_s, self._cooldown_s = config.longest_s, config.cooldown_s
        self._series = config.series or (2 if config.preset else 1)
        self._joints = BodyJoints.of(skeleton)
        if self._preset:
            self._reader = PostureReader(skeleton)
        self._states: dict[int, _PersonState] = {}
        self._total = 0

    @property
    def info(self) -> RuleInfo:
        """What sinks announce about the rule."""
        return RuleInfo(self.config.name, self.kind, ("repetition",), has_duration=False, counts=("repetitions",))

    def update(self, people: Sequence[Person], time_s: float, frame_size: tuple[int, int]) -> list[Event]:
        """Report repetitions that were completed in this frame."""
        events = []
        for person in people:
            state = self._states.get(person.number)
            if state is None:
                state = self._states[person.number] = self._create_state()
            if not self._measure(person, state, time_s):
                continue
            for side, cycle in enumerate(state.cycles):
                angle = self._choose_angle(state.angles[side : side + 1] if self._is_curl else state.angles, time_s)
                if angle is None:
                    continue
                if self._preset == "push_up":
                    angle = self._limit_push_up(state, cycle, angle, time_s)
                repetition = self._count(person, state, cycle, angle, time_s)
                if repetition is not None:
                    events += self._report(person, state, repetition)
            state.time_s = time_s
        return events

    def forget(self, person: int, seen_s: float) -> list[Event]:
        """Forget the count of a person who is gone."""
        self._states.pop(person, None)
        return []

    def rename(self, old: int, new: int) -> None:
        """Give the state of a person to another number."""
        if old in self._states:
            self._states[new] = self._states.pop(old)

    def finish(self, time_s: float) -> list[Event]:
        """Forget all people."""
        self._states.clear()
        return []

    def get_state(self) -> RuleState:
        """Return the number of repetitions of each person, and of all people since the start."""
        labels = {number: str(state.count) for number, state in self._states.items()}
        people = tuple(number for number, state in self._states.items()
                       if any(cycle.bent_s is not None for cycle in state.cycles))  # fmt: skip
        return RuleState(self.config.name, self.kind, bool(people), people, {"repetitions": self._total}, labels)

    def _create_state(self) -> _PersonState:
        sides = len(self._triples)
        return _PersonState([None] * sides, [None] * sides, [_Cycle() for _ in range(sides if self._is_curl else 1)])

    def _measure(self, person: Person, state: _PersonState, time_s: float) -> bool:
        """Measure the angle of each side; return False if the body is not in the position of the exercise."""
        if not self._preset:
            for side, triple in enumerate(self._triples):
                angle = _measure_angle(person.points, triple)
                if angle is not None:
                    state.angles[side] = angle, time_s
            return True
        posture = self._reader.read(person, "")
        height = self._reader.get_height(person)
        is_known = None
        if height is not None:
            is_known = _is_in_position(self._preset, get_body(person, self._joints), height, posture)
        if is_known is not None:
            state.is_in_position = is_known
        if height is None or not state.is_in_position:
            return False
        state.posture = posture or state.posture
        _decay_reach(state, time_s)
        for side, triple in enumerate(self._triples):
            angle = _measure_exercise(person.points, triple, height, state, self._preset)
            if self._is_curl:
                middle = get_body(person, self._joints).shoulder
                angle = self._limit_curl(person.points, triple, height, state.cycles[side], angle, middle)
            if angle is not None:
                state.angles[side] = angle, time_s
            shoulder, hand = person.points[triple[0]], person.points[triple[2]]
            if shoulder[2] > 0 and hand[2] > 0:
                state.supports[side] = (hand[1] - shoulder[1]) / ((UPPER_ARM + FOREARM) * height), time_s
        return True

    def _limit_curl(
        self, points: Points, triple: Triple, height: float, cycle: _Cycle, angle: float | None, middle: Point | None
    ) -> float | None:
        """Return the angle: between bent and straight, unless the forearm is up or hangs down.

        The repetition starts over if the upper arm does not hang beside the trunk, or moves.
        """
        shoulder, elbow, wrist = (points[index] for index in triple)
        if shoulder[2] > 0 and elbow[2] > 0:
            x, y = (elbow[0] - shoulder[0]) / height, (elbow[1] - shoulder[1]) / height
            before = cycle.elbow
            if before is None or cycle.straight_since_s is not None:
                weight = 1.0 if before is None else _FOLLOW_WEIGHT
                before = before or (x, y)
                cycle.elbow = before[0] + weight * (x - before[0]), before[1] + weight * (y - before[1])
            elif hypot(x - before[0], y - before[1]) > _MAX_ELBOW_SHIFT or y < _MIN_HANGING * UPPER_ARM:
                cycle.is_armed, cycle.elbow = False, None
                return None
        if angle is None:
            return None
        drop = (wrist[1] - elbow[1]) / (FOREARM * height)
        side = shoulder[0] - middle[0] if middle is not None and shoulder[2] > 0 else 0.0
        is_crossed = abs(side) > _MIN_SIDE * height and (wrist[0] - (middle or wrist)[0]) * side < 0
        if drop > -_MIN_CURL_RISE or is_crossed:
            angle = max(angle, self._low + 5)
        return angle if drop > _MIN_CURL_DROP else min(angle, self._high - 5)

    def _limit_push_up(self, state: _PersonState, cycle: _Cycle, angle: float, time_s: float) -> float:
        """Return the angle: between bent and straight, unless the shoulders are high above the hands or came down."""
        found = [one[0] for one in state.supports if one is not None and time_s - one[1] <= _MAX_SIDE_AGE_S]
        if not found:
            return angle
        lowest, mean = min(found), sum(found) / len(found)
        if cycle.support is None or cycle.straight_since_s is not None:
            before = mean if cycle.support is None else cycle.support
            cycle.support = before + (_FOLLOW_WEIGHT if mean > before else _SINK_WEIGHT) * (mean - before)
        if mean > cycle.support - _MIN_SUPPORT_DROP or lowest < _MIN_BENT_SUPPORT:
            angle = max(angle, self._low + 5)
        else:  # an elbow that points at the camera looks straight
            angle = min(angle, 2 * degrees(asin(max(0.0, mean / cycle.support))))
        return angle if lowest > _MIN_SUPPORT else min(angle, self._high - 5)

    def _choose_angle(self, angles: Sequence[tuple[float, float] | None], time_s: float) -> float | None:
        """Return the angle of the exercise from those of its sides; None if they were not found lately."""
        recent = [one[0] for one in angles if one is not None and time_s - one[1] <= _MAX_SIDE_AGE_S]
        if not recent:
            return None
        return max(recent) if self._choose == "max" else sum(recent) / len(recent)

    def _count(
        self, person: Person, state: _PersonState, cycle: _Cycle, raw: float, time_s: float
    ) -> _Repetition | None:
        """Follow the cycle straight, bent, straight; return the repetition if it is complete."""
        angle = _smooth(cycle, raw, time_s)
        if angle > self._high and (self._preset != "squat" or state.posture == "standing"):
            bent_s, cycle.bent_s = cycle.bent_s, None
            repetition = None
            if (
                bent_s is not None
                and cycle.is_armed
                and _MIN_PHASE_S <= time_s - bent_s <= (_MAX_RAISED_S if self._is_curl else inf)
                and (_MIN_REPETITION_S if self._preset else 0.0) <= time_s - cycle.straight_s <= self._longest_s
            ):
                repetition = _Repetition(cycle.straight_s, time_s, cycle.extreme)
            if cycle.straight_since_s is None:
                cycle.straight_since_s = time_s
            if time_s - cycle.straight_since_s >= _MIN_STRAIGHT_S or repetition is not None:
                cycle.is_armed, cycle.straight_s = True, time_s
                cycle.feet = person.feet
            return repetition
        cycle.straight_since_s = None
        if cycle.is_armed and self._preset and _has_moved(person, cycle.feet):
            cycle.is_armed = False
        if angle < self._low and cycle.bent_s is None:
            cycle.bent_s, cycle.extreme = time_s, angle
        if cycle.bent_s is not None:
            cycle.extreme = min(cycle.extreme, angle)
        return None

    def _report(self, person: Person, state: _PersonState, repetition: _Repetition) -> list[Event]:
        """Return the events of a repetition and of those that waited for it; none if it is the first of a series."""
        if repetition.started_s < state.last_s - _MAX_OVERLAP * (repetition.time_s - repetition.started_s):
            return []  # the other arm of the same curl
        if repetition.time_s - state.event_s < self._cooldown_s:
            return []
        if repetition.started_s - state.last_s > _MAX_PAUSE * self._longest_s:
            state.waiting.clear()
            state.is_in_series = False
        state.last_s = repetition.time_s
        state.waiting.append(repetition)
        if not state.is_in_series and len(state.waiting) < self._series:
            return []
        state.is_in_series = True
        events = []
        for one in state.waiting:
            state.count += 1
            events.append(Event("repetition", "once", self.config.name, "repetitions", make_event_id(), person.number,
                                one.time_s, one.time_s, count=state.count, value=one.angle, pose=person.pose,
                                reported_s=repetition.time_s))  # fmt: skip
        self._total += len(events)
        state.event_s = repetition.time_s
        state.waiting.clear()
        return events


def _smooth(cycle: _Cycle, angle: float, time_s: float) -> float:
    """Return the smoothed angle; the repetition starts over if nothing was known for long."""
    elapsed_s = time_s - cycle.time_s
    if cycle.angle is None or elapsed_s > _MAX_UNKNOWN_S:
        cycle.angle, cycle.is_armed, cycle.bent_s = angle, False, None
    else:
        cycle.angle += (angle - cycle.angle) * (1 - exp(-elapsed_s / _SMOOTHING_S))
    cycle.time_s = time_s
    return cycle.angle


def _is_in_position(preset: str, body: Body, height: float, posture: str | None) -> bool | None:
    """Return True if the body is in the position of the exercise; None if that is not known."""
    if posture == "lying":
        return preset == "push_up"
    if body.torso_angle is None or body.hip is None or body.shoulder is None:
        return None
    thigh = None if body.knee is None else (body.knee[1] - body.hip[1]) / (THIGH * height)
    shin = None if body.knee is None or body.ankle is None else (body.ankle[1] - body.knee[1]) / (SHIN * height)
    if preset == "push_up":
        is_inclined = body.torso_angle > 35 or (body.hip[1] - body.shoulder[1]) / (TORSO * height) < 0.65
        if thigh is None or shin is None:
            return True if body.torso_angle > _MIN_PUSH_UP_ANGLE else None if is_inclined else False
        return is_inclined and max(thigh, shin) < _MAX_PUSH_UP_LEG
    if preset == "squat":
        return body.torso_angle < _MAX_SQUAT_ANGLE and (shin is None or shin > _MIN_SQUAT_SHIN)
    return body.torso_angle < _MAX_CURL_ANGLE


def _has_moved(person: Person, feet: Point | None) -> bool:
    """Return True if the feet are no longer where they were."""
    if feet is None:
        return False
    x, y = person.feet
    return hypot(x - feet[0], y - feet[1]) > _MAX_FEET_SHIFT * person.height


def _measure_angle(points: Points, triple: Triple) -> float | None:
    a, vertex, b = (points[index] for index in triple)
    if a[2] <= 0 or vertex[2] <= 0 or b[2] <= 0:
        return None
    return compute_angle((a[0], a[1]), (vertex[0], vertex[1]), (b[0], b[1]))


def _measure_exercise(points: Points, triple: Triple, height: float, state: _PersonState, preset: str) -> float | None:
    """Return the angle of the joint, estimated from the distance between the ends of the limb.

    From the front, a bent knee looks straight, but hip and ankle come closer to each other. The angle follows from the
    distance as a share of the largest one that was seen.
    """
    a, vertex, b = (points[index] for index in triple)
    if a[2] <= 0 or b[2] <= 0:
        return None
    reach = hypot(a[0] - b[0], a[1] - b[1]) / height
    if reach > state.reach:
        state.reach += 0.3 * (reach - state.reach) if state.reach else reach
    from_reach = 2 * degrees(asin(min(1.0, reach / state.reach))) if state.reach else 180.0
    if vertex[2] <= 0:
        return from_reach if preset == "squat" else None
    angle = compute_angle((a[0], a[1]), (vertex[0], vertex[1]), (b[0], b[1]))
    if angle is None:
        return None
    return min(angle, from_reach) if preset == "squat" else max(angle, from_reach)


def _decay_reach(state: _PersonState, time_s: float) -> None:
    elapsed_s = min(1.0, time_s - state.time_s)
    if elapsed_s > 0:
        state.reach *= exp(-_REACH_DECAY_PER_S * elapsed_s)
