"""Webhook sink: sends each event as JSON with an HTTP POST request.

Delivery is in order and at least once. Each event has an id that stays the same for each attempt (`webhook-id`), so
that a receiver can drop duplicates. Requests are signed as described by Standard Webhooks.

Thread ownership: the sink's thread stores events in the `EventQueue` as soon as they happen, so that a slow receiver
does not delay this. A second thread delivers them. It owns the connection. If it does not end in time, for example
because the lookup of a host name hangs, it is left alone: it is a daemon and only uses its connection and the queue.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
from pathlib import Path
from time import monotonic

from .base import LOG, Message, Sink
from .webhook_queue import EventQueue, QueuedEvent, QueueLimits
from .webhook_request import Outcome, Target, post_event

SECRET_VARIABLE = "EDGEPOSE_WEBHOOK_SECRET"  # nosec B105
_STATE_VARIABLE = "STATE_DIRECTORY"
"""Set by systemd for a service with a state folder."""
_FIRST_DELAY_S = 1.0
_MAX_DELAY_S = 300.0
_DELIVER_AT_STOP_S = 0.6
"""Time for the events that wait when the loop ends."""
_JOIN_TIMEOUT_S = 0.8


class WebhookSink(Sink):
    """Sink that posts events to one address."""

    name = "webhook"
    takes_frames = False

    def __init__(self, target: Target, folder: Path | None = None, limits: QueueLimits | None = None) -> None:
        """Store the settings.

        Args:
            target: Receiver.
            folder: Folder for events that are not delivered yet; None keeps them in memory.
            limits: Bounds of the queue.
        """
        super().__init__()
        self._queue_of_events = EventQueue(folder, limits or QueueLimits())
        self._delivery = _Delivery(target, self._queue_of_events)

    def open(self) -> None:
        """Open the queue and start the delivery. Raises OutputError if the folder cannot be used."""
        self._queue_of_events.open()
        self._delivery.thread.start()

    def write_events(self, message: Message) -> None:
        """Store the event; the delivery follows in another thread."""
        for event, line in zip(message.events, message.event_lines, strict=True):
            # `started` and `ended` have the same id, but are two deliveries.
            self._queue_of_events.append(f"{event.id}-{event.state}", line.encode())
        self._delivery.wake()

    def close(self) -> None:
        """Try to deliver for a moment; what is left stays on the disk, or is lost if it is only in memory."""
        self._delivery.stop()
        with self._condition:
            self.lost_events += self._queue_of_events.count_unstored()
        self._queue_of_events.close()

    def get_counts(self) -> dict[str, int | str]:
        """Return delivered and lost events, those that wait, and the current problem."""
        delivery, queue = self._delivery, self._queue_of_events
        return {
            "sent": delivery.delivered,
            "lost": 0,
            "lost_events": self.lost_events + delivery.refused + queue.dropped,
            "queued": len(queue),
            "problem": self.problem or delivery.problem or queue.problem,
        }


class _Delivery:
    """Thread that sends the events of a queue, oldest first.

    Attributes:
        delivered: Number of events that the receiver has accepted.
        refused: Number of events that the receiver has refused.
        problem: Why the last attempt failed; empty if it did not.
    """

    def __init__(self, target: Target, queue: EventQueue) -> None:
        self._target, self._queue = target, queue
        self._condition = threading.Condition()
        self._has_news = False
        self._stop_s: float | None = None
        self.delivered = self.refused = 0
        self.problem = ""
        self.thread = threading.Thread(target=self._run, name="edgepose-webhook-delivery", daemon=True)

    def wake(self) -> None:
        """Tell the thread that there are new events; a retry delay is not shortened."""
        with self._condition:
            self._has_news = True
            self._condition.notify()

    def stop(self) -> None:
        """Deliver for a moment if the receiver works, then stop; never waits longer than `_JOIN_TIMEOUT_S`."""
        with self._condition:
            self._stop_s = monotonic()
            self._condition.notify()
        if self.thread.ident is not None:
            self.thread.join(_JOIN_TIMEOUT_S)

    def _run(self) -> None:
        delay_s = _FIRST_DELAY_S
        while True:
            event = self._queue.get_oldest()
            if event is None:
                if self._wait_for_news():
                    return
                continue
            if self._stop_s is not None and (self.problem or monotonic() - self._stop_s > _DELIVER_AT_STOP_S):
                return
            outcome = self._send(event)
            if outcome.delivered or outcome.is_final:
                delay_s = _FIRST_DELAY_S
                continue
            # The jitter keeps many boards from returning to a receiver at the same moment.
            wait_s = delay_s * random.uniform(0.5, 1.0)  # nosec B311
            if self._wait_for_stop(max(wait_s, outcome.retry_after_s or 0.0)):
                return
            delay_s = min(2 * delay_s, _MAX_DELAY_S)

    def _send(self, event: QueuedEvent) -> Outcome:
        outcome = post_event(self._target, event.id, event.body)
        if outcome.delivered:
            self.delivered += 1
            self._queue.remove(event)
        elif outcome.is_final:
            self.refused += 1
            self._queue.remove(event)
            LOG.warning("webhook: %s; the event is dropped", outcome.problem)
        if outcome.problem and not self.problem and not outcome.is_final:
            LOG.warning("webhook: %s; trying again", outcome.problem)
        elif self.problem and outcome.delivered:
            LOG.warning("webhook: %s: working again", self._target.name)
        self.problem = outcome.problem
        return outcome

    def _wait_for_news(self) -> bool:
        """Wait for an event; return True if the thread has to stop."""
        with self._condition:
            self._condition.wait_for(lambda: self._has_news or self._stop_s is not None)
            # With news and a stop, the events are tried once more.
            had_news, self._has_news = self._has_news, False
            return not had_news

    def _wait_for_stop(self, seconds: float) -> bool:
        with self._condition:
            return self._condition.wait_for(lambda: self._stop_s is not None, seconds)


def find_default_folder(address: str) -> Path | None:
    """Return the folder for the events of an address below the state folder of the service; None if there is none."""
    state = os.environ.get(_STATE_VARIABLE, "").partition(":")[0]
    if not state:
        return None
    return Path(state) / "webhook" / hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()[:16]
