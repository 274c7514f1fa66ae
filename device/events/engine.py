"""Evaluation of all rules, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

from ...runtime.skeleton import COCO18, Skeleton
from ...runtime.types import Pose
from .body_anchor import BodyAnchor
from .config import EventsConfig, create_rules
from .event import Event, RuleState
from .person import measure_people
from .runner import RuleRunner

MAX_ABSENCE_S = 1.0
"""Time after which the tracker forgets a person, and so the rules do."""


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
        self.rules = create_rules(config, skeleton)
        self._skeleton = skeleton
        self._runners = [RuleRunner(rule, MAX_ABSENCE_S) for rule in self.rules]
        self._anchors: dict[int, BodyAnchor] = {}
        self._seen_s: dict[int, float] = {}
        self._time_s: float | None = None

    def update(
        self, poses: Sequence[Pose], time_s: float, frame_size: tuple[int, int], wall_s: float | None = None
    ) -> tuple[Event, ...]:
        """Evaluate all rules for one frame.

        Args:
            poses: Tracked poses, in pixels of the frame. Poses without a person number are ignored.
            time_s: Time of the frame in seconds. If it is earlier than that of the frame before, as in a video that is
                repeated, everything that has started ends with the frame before; counts are kept.
            frame_size: Width and height of the frame in pixels.
            wall_s: Unix time of the frame, for schedules; None: rules with a schedule use the current time.

        Returns:
            The events of this frame.

        Raises:
            ValueError: `time_s` is not finite.
        """
        if not isfinite(time_s):
            raise ValueError(f"EventEngine: expected a time in seconds, got {time_s}")
        events: list[Event] = []
        if self._time_s is not None and time_s < self._time_s:
            events += self.finish()
        self._time_s = time_s
        people = measure_people(poses, time_s, self._anchors, self._skeleton)
        for runner in self._runners:
            found = runner.update(people, time_s, frame_size)
            events += [event if event.time_s == time_s else replace(event, reported_s=time_s) for event in found]
        return tuple(events)

    def finish(self) -> tuple[Event, ...]:
        """End everything that has started, when the source ends; the end is the time of the last frame."""
        if self._time_s is None:
            return ()
        return tuple(event for runner in self._runners for event in runner.finish(self._time_s or 0.0))

    def get_states(self) -> tuple[RuleState, ...]:
        """Return the state of each rule after the last frame."""
        return tuple(runner.get_state() for runner in self._runners)
