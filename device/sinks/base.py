"""What all sinks share: a thread of their own, and a queue so short that a dead sink only loses its own messages.

Thread ownership: what a sink opens (file, socket, video writer, MQTT client) belongs to the sink's own thread. Only
that thread writes to it and closes it; `open` may acquire it before the thread exists. The loop's thread touches the
queue, the counters and the flags, and never closes anything that the sink's thread may still use. A sink whose thread
does not end in time keeps what it has until the process ends; its thread is a daemon.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import monotonic

from ...runtime.errors import EdgePoseError, InputError
from ...runtime.io import formats
from ...runtime.io.naming import device_name
from ...runtime.skeleton import Skeleton
from ...runtime.types import EstimateResult, Frame

LOG = logging.getLogger("edgepose")

START_TIMEOUT_S = 0.5
"""How long the start waits for the first answer of what a sink connects to."""
STOP_TIMEOUT_S = 1.0
"""How long a sink may write what waits in its queue when the loop ends."""
STOP_ALL_TIMEOUT_S = 1.5
_QUEUE_LENGTH = 16
"""Messages that wait for a slow sink; the oldest goes first."""
_FIRST_RETRY_DELAY_S = 0.5


class SinkError(EdgePoseError):
    """A sink that cannot do its work now; it is tried again later."""


@dataclass(frozen=True)
class Message:
    """A frame with its people, as every sink gets it; its line is made once, by the first sink that wants it.

    `device`: display name of this device. `taken`: wall-clock time of the exposure, RFC 3339, computed when the message
    is made; None if the frame does not say when it was captured.
    """

    frame: Frame
    estimate: EstimateResult
    skeleton: Skeleton
    device: str = field(default_factory=device_name)
    taken: str | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "taken", formats.capture_time(self.frame.captured_ns))

    @cached_property
    def line(self) -> str:
        """JSON, as docs/output.md has it, without the end of the line."""
        return formats.edgepose_line(self.frame, self.estimate, device=self.device, taken=self.taken)


class Sink:
    """A thread that hands messages to `write`, retried with growing pauses if that fails.

    Written to by the loop through `send`, which never waits. `sent`, `lost`: messages written, and overwritten in the
    queue or given up.
    """

    name = "sink"
    max_retry_delay_s = 30.0

    def __init__(self) -> None:
        self._queue: deque[Message] = deque()
        self._wake = threading.Condition()
        self._ending = False
        self._poked = False
        self._started = threading.Event()
        self._start_error: EdgePoseError | None = None
        self._start_over = False
        self.thread = threading.Thread(target=self._work, name=f"edgepose-{self.name}", daemon=True)
        self.sent = self.lost = 0
        self.problem = ""
        self.finished = False
        """Whether its reader has gone for good, and the loop with it."""

    @property
    def path(self) -> Path | None:
        """The file that the sink writes, if it writes one."""
        return None

    def start(self) -> None:
        """Begin to work; waits at most START_TIMEOUT_S for whatever the sink connects to.

        Raises:
            EdgePoseError: It is clear already that the sink never can work.
        """
        self.open()
        self.thread.start()
        self._started.wait(START_TIMEOUT_S)
        with self._wake:
            self._start_over = True
            if self._start_error is not None:
                raise self._start_error

    def send(self, message: Message) -> None:
        """Take a message."""
        with self._wake:
            if len(self._queue) >= _QUEUE_LENGTH:
                self._queue.popleft()
                self.lost += 1
            self._queue.append(message)
            self._wake.notify()

    def stop(self) -> None:
        """Write what waits in the queue, for STOP_TIMEOUT_S at most, and end.

        If the sink's thread does not end in time, the queue counts as lost and nothing is closed here: the thread may
        be inside a call.
        """
        with self._wake:
            self._ending = True
            self._wake.notify()
        if self.thread.ident is None:
            self._close_safely()
        else:
            self.thread.join(STOP_TIMEOUT_S)
        with self._wake:
            self.lost += len(self._queue)
            self._queue.clear()
        if self.thread.is_alive():
            LOG.warning("%s: does not end in time; what it has not written yet is lost", self.name)

    def open(self) -> None:
        """Check, and acquire what cannot block; done once in the caller's thread before the sink's thread exists."""

    def connect(self) -> None:
        """Acquire what may block; done once in the sink's thread before the first message.

        An EdgePoseError ends the start if it comes within START_TIMEOUT_S. Later it is logged, and `write` has to try
        again.
        """

    def write(self, message: Message) -> None:
        """Write one message, in the sink's thread. Raises SinkError if that is not possible now."""
        raise NotImplementedError

    def attend(self) -> None:
        """Do what `poke` asked for, in the sink's thread."""

    def close(self) -> None:
        """Release everything; done once in the sink's thread after the last message."""

    def poke(self) -> None:
        """Have the sink's thread call `attend` soon and end its pause; may be called from any thread."""
        with self._wake:
            self._poked = True
            self._wake.notify()

    def counts(self) -> dict[str, int | str]:
        """For log, page and metrics."""
        return {"sent": self.sent, "lost": self.lost, "problem": self.problem}

    def _work(self) -> None:
        try:
            if self._connected_in_time():
                self._write_all()
        finally:
            self._close_safely()

    def _connected_in_time(self) -> bool:
        """Connect; False if `start` reports the error and the sink is not used."""
        try:
            self._guarded_connect()
        except EdgePoseError as error:
            with self._wake:
                if not self._start_over:
                    self._start_error = error
                    return False
            LOG.error("%s: %s", self.name, error)
            self.problem = str(error)
        finally:
            self._started.set()
        return True

    def _guarded_connect(self) -> None:
        try:
            self.connect()
        except EdgePoseError:
            raise
        except Exception as error:
            raise InputError(f"{type(error).__name__}: {error}") from error

    def _write_all(self) -> None:
        delay_s = _FIRST_RETRY_DELAY_S
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._queue or self._ending or self._poked)
                poked, self._poked = self._poked, False
                message = self._queue.popleft() if self._queue else None
            if poked:
                self.attend()
            if message is None:
                if self._ending:
                    return
                continue
            try:
                self.write(message)
            except Exception as error:
                # Not only SinkError: a fault of a library must not end the thread without a word.
                with self._wake:
                    self.lost += 1
                self._troubled(str(error) if isinstance(error, SinkError) else f"{type(error).__name__}: {error}")
                with self._wake:
                    if self._wake.wait_for(lambda: self._ending or self._poked, delay_s) and self._ending:
                        return
                delay_s = min(2 * delay_s, self.max_retry_delay_s)
            else:
                self.sent += 1
                delay_s = _FIRST_RETRY_DELAY_S
                self._troubled("")

    def _close_safely(self) -> None:
        try:
            self.close()
        except Exception as error:
            reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            LOG.warning("%s: cannot be closed: %s", self.name, reason)

    def _troubled(self, problem: str) -> None:
        """Logged once when it begins and once when it is over."""
        if problem and not self.problem:
            LOG.warning("%s: %s", self.name, problem)
        elif self.problem and not problem:
            LOG.warning("%s: works again", self.name)
        self.problem = problem


def stop_all(sinks: Sequence[Sink], timeout_s: float = STOP_ALL_TIMEOUT_S) -> list[Sink]:
    """Stop all sinks at once, and return within `timeout_s` in every state.

    Args:
        sinks: Sinks, started or not.
        timeout_s: For all of them together.

    Returns:
        The sinks whose threads still run. They are daemons and still own what they have open (a file, a video writer),
        so nothing of it may be touched. Where one of them is inside a native library, `os._exit` is the safe end.
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
