"""Base class of rules. A rule keeps its own state per person; the engine filters people and adds common settings."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated

from ...runtime.schema import Limits, check_limits
from ...runtime.skeleton import COCO18, Skeleton
from .event import Event, RuleInfo, RuleKind, RuleState
from .person import Person
from .schedule import Weekday

Share = Annotated[float, Limits(0, 1)]
"""A share of something, such as the height of the frame."""
Duration = Annotated[float, Limits(0, 86400, unit="s")]
"""A time of at most a day."""


@dataclass(frozen=True)
class CommonConfig:
    """Keys that every rule has.

    Attributes:
        name: Name of the rule, unique in the file.
        min_score: Minimum pose score of a person.
        min_height: Minimum height of a person, as a share of the height of the frame.
        cooldown_s: After an event, this person causes no further event of the rule for this time.
        inside: Zones in which the person must be; (): anywhere.
        outside: Zones in which the person must not be, for example a bed.
        days: Days on which the rule holds; (): every day.
        hours: Local times at which the rule holds, such as `"22:00-06:00"`; "": always.
        cameras: Names of the cameras for which the rule holds, if there are several; (): all.
    """

    name: str
    min_score: Share = 0.0
    min_height: Share = 0.0
    cooldown_s: Duration = 0.0
    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    days: tuple[Weekday, ...] = ()
    hours: str = ""
    cameras: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise ValueError if a value is out of range; the message begins with the key.

        Rules with further keys extend it: call `super().check()` first.
        """
        check_limits(self)


class Rule:
    """A rule for the people of one camera.

    The engine calls `update` for each frame with the people that the rule is about. A person who is not among them
    keeps the state, and is forgotten (`forget`) after an absence that is longer than that of the tracker.
    """

    kind: RuleKind

    def __init__(self, config: CommonConfig, skeleton: Skeleton = COCO18) -> None:
        """Create a rule.

        Args:
            config: Keys of the rule, checked.
            skeleton: Skeleton of the poses.

        Raises:
            ValueError: The rule needs a keypoint that the skeleton does not have; the message begins with the key.
        """
        self.config, self.skeleton = config, skeleton

    @property
    def info(self) -> RuleInfo:
        """What sinks announce about the rule."""
        raise NotImplementedError

    def update(self, people: Sequence[Person], time_s: float, frame_size: tuple[int, int]) -> list[Event]:
        """Evaluate one frame.

        Args:
            people: People in the frame, without those that the common settings exclude.
            time_s: Time of the frame in seconds; never earlier than in the call before, except after `finish`.
            frame_size: Width and height of the frame in pixels.

        Returns:
            The events, in the order of their people.
        """
        raise NotImplementedError

    def forget(self, person: int, seen_s: float) -> list[Event]:
        """End what has started for a person who is gone, at the time when the person was last seen."""
        raise NotImplementedError

    def note_excluded(self, people: Collection[int]) -> None:
        """Learn who is in the frame, but not where the rule holds: they are absent for the rule, but not lost."""

    def rename(self, old: int, new: int) -> None:
        """Give the state of a person to another number: the tracker has lost the person and found them again."""
        raise NotImplementedError

    def finish(self, time_s: float) -> list[Event]:
        """End everything that has started, and forget all people: the source ends, or starts again. Counts are kept."""
        raise NotImplementedError

    def get_state(self) -> RuleState:
        """Return the state after the last frame."""
        raise NotImplementedError
