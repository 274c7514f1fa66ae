"""Evaluation of all rules, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

from ...runtime.skeleton import COCO18, Skeleton
from ...runtime.types import Pose
from .config import EventsConfig, create_rules
from .event import Event, RuleState
from .person import measure_people


class EventEngine:
    """Evaluates the rules of one camera. It is used by one thread, the one that calls `update`.

    >>> engine = EventEngine(config)
    >>> for frame, poses in edgepose.stream("clip.mp4"):
    ...     for event in engine.update(poses, frame.timestamp_ns / 1e9, (640, 480)):
    ...         print(event.event, event.rule, event.person)
    """

    def __init__(self, config: EventsConfig, skeleton: Skeleton = COCO18) -> None:
        """Create the rules.

        Args:
            config: The rules.
            skeleton: Skeleton of the poses.

        Raises:
            ValueError: A rule is not valid for this skeleton.
        """
        self.rules = create_rules(config)
        self._time_s = 0.0

    def update(
        self, poses: Sequence[Pose], time_s: float, frame_size: tuple[int, int], wall_s: float | None = None
    ) -> tuple[Event, ...]:
        """Evaluate all rules for one frame.

        Args:
            poses: Tracked poses, in pixels of the frame. Poses without a person number are ignored.
            time_s: Time of the frame in seconds, on any clock that does not go back.
            frame_size: Width and height of the frame in pixels.
            wall_s: Unix time of the frame, for schedules; None: rules with a schedule use the current time.

        Returns:
            The events of this frame.
        """
        self._time_s = time_s
        people = measure_people(poses)
        return tuple(event for rule in self.rules for event in rule.update(people, time_s, frame_size))

    def finish(self) -> tuple[Event, ...]:
        """End everything that has started, when the source ends; the end is the time of the last frame."""
        return tuple(event for rule in self.rules for event in rule.finish(self._time_s))

    def get_states(self) -> tuple[RuleState, ...]:
        """Return the state of each rule after the last frame."""
        return tuple(rule.get_state() for rule in self.rules)
