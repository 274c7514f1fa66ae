"""Rule for falls: a person who was upright lies within about two seconds, and stays on the floor."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import hypot, inf

from ...runtime.skeleton import COCO18, Skeleton
from .body import Body, BodyJoints, Point, get_body
from .event import Event, RuleInfo, RuleState, make_event_id
from .person import Person
from .posture import PostureReader
from .rule import MAX_DURATION_S, CommonConfig, Rule, check_range

_MAX_HIDDEN_S = 2.0
"""Time without a clear posture that is not counted as part of the fall: networks often lose people who fall."""
_RELEASE_S = 0.8
"""A person who did not lie for this time does not lie any more."""
_MIN_DROP = 0.42
"""Shoulders fall by at least this share of the height if the person was not seen to stand, for example on a chair."""
_DROP_S = 2.0
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
        for_s: Time in seconds for which the person must stay on the floor before the fall is reported.
        within_s: Longest time in seconds from upright to lying. Who takes longer has lain down.
        gone_s: Time in seconds for which somebody on the floor may not be found before the fall ends.
    """

    for_s: float = 2.0
    within_s: float = 2.0
    gone_s: float = 10.0

    def check(self) -> None:
        """Raise ValueError if a value is out of range; the message begins with the key."""
        super().check()
        check_range("for_s", self.for_s, 0, MAX_DURATION_S)
        check_range("within_s", self.within_s, 0.3, 10)
        check_range("gone_s", self.gone_s, 0, MAX_DURATION_S)


@dataclass(slots=True, eq=False)
class _PersonState:
    """What is known about one person."""

    seen_s: float = 0.0
    place: Point = (0.0, 0.0)
    height: float = 0.0
    standing_s: float = -inf
    """When the person was last seen to stand."""
    hidden_s: float = 0.0
    """Time without a known posture since then."""
    shoulders: deque[tuple[float, float]] = field(default_factory=deque)
    """Time and y of the shoulders while the torso was upright, of the last seconds."""
    lying_s: float | None = None
    """Since when the person lies; None if not."""
    last_lying_s: float = -inf
    has_fallen: bool = False
    known_frames: int = 0
    lying_frames: int = 0
    not_lying_s: float | None = None
    """Since when a person who has lain does not lie."""
    id: str = ""
    """Identifier of the reported fall; "" if none."""
    number: int = 0
    """Number of the person when the fall was reported."""
    started_s: float = 0.0
    event_s: float = -inf


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

    @property
    def info(self) -> RuleInfo:
        """What sinks announce about the rule."""
        return RuleInfo(self.config.name, self.kind, ("fall",), has_duration=True)

    def update(self, people: Sequence[Person], time_s: float, frame_size: tuple[int, int]) -> list[Event]:
        """Report people who fell, and those who are upright again."""
        events: list[Event] = []
        for person in people:
            state = self._states.get(person.number)
            if state is None:
                state = self._states[person.number] = self._adopt(person, people, time_s)
            events += self._observe(person, state, time_s)
        if len(self._states) > len(people):
            events += self._forget_absent(time_s)
        return events

    def forget(self, person: int, seen_s: float) -> list[Event]:
        """Do nothing: people on the floor are often not found, so this rule remembers them longer than the tracker."""
        return []

    def rename(self, old: int, new: int) -> None:
        """Give the state of a person to another number."""
        if old in self._states:
            self._states[new] = self._states.pop(old)
            self._reader.rename(old, new)

    def finish(self, time_s: float) -> list[Event]:
        """End all falls."""
        events = [self._end(state, time_s, None) for state in self._states.values() if state.id]
        for number in self._states:
            self._reader.forget(number)
        self._states.clear()
        return events

    def get_state(self) -> RuleState:
        """Return the people on the floor."""
        people = tuple(number for number, state in self._states.items() if state.id)
        return RuleState(self.config.name, self.kind, bool(people), people, labels=dict.fromkeys(people, "fallen"))

    def _adopt(self, person: Person, people: Sequence[Person], time_s: float) -> _PersonState:
        """Return the state of somebody who disappeared here a moment ago: the tracker often loses people who fall."""
        present = {one.number for one in people}
        x, y = _find_place(person)
        best, best_distance = 0, inf
        for number, state in self._states.items():
            max_lost_s = self._gone_s if state.id else _MAX_LOST_S
            if number in present or time_s - state.seen_s > max_lost_s or not state.height:
                continue
            distance = hypot(x - state.place[0], y - state.place[1]) / state.height
            if distance < min(best_distance, _MAX_LOST_DISTANCE):
                best, best_distance = number, distance
        if not best:
            return _PersonState(seen_s=time_s)
        self._reader.rename(best, person.number)
        return self._states.pop(best)

    def _observe(self, person: Person, state: _PersonState, time_s: float) -> list[Event]:
        posture = self._reader.read(person, "lying" if state.lying_s is not None else "")
        elapsed_s = max(0.0, time_s - state.seen_s)
        state.seen_s, state.place = time_s, _find_place(person)
        state.height = self._reader.get_height(person.number) or state.height
        body = get_body(person, self._joints)
        if posture is None:
            state.hidden_s += elapsed_s
        else:
            # A pause in the tracking is hidden time, too.
            state.hidden_s += max(0.0, elapsed_s - 0.5)
        if posture == "lying":
            self._note_lying(body, state, time_s)
        elif posture is not None:
            self._note_not_lying(posture, body, state, time_s)
        elif state.lying_s is None:
            self._note_shoulders(body, state, time_s)
        if state.id and state.lying_s is None:
            return [self._end(state, time_s, person)]
        if self._has_fallen(posture, state, time_s):
            return [self._start(person, state, time_s)]
        return []

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
        if state.lying_s is not None:
            if time_s - state.not_lying_s >= _RELEASE_S:
                state.lying_s = None
            else:
                return
        if posture == "standing":
            state.standing_s, state.hidden_s = time_s, 0.0
        self._note_shoulders(body, state, time_s)

    def _note_shoulders(self, body: Body, state: _PersonState, time_s: float) -> None:
        shoulders = state.shoulders
        while shoulders and time_s - shoulders[0][0] > _DROP_S:
            shoulders.popleft()
        if body.shoulder is not None and body.torso_angle is not None and body.torso_angle < 40:
            shoulders.append((time_s, body.shoulder[1]))

    def _has_fallen(self, posture: str | None, state: _PersonState, time_s: float) -> bool:
        return (
            posture == "lying"
            and not state.id
            and state.has_fallen
            and state.lying_s is not None
            and time_s - state.lying_s >= self._for_s
            and state.lying_frames >= max(_MIN_LYING_FRAMES, _MIN_LYING_SHARE * state.known_frames)
            and time_s - state.event_s >= self._cooldown_s
        )

    def _start(self, person: Person, state: _PersonState, time_s: float) -> Event:
        state.id, state.number, state.event_s = make_event_id(), person.number, time_s
        state.started_s = time_s if state.lying_s is None else state.lying_s
        return Event("fall", "started", self.config.name, "fall", state.id, person.number, time_s, state.started_s,
                     pose=person.pose)  # fmt: skip

    def _end(self, state: _PersonState, time_s: float, person: Person | None) -> Event:
        identifier, state.id, state.lying_s, state.has_fallen = state.id, "", None, False
        return Event("fall", "ended", self.config.name, "fall", identifier, state.number, time_s, state.started_s,
                     time_s - state.started_s, pose=None if person is None else person.pose)  # fmt: skip

    def _forget_absent(self, time_s: float) -> list[Event]:
        """Forget people who are gone; a fall ends when the person was last seen."""
        events = []
        for number, state in list(self._states.items()):
            if time_s - state.seen_s > (self._gone_s if state.id else max(_MAX_LOST_S, _MAX_LYING_GAP_S)):
                if state.id:
                    events.append(self._end(state, state.seen_s, None))
                del self._states[number]
                self._reader.forget(number)
        return events


def _has_dropped(body: Body, state: _PersonState, time_s: float) -> bool:
    """Return True if the shoulders have fallen far in a short time."""
    if body.shoulder is None or not state.height:
        return False
    recent = [y for seen_s, y in state.shoulders if time_s - seen_s <= _DROP_S]
    return bool(recent) and body.shoulder[1] - min(recent) >= _MIN_DROP * state.height


def _find_place(person: Person) -> Point:
    left, top, right, bottom = person.box
    return (left + right) / 2, (top + bottom) / 2
