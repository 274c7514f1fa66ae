"""Base classes of rules. A rule keeps its own state per person; the engine filters people and adds common settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .event import Event, EventState, RuleInfo, RuleKind, RuleState
from .person import Person

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


@dataclass(frozen=True)
class CommonConfig:
    """Keys that every rule has.

    Attributes:
        name: Name of the rule, unique in the file.
        min_score: Minimum pose score of a person, 0 to 1.
        min_height: Minimum height of a person, as a share of the height of the frame, 0 to 1.
        cooldown_s: After an event, this person causes no further event of the rule for this time, in seconds.
        inside: Zones in which the person must be; (): anywhere.
        outside: Zones in which the person must not be, for example a bed.
        days: Days on which the rule holds; (): every day.
        hours: `"22:00-06:00"`: local times at which the rule holds; "": always.
    """

    name: str
    min_score: float = 0.0
    min_height: float = 0.0
    cooldown_s: float = 0.0
    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    days: tuple[Weekday, ...] = ()
    hours: str = ""


class Rule:
    """A rule for the people of one camera."""

    kind: RuleKind

    def __init__(self, config: CommonConfig) -> None:
        self.config = config

    @property
    def info(self) -> RuleInfo:
        """What sinks announce about the rule."""
        raise NotImplementedError

    def update(self, people: Sequence[Person], time_s: float, frame_size: tuple[int, int]) -> list[Event]:
        """Evaluate one frame.

        Args:
            people: People whom the rule is about, those that the common settings exclude left out.
            time_s: Time of the frame in seconds; never earlier than in the call before.
            frame_size: Width and height of the frame in pixels.

        Returns:
            The events, in the order of their people.
        """
        raise NotImplementedError

    def finish(self, time_s: float) -> list[Event]:
        """End everything that has started, because the source ends or the person is gone for good."""
        raise NotImplementedError

    def get_state(self) -> RuleState:
        """Return the state after the last frame."""
        raise NotImplementedError


def make_event_state(is_active: bool) -> EventState:
    """Return the state of an event that begins or ends."""
    return "started" if is_active else "ended"
