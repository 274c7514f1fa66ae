"""Decision which frames belong to a clip, and the names of its files. It runs in the thread of the camera loop.

The names are known when an event happens, so that every message about the event can contain them. The sink only does
what the planner has decided.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

from ...runtime.io.naming import make_slug
from ..events.event import Event
from .config import ClipsConfig
from .ring import ROUNDING_S

MAX_REPORT_DELAY_S = 10.0
"""Maximum time from an event to its report for which the clip begins earlier."""
_SNAPSHOT_INTERVAL_S = 1.0
"""Within this time, further events of a rule have the same snapshot."""
_MAX_SNAPSHOTS = 20
"""Maximum number of snapshots of a clip; later events have the last one of their rule."""
_MAX_OPEN_EVENTS = 1000
"""Maximum number of events whose files are remembered until they end."""

_MAX_TAKEN_NAMES = 20_000
"""Maximum number of names that are remembered so that none is used twice if the clock is set back."""


class FramePlan(NamedTuple):
    """What the planner has decided about a frame.

    Attributes:
        events: The events of the frame with the names of their files.
        clip: Name of the clip to which the frame belongs, without suffix; "" for no clip.
        clip_s: Seconds from the beginning of the clip to the frame.
    """

    events: tuple[Event, ...]
    clip: str = ""
    clip_s: float = 0.0


@dataclass
class _Plan:
    """A clip that is being recorded."""

    stem: str
    start_s: float
    end_s: float
    open_ids: set[str] = field(default_factory=set)
    """Events that have started and not ended."""
    snapshots: int = 0
    last_snapshots: dict[str, tuple[float, str]] = field(default_factory=dict)
    """Time and file of the last snapshot, by rule."""


class ClipPlanner:
    """Planner of the clips of one camera. One thread uses it: the one that calls `update`."""

    def __init__(self, config: ClipsConfig, name: str) -> None:
        """Begin without a clip.

        Args:
            config: Settings.
            name: Display name of the device, or of the camera if there are several, for file names.
        """
        self._config, self._slug = config, make_slug(name)
        self._plan: _Plan | None = None
        self._files: dict[str, tuple[str, str]] = {}
        """Clip and snapshot of events that have not ended, by id."""
        self._taken: dict[str, None] = {}
        """Names that cannot be used again, oldest first."""
        self._last_s = 0.0

    def reserve(self, stems: Collection[str]) -> None:
        """Exclude names, because there are files that have them."""
        self._taken.update(dict.fromkeys(stems))

    def update(self, events: Sequence[Event], time_s: float, captured_at: str | None) -> FramePlan:
        """Decide about one frame.

        Args:
            events: Events of the frame.
            time_s: Time of the frame in seconds, on the clock of the source.
            captured_at: Time of the exposure as RFC 3339; None: now.
        """
        if self._plan is not None and self._is_over(self._plan, time_s):
            self._plan = None
        self._last_s = time_s
        if self._plan is None and (causes := [one for one in events if self._is_cause(one) and one.state != "ended"]):
            self._plan = _Plan(self._choose_stem(causes[0], captured_at), self._choose_start_s(causes, time_s), time_s)
        if self._plan is None:
            return FramePlan(tuple(self._add_files(event, time_s) for event in events))
        self._extend(self._plan, events, time_s)
        planned = tuple(self._add_files(event, time_s) for event in events)
        return FramePlan(planned, self._plan.stem, time_s - self._plan.start_s)

    def finish(self, events: Sequence[Event]) -> tuple[Event, ...]:
        """Return the last events, after the last frame, with the names of their files."""
        return tuple(self._add_files(event, self._last_s) for event in events)

    def _is_cause(self, event: Event) -> bool:
        return not self._config.rules or event.rule in self._config.rules

    def _is_over(self, plan: _Plan, time_s: float) -> bool:
        return (
            time_s < self._last_s  # a repeated video
            or time_s - plan.start_s >= self._config.max_s
            or (time_s > plan.end_s + ROUNDING_S and not plan.open_ids)
        )

    def _choose_start_s(self, causes: Sequence[Event], time_s: float) -> float:
        """Return the time at which a clip begins: before the event, which can be earlier than its report.

        A fall, for example, is reported when the person has stayed on the floor.
        """
        config = self._config
        earliest_s = time_s - min(MAX_REPORT_DELAY_S, max(0.0, config.max_s - config.before_s - config.after_s))
        begin_s = min(time_s, *(event.started_s for event in causes))
        return max(earliest_s, begin_s) - config.before_s

    def _extend(self, plan: _Plan, events: Sequence[Event], time_s: float) -> None:
        for event in events:
            if not self._is_cause(event):
                continue
            plan.end_s = max(plan.end_s, time_s + self._config.after_s)
            if event.state == "started":
                plan.open_ids.add(event.id)
            else:
                plan.open_ids.discard(event.id)

    def _choose_stem(self, event: Event, captured_at: str | None) -> str:
        moment = datetime.now(UTC) if captured_at is None else datetime.fromisoformat(captured_at)
        base = f"{moment.astimezone(UTC):%Y-%m-%dT%H%M%SZ}-{self._slug}-{make_slug(event.rule)}"
        stem, number = base, 1
        while stem in self._taken:
            number += 1
            stem = f"{base}-{number}"
        self._taken[stem] = None
        if len(self._taken) > _MAX_TAKEN_NAMES:
            del self._taken[next(iter(self._taken))]
        return stem

    def _add_files(self, event: Event, time_s: float) -> Event:
        if event.state == "ended" and event.id in self._files:
            clip, snapshot = self._files.pop(event.id)
        elif self._plan is None:
            return event
        else:
            clip = f"{self._plan.stem}.mp4" if self._config.video else ""
            snapshot = self._choose_snapshot(self._plan, event, time_s)
            if event.state == "started":
                self._files[event.id] = clip, snapshot
                while len(self._files) > _MAX_OPEN_EVENTS:
                    del self._files[next(iter(self._files))]
        return replace(event, clip=clip, snapshot=snapshot)

    def _choose_snapshot(self, plan: _Plan, event: Event, time_s: float) -> str:
        if not (self._config.snapshot and self._is_cause(event)):
            return ""
        last_s, last = plan.last_snapshots.get(event.rule, (float("-inf"), ""))
        shared = next((name for at_s, name in plan.last_snapshots.values() if at_s == time_s), "")
        if shared:
            last = shared
        elif event.state == "ended" or time_s - last_s < _SNAPSHOT_INTERVAL_S or plan.snapshots >= _MAX_SNAPSHOTS:
            return last
        else:
            plan.snapshots += 1
            last = f"{plan.stem}.jpg" if plan.snapshots == 1 else f"{plan.stem}.{plan.snapshots}.jpg"
        plan.last_snapshots[event.rule] = time_s, last
        return last
