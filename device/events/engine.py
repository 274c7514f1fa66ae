"""Evaluation of all rules, frame by frame."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

from ...runtime.skeleton import COCO18, Skeleton
from ...runtime.types import Pose
from .body_anchor import BodyAnchor, BodyIndex
from .config import EventsConfig, create_areas, create_rules
from .event import Event, RuleInfo, RuleState
from .handover import find_handovers
from .person import measure_people
from .runner import RuleRunner

MAX_ABSENCE_S = 1.0
"""Time after which the tracker forgets a person, and so the rules do."""


class EventEngine:
    """Evaluates the rules of one camera. It is used by one thread, the one that calls `update`.

    >>> engine = EventEngine(edgepose.events.load_rules("rules.toml"))
    >>> for frame, poses in edgepose.stream("clip.mp4"):
    ...     height, width = frame.image.shape[:2]
    ...     for event in engine.update(poses, frame.timestamp_ns / 1e9, (width, height)):
    ...         print(event.event, event.state, event.rule, event.person)
    """

    def __init__(self, config: EventsConfig, skeleton: Skeleton = COCO18, *, camera: str = "") -> None:
        """Create the rules.

        Args:
            config: The rules.
            skeleton: Skeleton of the poses.
            camera: Name of the camera, if there are several: rules for other cameras are left out.

        Raises:
            ValueError: A rule is not valid, or not for this skeleton.
        """
        config.check()
        self._skeleton, self._index = skeleton, BodyIndex.of(skeleton)
        self._areas = create_areas(config, skeleton)
        self.rules = create_rules(config, skeleton, camera, self._areas)
        self._runners = [RuleRunner(rule, self._areas, MAX_ABSENCE_S) for rule in self.rules]
        self._anchors: dict[int, BodyAnchor] = {}
        self._seen_s: dict[int, float] = {}
        self._time_s: float | None = None

    @property
    def infos(self) -> tuple[RuleInfo, ...]:
        """What each rule reports, in the order of `get_states`."""
        return tuple(rule.info for rule in self.rules)

    def update(
        self, poses: Sequence[Pose], time_s: float, frame_size: tuple[int, int], wall_s: float | None = None
    ) -> tuple[Event, ...]:
        """Evaluate all rules for one frame.

        Args:
            poses: Tracked poses, in pixels of the frame. Poses without a person number are ignored.
            time_s: Time of the frame in seconds. If it is earlier than that of the frame before, as in a video that is
                repeated, everything that has started ends with the frame before; counts are kept.
            frame_size: Width and height of the frame in pixels.
            wall_s: Unix time of the frame, for schedules; None: the current time.

        Returns:
            The events of this frame.

        Raises:
            ValueError: A time is not finite, or a pose does not have the keypoints of the skeleton.
        """
        wall_s = time.time() if wall_s is None else wall_s
        if not (isfinite(time_s) and isfinite(wall_s)):
            raise ValueError(f"EventEngine: expected times in seconds, got {time_s} and {wall_s}")
        count = len(self._skeleton.keypoints)
        for pose in poses:
            if len(pose.keypoints) != count:
                raise ValueError(
                    f"EventEngine: expected poses with {count} keypoints, got {len(pose.keypoints)}; "
                    "create the engine with the skeleton of the poses: EventEngine(config, pose.skeleton)"
                )
        events: list[Event] = []
        if self._time_s is not None and time_s < self._time_s:
            events += self.finish()
        self._time_s = time_s
        self._follow(poses, time_s)
        people = measure_people(poses, time_s, self._anchors, self._skeleton)
        for person in people:
            self._seen_s[person.number] = time_s
        for area in self._areas.values():
            area.update(people, frame_size)
        for runner in self._runners:
            for event in runner.update(people, time_s, frame_size, wall_s):
                events.append(self._complete(event, time_s))
        return tuple(events)

    def finish(self) -> tuple[Event, ...]:
        """End everything that has started, when the source ends: when each person was last seen."""
        if self._time_s is None:
            return ()
        time_s = self._time_s
        events = [self._complete(event, time_s) for runner in self._runners for event in runner.finish(time_s)]
        self._anchors.clear()
        self._seen_s.clear()
        for area in self._areas.values():
            area.people.clear()
        return tuple(events)

    def get_states(self) -> tuple[RuleState, ...]:
        """Return the state of each rule after the last frame."""
        return tuple(runner.get_state() for runner in self._runners)

    def _follow(self, poses: Sequence[Pose], time_s: float) -> None:
        """Forget people who are gone, and find those who have got another number."""
        seen_s = self._seen_s
        numbers = {pose.person for pose in poses}
        lost = {number: seen for number, seen in seen_s.items() if number not in numbers}
        for number in [number for number, seen in lost.items() if seen < time_s - MAX_ABSENCE_S]:
            del lost[number], seen_s[number], self._anchors[number]
            for area in self._areas.values():
                area.people.discard(number)
        if not lost:
            return
        new = [pose for pose in poses if pose.person and pose.person not in seen_s and (pose.keypoints[:, 2] > 0).any()]
        for old, number in find_handovers(new, lost, self._anchors, self._index, time_s) if new else ():
            self._anchors[number], seen_s[number] = self._anchors.pop(old), seen_s.pop(old)
            for area in self._areas.values():
                if old in area.people:
                    area.people.discard(old)
                    area.people.add(number)
            for runner in self._runners:
                runner.rename(old, number)

    def _complete(self, event: Event, time_s: float) -> Event:
        """Add the time of the frame, and the zone in which the person is."""
        zone = event.zone or next((area.name for area in self._areas.values() if event.person in area.people), "")
        reported_s = None if event.time_s == time_s else time_s
        if zone == event.zone and reported_s is None:
            return event
        return replace(event, zone=zone, reported_s=reported_s)
