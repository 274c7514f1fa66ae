"""Events and state of the rules for the web page and its endpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..events.event import RuleState
from ..events.format import make_event_entry, make_rule_entry
from .base import Message

MAX_EVENTS = 100


class NumberedEvent(NamedTuple):
    """An event as JSON."""

    number: int
    """Number of the event since the start, from 1."""
    line: str


class LastEvents:
    """The last events, newest first.

    The thread of the camera loop adds events and replaces the tuple, so that other threads can read it at any time.

    Attributes:
        counts: Number of events per rule and type.
    """

    def __init__(self) -> None:
        self._events: tuple[NumberedEvent, ...] = ()
        self.counts: dict[tuple[str, str], int] = {}

    @property
    def number(self) -> int:
        """Number of events since the start."""
        events = self._events
        return events[0].number if events else 0

    def add(self, message: Message) -> None:
        """Add the events of a message."""
        for event in message.events:
            entry = make_event_entry(event, message.frame, message.device, message.capture_time, message.camera)
            entry.pop("pose", None)
            key = event.rule, str(entry["type"])
            self.counts[key] = self.counts.get(key, 0) + 1
            event_line = NumberedEvent(self.number + 1, json.dumps(entry, separators=(",", ":")))
            self._events = (event_line, *self._events[: MAX_EVENTS - 1])

    def format_list(self) -> str:
        """Return the events as a JSON list, newest first."""
        return f"[{','.join(event.line for event in self._events)}]"

    def list_after(self, number: int) -> Iterator[NumberedEvent]:
        """Yield the events after the one with this number, oldest first."""
        return (event for event in reversed(self._events) if event.number > number)


def format_rules(message: Message | None) -> str:
    """Return the state of all rules as JSON, with their shapes in pixels of the frame."""
    if message is None:
        return '{"width":0,"height":0,"rules":{}}'
    height, width = message.frame.image.shape[:2]
    rules = {state.rule: _make_entry(state) for state in message.rules}
    return json.dumps({"width": width, "height": height, "rules": rules}, separators=(",", ":"))


def _make_entry(state: RuleState) -> dict[str, Any]:
    return {**make_rule_entry(state), "shape": [[round(x, 1), round(y, 1)] for x, y in state.shape]}
