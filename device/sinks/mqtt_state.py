"""What the MQTT sink publishes besides poses and events: people, occupancy, rules, state of the loop, images."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any, NamedTuple

import cv2

from ..events.format import make_rule_entry
from ..monitor.health import is_throttled
from ..monitor.stats import Snapshot, Stats
from .base import Message
from .mqtt_topics import Topics
from .privacy import Privacy, apply_privacy

ON, OFF = "ON", "OFF"
_PEOPLE_INTERVAL_S = 1.0
"""Minimum time between two numbers of people: Home Assistant stores every change in its database."""
_RULES_INTERVAL_S = 1.0
"""Minimum time between two states of the rules, unless one of them begins or ends to hold."""
_FRAMES_TO_OCCUPY = 2
"""Number of frames in a row with a person after which the room counts as occupied; ignores single wrong detections."""
_FREE_AFTER_S = 5.0
"""The room counts as free after this time without a person."""
_STATE_INTERVAL_S = 10.0
STATE_CHECK_INTERVAL_S = 1.0
"""A change of the state is published after this time at the latest."""
_MAX_IMAGE_SIDE_PX = 640
_JPEG_QUALITY = 75


class Publication(NamedTuple):
    """Message that is due."""

    topic: str
    payload: str | bytes
    qos: int
    retain: bool


class OccupancyDetector:
    """Debounced answer to the question if there is a person."""

    def __init__(self) -> None:
        self.occupied = False
        self._frames = 0
        self._last_person_s = 0.0

    def update(self, people: int, now_s: float) -> bool:
        """Update with the number of people of a frame and return if the room is occupied."""
        if people:
            self._frames += 1
            self._last_person_s = now_s
            self.occupied = self.occupied or self._frames >= _FRAMES_TO_OCCUPY
        else:
            self._frames = 0
            self.occupied = self.occupied and now_s - self._last_person_s < _FREE_AFTER_S
        return self.occupied


class StateReporter:
    """Chooses which values have to be published. Only the sink's thread uses it."""

    def __init__(
        self,
        topics: Topics,
        stats: Stats,
        pause: threading.Event | None,
        instance: str,
        image_interval_s: int,
        privacy: Privacy,
    ) -> None:
        """Start with nothing published.

        Args:
            topics: Topics of the sink.
            stats: Statistics of the loop.
            pause: Set while a pause is requested; None: the loop cannot be paused.
            instance: Name of this process; tells two processes with the same topics apart.
            image_interval_s: Seconds between two images; 0 publishes none.
            privacy: Privacy mode of the images.
        """
        self._topics, self._stats, self._pause, self._instance = topics, stats, pause, instance
        self._image_interval_s = image_interval_s
        self._privacy: Privacy = privacy
        self._detector = OccupancyDetector()
        self.forget()

    def forget(self) -> None:
        """Publish everything again, because the broker may have lost it."""
        self._people: int | None = None
        self._occupied: bool | None = None
        self._state_key: object = None
        self._rules_active: object = None
        self._rules_key: object = None
        self._rules_s = -1e9
        self._people_s = self._state_s = self._check_s = self._image_s = -1e9

    def list_due_for_message(self, message: Message) -> Iterator[Publication]:
        """List what has to be published because of a frame."""
        now_s, people = monotonic(), len(message.estimate)
        if people != self._people and now_s - self._people_s >= _PEOPLE_INTERVAL_S:
            self._people, self._people_s = people, now_s
            yield Publication(self._topics.people, str(people), 1, True)
        occupied = self._detector.update(people, now_s)
        if occupied != self._occupied:
            self._occupied = occupied
            yield Publication(self._topics.occupancy, ON if occupied else OFF, 1, True)
        if self._image_interval_s and now_s - self._image_s >= self._image_interval_s:
            self._image_s = now_s
            if image := _encode_image(message, self._privacy):
                yield Publication(self._topics.image, image, 0, False)
        yield from self.list_due_for_rules(message)

    def list_due_for_rules(self, message: Message, *, now: bool = False) -> Iterator[Publication]:
        """List the state of the rules if it has changed.

        Args:
            message: A frame.
            now: True to publish every change now. Otherwise only a change of `active` is published at once.
        """
        if not message.rules:
            return
        active = tuple(state.active for state in message.rules)
        key = [(state.people, dict(state.counts), dict(state.labels)) for state in message.rules]
        now_s = monotonic()
        if active == self._rules_active and (
            key == self._rules_key or (not now and now_s - self._rules_s < _RULES_INTERVAL_S)
        ):
            return
        self._rules_active, self._rules_key, self._rules_s = active, key, now_s
        content = {state.rule: make_rule_entry(state) for state in message.rules}
        yield Publication(self._topics.rules, json.dumps(content, ensure_ascii=False), 1, True)

    def list_due_for_time(self, *, now: bool = False) -> Iterator[Publication]:
        """List what has to be published because of the time, or of a change of the state.

        Args:
            now: True to check for a change now, not only once per second.
        """
        now_s = monotonic()
        if not now and now_s - self._check_s < STATE_CHECK_INTERVAL_S:
            return
        self._check_s = now_s
        snapshot = self._stats.take_snapshot()
        state = self._format_state(snapshot)
        key = [state[name] for name in ("state", "problem", "pause", "model", "throttled")]
        if key != self._state_key or now_s - self._state_s >= _STATE_INTERVAL_S:
            self._state_key, self._state_s = key, now_s
            yield Publication(self._topics.state, json.dumps(state), 1, True)

    def _format_state(self, snapshot: Snapshot) -> dict[str, Any]:
        temperature_c = snapshot.temperature_c
        return {
            "state": snapshot.state, "problem": snapshot.problem, "model": snapshot.model,
            "pause": ON if self._pause is not None and self._pause.is_set() else OFF,
            "fps": round(snapshot.fps, 1), "latency_ms": round(snapshot.latency_ms, 1),
            "temperature_c": None if temperature_c is None else round(temperature_c, 1),
            "throttled": ON if is_throttled(snapshot.flags) else OFF, "flags": list(snapshot.flags),
            "instance": self._instance,
        }  # fmt: skip


def _encode_image(message: Message, privacy: Privacy) -> bytes:
    image = apply_privacy(message.frame, message.estimate, message.skeleton, privacy)
    height, width = image.shape[:2]
    scale = _MAX_IMAGE_SIDE_PX / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    ok, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return encoded.tobytes() if ok else b""
