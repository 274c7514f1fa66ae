"""Evaluation of one rule: the settings that all rules have, people who are gone, and errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic

from .area import Area
from .event import Event, RuleState
from .person import Person
from .rule import Rule
from .schedule import Schedule

LOG = logging.getLogger("edgepose")

_LOG_INTERVAL_S = 60.0


class RuleRunner:
    """Runs one rule for the people of one camera.

    A person that the settings exclude is treated as absent: the rule keeps their state for `max_absence_s`.
    """

    def __init__(self, rule: Rule, areas: Mapping[str, Area], max_absence_s: float) -> None:
        """Create a runner.

        Args:
            rule: The rule.
            areas: Areas of the zones, by name.
            max_absence_s: Time in seconds after which the rule forgets an absent person.
        """
        config = rule.config
        self.rule, self._max_absence_s = rule, max_absence_s
        self._schedule = Schedule(config.days, config.hours)
        self._inside = [areas[name] for name in config.inside]
        self._outside = [areas[name] for name in config.outside]
        self._has_limits = bool(config.min_score or config.min_height)
        self._seen_s: dict[int, float] = {}
        self._is_on = False
        self._logged_s: float | None = None

    def update(
        self, people: Sequence[Person], time_s: float, frame_size: tuple[int, int], wall_s: float
    ) -> list[Event]:
        """Evaluate one frame; return the events."""
        if not (self._schedule.is_always or self._schedule.holds(wall_s)):
            if not self._is_on:
                return []
            self._is_on = False
            return self.finish(time_s)
        self._is_on = True
        if self._has_limits:
            people = self._select_clear(people, frame_size)
        if self._inside or self._outside:
            found, people = people, self._select_places(people)
            if excluded := {person.number for person in found} - {person.number for person in people}:
                self._call(partial(self.rule.note_excluded, excluded))
        seen_s = self._seen_s
        for person in people:
            seen_s[person.number] = time_s
        events = self._forget_absent(time_s) if len(seen_s) > len(people) else []
        try:
            events += self.rule.update(people, time_s, frame_size)
        except Exception as error:
            self._log(error)
        return events

    def rename(self, old: int, new: int) -> None:
        """Give the state of a person to another number."""
        if old in self._seen_s:
            self._seen_s[new] = self._seen_s.pop(old)
            self._call(partial(self.rule.rename, old, new))

    def finish(self, time_s: float) -> list[Event]:
        """End everything that has started, at the time when each person was last seen, and forget all people."""
        events: list[Event] = []
        for number, seen_s in self._seen_s.items():
            events += self._call(partial(self.rule.forget, number, seen_s))
        self._seen_s.clear()
        return events + self._call(partial(self.rule.finish, time_s))

    def get_state(self) -> RuleState:
        """Return the state of the rule after the last frame."""
        try:
            return self.rule.get_state()
        except Exception as error:
            self._log(error)
            return RuleState(self.rule.config.name, self.rule.kind, active=False)

    def _select_clear(self, people: Sequence[Person], frame_size: tuple[int, int]) -> Sequence[Person]:
        """Return the people who are clear and large enough."""
        config = self.rule.config
        if config.min_score:
            people = [person for person in people if person.pose.score >= config.min_score]
        if config.min_height:
            min_height = config.min_height * frame_size[1]
            people = [person for person in people if person.height >= min_height]
        return people

    def _select_places(self, people: Sequence[Person]) -> Sequence[Person]:
        """Return the people who are where the rule holds."""
        if self._inside:
            numbers = set().union(*(area.people for area in self._inside))
            people = [person for person in people if person.number in numbers]
        for area in self._outside:
            people = [person for person in people if person.number not in area.people]
        return people

    def _forget_absent(self, time_s: float) -> list[Event]:
        oldest_s = time_s - self._max_absence_s
        events: list[Event] = []
        for number in [number for number, seen_s in self._seen_s.items() if seen_s < oldest_s]:
            events += self._call(partial(self.rule.forget, number, self._seen_s.pop(number)))
        return events

    def _call(self, function: Callable[[], list[Event] | None]) -> list[Event]:
        """Call a function of the rule. An error is a defect of the rule: it is logged, and the other rules go on."""
        try:
            return function() or []
        except Exception as error:
            self._log(error)
            return []

    def _log(self, error: Exception) -> None:
        now = monotonic()
        if self._logged_s is None or now - self._logged_s >= _LOG_INTERVAL_S:
            self._logged_s = now
            LOG.error(
                "rule %r failed: %s: %s; please report this", self.rule.config.name, type(error).__name__, error,
                exc_info=LOG.isEnabledFor(logging.DEBUG),
            )  # fmt: skip
