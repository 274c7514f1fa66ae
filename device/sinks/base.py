"""Base class of all sinks: a thread and a short queue per sink, so that a failed sink only loses its own messages.

Thread ownership: what a sink opens (file, socket, video writer, MQTT client) belongs to the sink's own thread. Only
that thread writes to it and closes it. `open` may create it before the thread exists. The thread of the camera loop
uses the queue, the counters and the flags, and never closes anything that the sink's thread may still use. If a sink's
thread does not end in time, it keeps its resources until the process ends; the thread is a daemon.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from time import monotonic

import numpy as np

from ...runtime.errors import EdgePoseError, InputError
from ...runtime.io import formats
from ...runtime.io.naming import get_device_name
from ...runtime.skeleton import Skeleton
from ...runtime.types import EstimateResult, Frame
from ..events.event import Event, RuleState
from ..events.format import format_event_line

LOG = logging.getLogger("edgepose")

START_TIMEOUT_S = 0.5
"""Maximum time that `Sink.start` waits for the server that a sink connects to."""
STOP_TIMEOUT_S = 1.0
"""Maximum time for writing the queued messages when the camera loop ends, per sink."""
STOP_ALL_TIMEOUT_S = 1.5
"""Maximum time for stopping all sinks, which are stopped at the same time."""
_QUEUE_LENGTH = 16
"""Maximum number of messages in the queue of a slow sink; the oldest message is dropped first."""
_MAX_KEPT_EVENTS = 1000
"""Maximum number of events of frames that were dropped or could not be written; the oldest event is dropped first."""
_FIRST_RETRY_DELAY_S = 0.5
_NO_IMAGE = np.empty((0, 0, 3), np.uint8)


class SinkError(EdgePoseError):
    """Temporary error of a sink: the frame is lost, its events are kept, and the sink tries again after a delay."""


@dataclass(frozen=True)
class Message:
    """A frame with its poses and events, as passed to every sink.

    `line` and `event_lines` are computed once, by the first sink that needs them.
    """

    frame: Frame
    estimate: EstimateResult
    skeleton: Skeleton
    device: str = field(default_factory=get_device_name)
    """Display name of this device."""
    camera: str = ""
    """Name of the camera, if the process has several."""
    events: tuple[Event, ...] = ()
    """What the rules reported in this frame."""
    rules: tuple[RuleState, ...] = ()
    """State of each rule after this frame; () without rules."""
    only_events: bool = False
    """True if the frame was sent before, or was dropped from a queue: only its events are new."""
    clip: str = ""
    """Name of the clip to which the frame belongs, without suffix; "" if none is recorded."""
    clip_s: float = 0.0
    """Seconds from the beginning of this clip to the frame."""
    capture_time: str | None = None
    """Wall-clock time of the exposure in RFC 3339, computed when the message is created; None if the capture time of
    the frame is unknown."""

    def __post_init__(self) -> None:
        # A copy keeps the time: the wall clock may have been set since.
        if self.capture_time is None:
            object.__setattr__(self, "capture_time", formats.format_capture_time(self.frame.captured_ns))

    def split_events(self, *, keep_image: bool = False) -> Iterator[Message]:
        """Yield one message per event, by default without the image: a sink may keep many of them for hours."""
        frame = self.frame if keep_image else replace(self.frame, image=_NO_IMAGE)
        for event in self.events:
            yield replace(self, frame=frame, events=(event,), only_events=True)

    @cached_property
    def line(self) -> str:
        """JSON as described in docs/reference/output.md, without a line break."""
        return formats.format_edgepose_line(
            self.frame, self.estimate, device=self.device, captured_at=self.capture_time, camera=self.camera
        )

    @cached_property
    def event_lines(self) -> tuple[str, ...]:
        """Events as JSON, as described in docs/reference/output.md, without line breaks."""
        return tuple(
            format_event_line(event, self.frame, device=self.device, captured_at=self.capture_time, camera=self.camera)
            for event in self.events
        )


class Sink:
    """Base class of sinks: a thread that passes queued messages to `write`.

    If `write` fails, the frame is lost, and the sink waits before the next one: 0.5 s at first, then twice as long
    after each failure, at most `max_retry_delay_s`. The events of a frame that is dropped or cannot be written are
    kept and written later, in their order, before newer frames. The camera loop calls `send`, which never waits.

    Attributes:
        sent: Number of written messages.
        lost: Number of frames that were dropped from a full queue or could not be written.
        lost_events: Number of events that were dropped because too many are kept, or were refused by the receiver.
        problem: What is wrong now; empty if the sink works.
        finished: True if the reader of the sink has gone for good, so that the camera loop should end.
    """

    name = "sink"
    max_retry_delay_s = 30.0
    wake_interval_s: float | None = None
    """Maximum time between two calls of `handle_wake` while no messages come; None: only after `wake`."""
    takes_frames = True
    """False: the sink gets only messages with events, and `write` is not called."""
    takes_events = True
    """False: the sink gets no events, and `write_events` is not called."""
    needs_images = False
    """True: kept events have their image, as long as no more than 16 are kept."""

    def __init__(self) -> None:
        self._queue: deque[Message] = deque()
        """Newest messages, with their images."""
        self._kept: deque[Message] = deque()
        """Single events that are older than the messages in the queue."""
        self._condition = threading.Condition()
        self._stop_requested = False
        self._wake_requested = False
        self._connect_done = threading.Event()
        self._start_error: EdgePoseError | None = None
        self._start_returned = False
        self.thread = threading.Thread(target=self._run_thread, name=f"edgepose-{self.name}", daemon=True)
        self.sent = self.lost = self.lost_events = 0
        self.problem = ""
        self.finished = False

    @property
    def path(self) -> Path | None:
        """File that the sink writes; None if it writes no file."""
        return None

    def start(self) -> None:
        """Start the sink. Wait at most `START_TIMEOUT_S` for the server that it connects to.

        Raises:
            EdgePoseError: The sink cannot work, for example because a file or an address is wrong.
        """
        self.open()
        self.thread.start()
        self._connect_done.wait(START_TIMEOUT_S)
        with self._condition:
            self._start_returned = True
            if self._start_error is not None:
                raise self._start_error

    def send(self, message: Message) -> None:
        """Append a message to the queue; never waits. If the queue is full, the oldest frame is dropped."""
        if message.only_events or not self.takes_frames:
            if not (message.events and self.takes_events):
                return
            message = message if message.only_events else replace(message, only_events=True)
        with self._condition:
            if len(self._queue) >= _QUEUE_LENGTH:
                self._keep_events(self._queue.popleft())
            self._queue.append(message)
            self._condition.notify()

    def stop(self) -> None:
        """Write the queued messages for at most `STOP_TIMEOUT_S`, then stop the sink's thread.

        If the thread does not end in time, the queued messages and events count as lost. Nothing is closed then,
        because the thread may be inside a call of the operating system or of a library.
        """
        with self._condition:
            self._stop_requested = True
            self._condition.notify()
        if self.thread.ident is None:
            self._close_safely()
        else:
            self.thread.join(STOP_TIMEOUT_S)
        with self._condition:
            for message in (*self._kept, *self._queue):
                self._count_loss(message)
            self._kept.clear()
            self._queue.clear()
        if self.thread.is_alive():
            LOG.warning("%s: does not stop in time; messages that are not written yet are lost", self.name)

    def open(self) -> None:
        """Check the settings and open what cannot block. Called once by `start`, before the sink's thread exists."""

    def connect(self) -> None:
        """Open what may block, such as a connection. Called once in the sink's thread, before the first message.

        An EdgePoseError within `START_TIMEOUT_S` is raised by `start`. A later one is logged, and `write` must connect.
        """

    def write(self, message: Message) -> None:
        """Write one message. Called in the sink's thread.

        Raises:
            SinkError: The message cannot be written now.
        """
        raise NotImplementedError

    def write_events(self, message: Message) -> None:
        """Write the event of a message. Called in the sink's thread, after `write` if the frame is new.

        The message has exactly one event. If the event was kept, `frame.image` is empty (see `needs_images`).

        Raises:
            SinkError: The event cannot be written now; it is kept, and the call is repeated after a delay. After any
                other exception the event is lost.
        """

    def handle_wake(self) -> None:
        """Do the work that a caller of `wake` has requested, or that is due. Called in the sink's thread."""

    def close(self) -> None:
        """Release all resources. Called once in the sink's thread, after the last message."""

    def wake(self) -> None:
        """Wake the sink's thread: it ends its retry delay and calls `handle_wake`. Can be called from any thread."""
        with self._condition:
            self._wake_requested = True
            self._condition.notify()

    def get_counts(self) -> dict[str, int | str]:
        """Return sent and lost messages, lost events and the current problem, for log, web page and metrics."""
        return {"sent": self.sent, "lost": self.lost, "lost_events": self.lost_events, "problem": self.problem}

    def _run_thread(self) -> None:
        try:
            if self._connect_or_report():
                self._write_all()
        finally:
            self._close_safely()

    def _connect_or_report(self) -> bool:
        """Call `connect`; return False if `start` raises its error, so that the sink is not used."""
        try:
            self._connect_with_edgepose_errors()
        except EdgePoseError as error:
            with self._condition:
                if not self._start_returned:
                    self._start_error = error
                    return False
            LOG.error("%s: %s", self.name, error)
            self.problem = str(error)
        finally:
            self._connect_done.set()
        return True

    def _connect_with_edgepose_errors(self) -> None:
        try:
            self.connect()
        except EdgePoseError:
            raise
        except Exception as error:
            raise InputError(f"{type(error).__name__}: {error}") from error

    def _write_all(self) -> None:
        delay_s = _FIRST_RETRY_DELAY_S
        while True:
            with self._condition:
                has_work = self._condition.wait_for(
                    lambda: self._kept or self._queue or self._stop_requested or self._wake_requested,
                    self.wake_interval_s,
                )
                wake_requested, self._wake_requested = self._wake_requested or not has_work, False
                waiting = self._kept or self._queue
                message = waiting.popleft() if waiting else None
            if wake_requested:
                self.handle_wake()
            if message is None:
                if self._stop_requested:
                    return
                continue
            if error := self._write_message(message):
                self._set_problem(error)
                if self._wait_for_retry(delay_s):
                    return
                delay_s = min(2 * delay_s, self.max_retry_delay_s)
            else:
                self.sent += 1
                delay_s = _FIRST_RETRY_DELAY_S
                self._set_problem("")

    def _write_message(self, message: Message) -> str:
        """Write a frame and its events; return what went wrong, or "".

        If the frame fails, its events are tried without it after the delay, so that a frame that can never be written
        does not block them.
        """
        # Not only SinkError is handled: an error of a library must not end the thread silently.
        if not message.only_events:
            try:
                self.write(message)
            except Exception as error:
                with self._condition:
                    self._keep_events(message, newest=False)
                return _describe_error(error)
        problem = ""
        waiting = self._list_single_events(message)
        while waiting:
            try:
                self.write_events(waiting[0])
            except SinkError as error:
                with self._condition:
                    self._kept.extendleft([one for rest in reversed(waiting) for one in self._strip(rest)])
                    self._limit_kept()
                return str(error)
            except Exception as error:
                with self._condition:
                    self.lost_events += 1
                problem = _describe_error(error)
            waiting.popleft()
        return problem

    def _list_single_events(self, message: Message) -> deque[Message]:
        if not self.takes_events:
            return deque()
        # The usual case: the line of the event is computed once for all sinks.
        return deque((message,) if len(message.events) == 1 else message.split_events(keep_image=True))

    def _wait_for_retry(self, delay_s: float) -> bool:
        """Wait until the delay is over or `wake` is called; return True if the sink has to stop."""
        with self._condition:
            self._condition.wait_for(lambda: self._stop_requested or self._wake_requested, delay_s)
            return self._stop_requested

    def _keep_events(self, message: Message, *, newest: bool = True) -> None:
        """Count a frame as lost and keep its events, as the newest or the oldest ones of those that are kept."""
        self.lost += not message.only_events
        if not (message.events and self.takes_events):
            return
        events = self._strip(message)
        if newest:
            self._kept.extend(events)
        else:
            self._kept.extendleft(reversed(tuple(events)))
        self._limit_kept()

    def _strip(self, message: Message) -> Iterator[Message]:
        """Yield the events of a message as they are kept."""
        return message.split_events(keep_image=self.needs_images and len(self._kept) < _QUEUE_LENGTH)

    def _limit_kept(self) -> None:
        while len(self._kept) > _MAX_KEPT_EVENTS:
            self._kept.popleft()
            self.lost_events += 1

    def _count_loss(self, message: Message) -> None:
        self.lost += not message.only_events
        self.lost_events += len(message.events) if self.takes_events else 0

    def _close_safely(self) -> None:
        try:
            self.close()
        except Exception as error:
            reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            LOG.warning("%s: cannot be closed: %s", self.name, reason)

    def _set_problem(self, problem: str) -> None:
        """Set `problem`; log it when it begins and when it is over, not for each message."""
        if problem and not self.problem:
            LOG.warning("%s: %s", self.name, problem)
        elif self.problem and not problem:
            LOG.warning("%s: working again", self.name)
        self.problem = problem


def _describe_error(error: Exception) -> str:
    return str(error) if isinstance(error, SinkError) else f"{type(error).__name__}: {error}"


def stop_all(sinks: Sequence[Sink], timeout_s: float = STOP_ALL_TIMEOUT_S) -> list[Sink]:
    """Stop all sinks at the same time. Return within `timeout_s`, whatever state the sinks are in.

    Args:
        sinks: Sinks, started or not.
        timeout_s: Maximum time for all sinks together.

    Returns:
        The sinks whose threads still run. The threads are daemons and still own what they have opened (a file, a video
        writer), so it must not be used. If one of them is inside a native library, only `os._exit` ends the process
        safely.
    """
    end_s = monotonic() + timeout_s
    stops = [threading.Thread(target=_stop_safely, args=(sink,), name="edgepose-stop", daemon=True) for sink in sinks]
    for stop in stops:
        stop.start()
    for stop in stops:
        stop.join(max(0.0, end_s - monotonic()))
    return [
        sink
        for sink, stop in zip(sinks, stops, strict=True)
        if stop.is_alive() or (sink.thread.ident is not None and sink.thread.is_alive())
    ]


def _stop_safely(sink: Sink) -> None:
    try:
        sink.stop()
    except Exception as error:
        LOG.warning("%s: cannot be stopped: %s: %s", sink.name, type(error).__name__, error)
