"""Evaluation of one rule: the settings that all rules have, people who are gone, and errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic

from .event import Event, RuleState
from .person import Person
from .rule import Rule

LOG = logging.getLogger("edgepose")

_LOG_INTERVAL_S = 60.0


class RuleRunner:
    """Runs one rule for the people of one camera."""

    def __init__(self, rule: Rule, max_absence_s: float) -> None:
        """Create a runner.

        Args:
            rule: The rule.
            max_absence_s: Time in seconds after which the rule forgets an absent person.
        """
        self.rule, self._max_absence_s = rule, max_absence_s
        self._seen_s: dict[int, float] = {}
        self._logged_s: float | None = None

    def update(self, people: Sequence[Person], time_s: float, frame_size: tuple[int, int]) -> list[Event]:
        """Evaluate one frame; return the events."""
        config = self.rule.config
        if config.min_score or config.min_height:
            min_height = config.min_height * frame_size[1]
            people = [one for one in people if one.pose.score >= config.min_score and one.height >= min_height]
        seen_s = self._seen_s
        for person in people:
            seen_s[person.number] = time_s
        events: list[Event] = []
        if len(seen_s) > len(people):
            oldest_s = time_s - self._max_absence_s
            for number in [number for number, seen in seen_s.items() if seen < oldest_s]:
                last_s = seen_s.pop(number)
                events += self._call(partial(self.rule.forget, number, last_s))
        events += self._call(partial(self.rule.update, people, time_s, frame_size))
        return events

    def rename(self, old: int, new: int) -> None:
        """Give the state of a person to another number."""
        if old in self._seen_s:
            self._seen_s[new] = self._seen_s.pop(old)
            self._call(partial(self.rule.rename, old, new))

    def finish(self, time_s: float) -> list[Event]:
        """End everything that has started, and forget all people."""
        self._seen_s.clear()
        return self._call(partial(self.rule.finish, time_s))

    def get_state(self) -> RuleState:
        """Return the state of the rule after the last frame."""
        try:
            return self.rule.get_state()
        except Exception as error:
            self._log(error)
            return RuleState(self.rule.config.name, self.rule.kind, active=False)

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
