"""Base classes of rules about what holds for a person for some time: a condition, or one of several labels.

Gaps are closed: what a few frames contradict still holds. The times of the events are those at which it began and
ended, not those at which the rule became sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from ...runtime.skeleton import COCO18, Skeleton
from .event import Event, EventName, RuleInfo, RuleState, make_event_id
from .person import Person
from .rule import CommonConfig, Duration, Rule

_MAX_UNKNOWN_S = 1.0
"""What has begun starts anew after its keypoints were missing for longer than this."""


@dataclass(frozen=True, kw_only=True)
class ConditionConfig(CommonConfig):
    """Keys of rules with a duration.

    Attributes:
        for_s: Time for which it must hold before it is reported. It must hold in half of the frames.
        release_s: Time for which it must not hold before its end is reported; shorter gaps are closed.
    """

    for_s: Duration = 0.5
    release_s: Duration = 0.5


@dataclass(slots=True, eq=False)
class PersonState:
    """What is known about one person."""

    label: str = ""
    """What was reported as started; "" if nothing."""
    id: str = ""
    started_s: float = 0.0
    off_s: float | None = None
    """Since when `label` does not hold; None if it holds."""
    candidate: str = ""
    """What may start."""
    candidate_s: float = 0.0
    candidate_frames: int = 0
    candidate_hits: int = 0
    gap_s: float | None = None
    """Since when `candidate` does not hold; None if it holds."""
    known_s: float = -inf
    event_s: float = -inf
    """Time of the last event."""


class LabelRule(Rule):
    """Rule that reports the beginning and the end of a label, such as a posture, per person.

    A rule defines `kind`, `event` and `classify`, and if there is a measured value, `measure`.
    """

    event: EventName
    """Name of the events, such as `posture`."""

    def __init__(self, config: ConditionConfig, skeleton: Skeleton = COCO18) -> None:
        super().__init__(config, skeleton)
        self._for_s, self._release_s, self._cooldown_s = config.for_s, config.release_s, config.cooldown_s
        self._states: dict[int, PersonState] = {}
        self._state: RuleState | None = None
        """The state since the last change; None: it has changed."""
        self.frame_size = (0, 0)
        """Width and height of the current frame in pixels."""
        self.time_s = 0.0
        """Time of the current frame."""

    @property
    def info(self) -> RuleInfo:
        """What sinks announce about the rule."""
        return RuleInfo(self.config.name, self.kind, (self.event,), has_duration=True)

    def classify(self, person: Person, current: str) -> str | None:
        """Return the label of a person in this frame.

        Args:
            person: The person.
            current: The label that holds now, for hysteresis: its thresholds should be wider; "" if none.

        Returns:
            The label; "" if none holds; None if it cannot be decided, because keypoints are missing: then the state is
            kept.
        """
        raise NotImplementedError

    def measure(self, person: Person) -> float | None:
        """Return the measured value for an event, such as an angle; called only when an event is made."""
        return None

    def get_event_label(self, label: str) -> str:
        """Return what events and states show of a label."""
        return label

    def update(self, people: Sequence[Person], time_s: float, frame_size: tuple[int, int]) -> list[Event]:
        """Classify each person, and report what began and ended."""
        self.frame_size, self.time_s = frame_size, time_s
        events: list[Event] = []
        states = self._states
        for person in people:
            state = states.get(person.number)
            if state is None:
                state = states[person.number] = PersonState()
            found = self.classify(person, state.label)
            if found is None:
                continue
            if found == state.label and not state.candidate:
                state.off_s, state.known_s = None, time_s
                continue
            self._advance(state, found, time_s)
            state.known_s = time_s
            if state.off_s is not None and time_s - state.off_s >= self._release_s:
                events.append(self._end(person.number, state, state.off_s, person))
                state.event_s = time_s
            if self._can_start(state, time_s):
                events.append(self._start(state, time_s, person))
        return events

    def forget(self, person: int, seen_s: float) -> list[Event]:
        """End the label of a person who is gone."""
        state = self._states.pop(person, None)
        if state is None or not state.label:
            return []
        return [self._end(person, state, seen_s if state.off_s is None else state.off_s, None)]

    def rename(self, old: int, new: int) -> None:
        """Give the state of a person to another number."""
        if old in self._states:
            self._states[new] = self._states.pop(old)
            self._state = None

    def finish(self, time_s: float) -> list[Event]:
        """End all labels."""
        return [event for person in list(self._states) for event in self.forget(person, time_s)]

    def get_state(self) -> RuleState:
        """Return the people with a label, and their labels."""
        if self._state is None:
            labels = {number: self.get_event_label(one.label) for number, one in self._states.items() if one.label}
            shown = {number: label for number, label in labels.items() if label}
            self._state = RuleState(self.config.name, self.kind, bool(labels), tuple(labels), labels=shown)
        return self._state

    def _advance(self, state: PersonState, found: str, time_s: float) -> None:
        """Note what was found in one frame."""
        if state.label:
            if found == state.label:
                state.off_s = None
            elif state.off_s is None:
                state.off_s = time_s
        if state.candidate:
            state.candidate_frames += 1
            if found == state.candidate:
                state.candidate_hits += 1
                state.gap_s = None
            elif state.gap_s is None:
                state.gap_s = time_s
            is_over = state.gap_s is not None and time_s - state.gap_s >= self._release_s
            if is_over or time_s - state.known_s > _MAX_UNKNOWN_S:
                state.candidate = ""
        if found and found != state.label and not state.candidate:
            state.candidate, state.candidate_s, state.gap_s = found, time_s, None
            state.candidate_frames = state.candidate_hits = 1

    def _can_start(self, state: PersonState, time_s: float) -> bool:
        return (
            state.candidate != ""
            and not state.label
            and state.gap_s is None
            and time_s - state.candidate_s >= self._for_s
            and 2 * state.candidate_hits >= state.candidate_frames
            and time_s - state.event_s >= self._cooldown_s
        )

    def _start(self, state: PersonState, time_s: float, person: Person) -> Event:
        self._state = None
        state.label, state.id, state.started_s = state.candidate, make_event_id(), state.candidate_s
        state.candidate, state.off_s, state.event_s = "", None, time_s
        return Event(
            self.event, "started", self.config.name, self.kind, state.id, person.number, time_s, state.started_s,
            label=self.get_event_label(state.label), value=self.measure(person), pose=person.pose,
        )  # fmt: skip

    def _end(self, number: int, state: PersonState, time_s: float, person: Person | None) -> Event:
        self._state = None
        label, state.label, state.off_s = state.label, "", None
        return Event(
            self.event, "ended", self.config.name, self.kind, state.id, number, time_s, state.started_s,
            time_s - state.started_s, label=self.get_event_label(label),
            value=None if person is None else self.measure(person), pose=None if person is None else person.pose,
        )  # fmt: skip


class ConditionRule(LabelRule):
    """Rule that reports the beginning and the end of a condition per person.

    A rule defines `kind`, `event` and `evaluate`, and if there is a measured value, `measure`.
    """

    _HOLDS = "holds"

    def evaluate(self, person: Person, is_active: bool) -> bool | None:
        """Return True if the condition holds in this frame.

        Args:
            person: The person.
            is_active: True if the condition was reported as started, for hysteresis.

        Returns:
            None if it cannot be decided, because keypoints are missing: then the state is kept.
        """
        raise NotImplementedError

    def classify(self, person: Person, current: str) -> str | None:
        """Return `_HOLDS` if the condition holds."""
        holds = self.evaluate(person, current != "")
        return None if holds is None else self._HOLDS if holds else ""

    def get_event_label(self, label: str) -> str:
        """Return "": the event says it all."""
        return ""
