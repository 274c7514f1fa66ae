"""Rule for falls: a person who was upright lies within about two seconds, and stays on the floor."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import hypot, inf
from typing import Annotated

from ...runtime.schema import Limits
from ...runtime.skeleton import COCO18, Skeleton
from .body import TORSO, Body, BodyJoints, Point, get_body
from .descent import Descent, DescentWatcher
from .event import Event, RuleInfo, RuleState, make_event_id
from .person import Person
from .posture import PostureReader
from .rule import CommonConfig, Duration, Rule, Share

_MAX_UPRIGHT_ANGLE = 25.0
"""Angle of the torso of somebody who stands."""
_MIN_STANDING_S = 0.4
_MIN_FALLEN_ANGLE = 57.0
_MIN_UPRIGHT_TORSO = 0.75
_MIN_HIDDEN_S, _MAX_HIDDEN_S = 0.5, 2.0
"""A longer time without a posture is not counted as part of the fall: networks often lose people who fall."""
_RELEASE_S = 0.8
"""A person who did not lie for this time does not lie any more."""
_MIN_DROP = 0.5
"""Shoulders fall by at least this share of the height if the person was not seen to stand, for example on a chair."""
_DROP_S = 1.0
_MIN_CLEAR_SCORE = 0.2
"""Poses with a lower score are fragments of people, for example of people who lie."""
_MIN_VANISHED_S, _MIN_FOUND_KEYPOINTS = 0.5, 11
_MAX_LOST_S = 2.5
"""A new number takes over the state of a person who disappeared at most this long ago."""
_MAX_LOST_DISTANCE = 0.8
"""Distance between the two, as a share of the height of the person."""
_MIN_LYING_SHARE = 0.6
"""Share of the frames with a known posture in which the person must lie."""
_MIN_LYING_FRAMES = 3
_MAX_LYING_GAP_S = 2.0


@dataclass(frozen=True, kw_only=True)
class FallConfig(CommonConfig):
    """Table `[[events.fall]]`.

    Attributes:
        for_s: Time for which the person must stay on the floor before the fall is reported.
        within_s: Longest time from upright to lying. A person who takes longer has lain down, which is not a fall.
        gone_s: Time for which somebody on the floor may not be found before the fall ends.
    """

    for_s: Duration = 2.0
    within_s: Annotated[float, Limits(0.3, 10, unit="s")] = 1.2
    gone_s: Duration = 10.0
    min_score: Share = 0.05
    min_height: Share = 0.2


@dataclass(slots=True, eq=False)
class _PersonState:
    """What is known about one person."""

    seen_s: float = 0.0
    place: Point = (0.0, 0.0)
    height: float = 0.0
    standing_s: float = -inf
    """When the person was last seen to stand."""
    standing_from_s: float | None = None
    """Since when the person stands; None if not."""
    hidden_s: float = 0.0
    """Time without a known posture since then."""
    shoulders: deque[tuple[float, float]] = field(default_factory=deque)
    """Time and y of the shoulders while the torso was upright, of the last seconds."""
    found_s: float = -inf
    """When most keypoints were found the last time."""
    clear_s: float = inf
    """When the person was found with a good score the last time."""
    known_s: float = inf
    """When the posture was known the last time."""
    lying_s: float | None = None
    """Since when the person lies; None if not."""
    last_lying_s: float = -inf
    has_fallen: bool = False
    known_frames: int = 0
    lying_frames: int = 0
    not_lying_s: float | None = None
    """Since when a person who has lain does not lie."""
    is_up: bool = False
    """True if a person who has fallen is up again."""
    id: str = ""
    """Identifier of the reported fall; "" if none."""
    number: int = 0
    """Number of the person when the fall was reported."""
    started_s: float = 0.0


class FallRule(Rule):
    """People who fall and stay on the floor."""

    kind = "fall"

    def __init__(self, config: FallConfig, skeleton: Skeleton = COCO18) -> None:
        super().__init__(config, skeleton)
        self._for_s, self._within_s, self._gone_s = config.for_s, config.within_s, config.gone_s
        self._cooldown_s = config.cooldown_s
        self._joints = BodyJoints.of(skeleton)
        self._reader = PostureReader(skeleton)
        self._states: dict[int, _PersonState] = {}
        self._reported_s: dict[int, float] = {}
        """When a fall of a person was reported, for the cool-down; older ones are removed."""
        self._watcher = DescentWatcher(self._joints)
        self._state: RuleState | None = None

    @property
    def info(self) -> RuleInfo:
        """What sinks announce about the rule."""
        return RuleInfo(self.config.name, self.kind, ("fall",), has_duration=True)

    def update(self, people: Sequence[Person], time_s: float, frame_size: tuple[int, int]) -> list[Event]:
        """Report people who fell, and those who are upright again."""
        events: list[Event] = []
        if self._reported_s:
            self._drop_reports(time_s)
        states = self._states
        for person in people:
            state = states.get(person.number)
            if state is None:
                state = states[person.number] = self._adopt(person, people, time_s)
            if (end := self._observe(person, state, time_s)) is not None:
                events.append(end)
        for number, state in states.items():
            if state.lying_s is not None and self._has_fallen(number, state, time_s, state.lying_s):
                found = next((person for person in people if person.number == number), None)
                events.append(self._start(number, found, state, time_s))
        if len(self._states) > len(people):
            events += self._forget_absent(time_s)
        return events + self._watch(people, time_s, frame_size)

    def forget(self, person: int, seen_s: float) -> list[Event]:
        """Do nothing: people on the floor are often not found, so this rule remembers them longer than the tracker."""
        return []

    def note_excluded(self, people: Collection[int]) -> None:
        """Do not take somebody for lost who comes down in a zone that is left out, such as a bed."""
        self._watcher.forget(people)
        for number in people:
            state = self._states.get(number)
            if state is not None and not state.id:
                state.lying_s = None

    def rename(self, old: int, new: int) -> None:
        """Give the state of a person to another number."""
        if old in self._states:
            self._states[new] = self._states.pop(old)
        self._rename_report(old, new)
        self._watcher.rename(old, new)

    def finish(self, time_s: float) -> list[Event]:
        """End all falls."""
        events = [self._end(state, time_s, None) for state in self._states.values() if state.id]
        events += [self._end_descent(one, time_s) for one in self._watcher.descents if one.id]
        self._watcher = DescentWatcher(self._joints)
        self._states.clear()
        self._reported_s.clear()
        return events

    def get_state(self) -> RuleState:
        """Return the people on the floor."""
        people = tuple(number for number, state in self._states.items() if state.id)
        people += tuple(one.number for one in self._watcher.descents if one.id and one.number not in people)
        if self._state is None or self._state.people != people:
            self._state = RuleState(
                self.config.name, self.kind, bool(people), people, labels=dict.fromkeys(people, "fallen")
            )
        return self._state

    def _watch(self, people: Sequence[Person], time_s: float, frame_size: tuple[int, int]) -> list[Event]:
        """Report people who came down fast and were not seen upright since, even if they are not found on the floor."""
        events = [self._end_descent(one, time_s) for one in self._watcher.update(people, time_s, frame_size) if one.id]
        if not self._watcher.descents:
            return events
        for one in list(self._watcher.descents):
            if one.id:
                if time_s - one.seen_s > self._gone_s:
                    events.append(self._end_descent(one, time_s))
                    self._watcher.remove(one)
            elif time_s - one.time_s >= self._for_s:
                if (self._is_reported(one.x, one.height) or self._is_seen(one.number, time_s)
                        or one.number in self._reported_s):  # fmt: skip
                    self._watcher.remove(one)
                    continue
                self._reported_s[one.number] = time_s
                one.id = make_event_id()
                events.append(Event("fall", "started", self.config.name, "fall", one.id, one.number, time_s, one.time_s,
                                    pose=one.pose))  # fmt: skip
        return events

    def _is_reported(self, x: float, height: float) -> bool:
        """Return True if a fall at this place has been reported and has not ended."""
        places = [state.place[0] for state in self._states.values() if state.id]
        places += [one.x for one in self._watcher.descents if one.id]
        return any(abs(place - x) < height for place in places)

    def _drop_reports(self, time_s: float) -> None:
        """Forget falls that were reported longer ago than the cool-down."""
        for old in [old for old, reported_s in self._reported_s.items() if time_s - reported_s >= self._cooldown_s]:
            del self._reported_s[old]

    def _rename_report(self, old: int, new: int) -> None:
        if old in self._reported_s:
            self._reported_s[new] = self._reported_s.pop(old)

    def _is_seen(self, number: int, time_s: float) -> bool:
        """Return True if the person is found: then the posture decides."""
        state = self._states.get(number)
        return state is not None and time_s - state.found_s < _MIN_VANISHED_S

    def _end_descent(self, descent: Descent, time_s: float) -> Event:
        return Event("fall", "ended", self.config.name, "fall", descent.id, descent.number, time_s, descent.time_s,
                     time_s - descent.time_s)  # fmt: skip

    def _adopt(self, person: Person, people: Sequence[Person], time_s: float) -> _PersonState:
        """Return the state of somebody who disappeared here a moment ago: the tracker often loses people who fall."""
        present = {one.number for one in people}
        x, y = _find_place(person)
        is_fragment = person.pose.score < _MIN_CLEAR_SCORE
        best, best_distance = 0, inf
        for number, state in self._states.items():
            max_lost_s = self._gone_s if state.id else _MAX_LOST_S
            is_clear = time_s - state.clear_s < _MIN_VANISHED_S or person.number == number
            if (number in present and is_clear) or time_s - state.clear_s > max_lost_s or not state.height:
                continue
            if is_fragment and self._reader.read(person, "") != "lying":
                continue
            distance = hypot(x - state.place[0], y - state.place[1]) / state.height
            if distance < min(best_distance, _MAX_LOST_DISTANCE):
                best, best_distance = number, distance
        if not best:
            return _PersonState(seen_s=time_s)
        state = self._states.pop(best)
        self._rename_report(best, person.number)
        person.anchor.size.height = state.height
        return state

    def _observe(self, person: Person, state: _PersonState, time_s: float) -> Event | None:
        posture = self._reader.read(person, "lying" if state.lying_s is not None else "")
        is_clear = person.pose.score >= _MIN_CLEAR_SCORE
        state.seen_s = time_s
        if not is_clear and posture != "lying":
            return None
        state.place = _find_place(person)
        body = get_body(person, self._joints)
        state.height = body.size or state.height
        if posture == "lying" and state.lying_s is None and _is_along(body):
            # Who kneels in front of the camera looks the same.
            posture = None
        if posture is not None:
            hidden_s = time_s - state.known_s - _MIN_HIDDEN_S
            if hidden_s > 0:
                state.hidden_s += hidden_s
            state.known_s = time_s
        if posture == "lying":
            self._note_lying(body, state, time_s)
        elif posture is not None:
            self._note_not_lying(posture, body, state, time_s)
        elif state.lying_s is None:
            self._note_shoulders(body, state, time_s)
        if is_clear:
            state.clear_s = time_s
            if body.count >= _MIN_FOUND_KEYPOINTS:
                state.found_s = time_s
        if state.id and state.is_up:
            return self._end(state, time_s, person)
        return None

    def _note_lying(self, body: Body, state: _PersonState, time_s: float) -> None:
        if state.lying_s is None or (not state.id and time_s - state.last_lying_s > _MAX_LYING_GAP_S):
            state.lying_s, state.known_frames, state.lying_frames = time_s, 0, 0
            duration_s = time_s - state.standing_s - min(state.hidden_s, _MAX_HIDDEN_S)
            state.has_fallen = duration_s <= self._within_s or _has_dropped(body, state, time_s)
        state.last_lying_s, state.not_lying_s = time_s, None
        state.known_frames += 1
        state.lying_frames += 1

    def _note_not_lying(self, posture: str, body: Body, state: _PersonState, time_s: float) -> None:
        state.known_frames += 1
        if state.not_lying_s is None:
            state.not_lying_s = time_s
        if state.lying_s is not None or state.id:
            if time_s - state.not_lying_s < _RELEASE_S:
                return
            state.lying_s, state.is_up = None, True
        if posture != "standing":
            state.standing_from_s = None
        elif state.standing_from_s is None:
            state.standing_from_s = time_s
        elif time_s - state.standing_from_s >= _MIN_STANDING_S and _is_upright(body, state.height):
            state.standing_s, state.hidden_s = time_s, 0.0
        self._note_shoulders(body, state, time_s)

    def _note_shoulders(self, body: Body, state: _PersonState, time_s: float) -> None:
        shoulders = state.shoulders
        while shoulders and time_s - shoulders[0][0] > _DROP_S:
            shoulders.popleft()
        if body.shoulder is not None and body.torso_angle is not None and body.torso_angle < 40:
            shoulders.append((time_s, body.shoulder[1]))

    def _has_fallen(self, number: int, state: _PersonState, time_s: float, lying_s: float) -> bool:
        return (
            not state.id
            and state.has_fallen
            and number not in self._reported_s
            and time_s - lying_s >= self._for_s
            and state.lying_frames >= max(_MIN_LYING_FRAMES, _MIN_LYING_SHARE * state.known_frames)
            and not self._is_reported(state.place[0], state.height)
        )

    def _start(self, number: int, person: Person | None, state: _PersonState, time_s: float) -> Event:
        state.id, state.number, self._reported_s[number] = make_event_id(), number, time_s
        state.started_s = state.clear_s if state.lying_s is None else state.lying_s
        state.is_up = False
        return Event("fall", "started", self.config.name, "fall", state.id, number, time_s, state.started_s,
                     pose=None if person is None else person.pose)  # fmt: skip

    def _end(self, state: _PersonState, time_s: float, person: Person | None) -> Event:
        identifier, state.id, state.lying_s, state.has_fallen = state.id, "", None, False
        state.is_up = False
        return Event("fall", "ended", self.config.name, "fall", identifier, state.number, time_s, state.started_s,
                     time_s - state.started_s, pose=None if person is None else person.pose)  # fmt: skip

    def _forget_absent(self, time_s: float) -> list[Event]:
        """Forget people who are gone; a fall ends when the person was last seen."""
        events = []
        for number, state in list(self._states.items()):
            if time_s - state.seen_s > (self._gone_s if state.id else self._for_s + _MAX_LOST_S):
                if state.id:
                    events.append(self._end(state, state.seen_s, None))
                del self._states[number]
        return events


def _is_along(body: Body) -> bool:
    """Return True if the torso points to the camera or away from it."""
    return body.torso_angle is not None and body.torso_angle < _MIN_FALLEN_ANGLE


def _is_upright(body: Body, height: float) -> bool:
    """Return True if the torso is upright, and does not point towards the camera, as on hands and knees."""
    if body.torso_angle is None or body.torso is None or not height:
        return False
    return body.torso_angle < _MAX_UPRIGHT_ANGLE and body.torso > _MIN_UPRIGHT_TORSO * TORSO * height


def _has_dropped(body: Body, state: _PersonState, time_s: float) -> bool:
    """Return True if the shoulders have fallen far in a short time."""
    if body.shoulder is None or not state.height:
        return False
    recent = [y for seen_s, y in state.shoulders if time_s - seen_s <= _DROP_S]
    return bool(recent) and body.shoulder[1] - min(recent) >= _MIN_DROP * state.height


def _find_place(person: Person) -> Point:
    left, top, right, bottom = person.box
    return (left + right) / 2, (top + bottom) / 2
