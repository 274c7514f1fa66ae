"""What all sinks share: a thread of their own, and a queue so short that a dead sink only loses its own messages."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property

from edgepose.runtime import formats
from edgepose.runtime.errors import EdgePoseError
from edgepose.runtime.naming import device_name
from edgepose.runtime.skeleton import Skeleton
from edgepose.runtime.types import Estimate, Frame

LOG = logging.getLogger("edgepose")

_QUEUE = 16
"""Messages that wait for a slow sink; the oldest goes first."""
_PATIENCE_S = 1.0
"""For what waits to be written when the loop ends."""


class SinkError(EdgePoseError):
    """A sink that cannot do its work now; it is tried again later."""


@dataclass(frozen=True)
class Message:
    """A frame with its people, as every sink gets it; its line is made once, by the first sink that wants it.

    `device`: display name of this device. `taken`: wall-clock time of the exposure, RFC 3339, computed when the message
    is made; None if the frame does not say when it was captured.
    """

    frame: Frame
    estimate: Estimate
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
    """A thread that hands messages to `write`, retried with growing pauses where that fails.

    Written to by the loop through `send`, which never waits. `sent`, `lost`: messages written, and overwritten in the
    queue or given up.
    """

    name = "sink"

    def __init__(self) -> None:
        self._queue: deque[Message] = deque()
        self._wake = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._work, name=f"edgepose-{self.name}", daemon=True)
        self.sent = self.lost = 0
        self.problem = ""
        self.finished = False
        """Whether its reader has gone for good, and the loop with it."""

    def start(self) -> None:
        """Begins to work. Raises EdgePoseError where it is clear already that it never will."""
        self.open()
        self._thread.start()

    def send(self, message: Message) -> None:
        """Takes a message."""
        with self._wake:
            if len(self._queue) >= _QUEUE:
                self._queue.popleft()
                self.lost += 1
            self._queue.append(message)
            self._wake.notify()

    def stop(self) -> None:
        """Writes what waits, for a second at most, and ends."""
        with self._wake:
            self._ending = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE_S)
        self.lost += len(self._queue)
        try:
            self.close()
        except OSError as error:
            LOG.warning("%s: cannot be closed: %s", self.name, error.strerror)

    def open(self) -> None:
        """Done once before the first message, in the caller's thread."""

    def write(self, message: Message) -> None:
        """Writes one message. Raises SinkError where that is not possible now."""
        raise NotImplementedError

    def close(self) -> None:
        """Done once after the last message."""

    def counts(self) -> dict[str, int | str]:
        """For log, page and metrics."""
        return {"sent": self.sent, "lost": self.lost, "problem": self.problem}

    def _work(self) -> None:
        pause_s = 0.5
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._queue or self._ending)
                if not self._queue:
                    return
                message = self._queue.popleft()
            try:
                self.write(message)
            except SinkError as error:
                self.lost += 1
                self._troubled(str(error))
                with self._wake:
                    if self._wake.wait_for(lambda: self._ending, pause_s):
                        return
                pause_s = min(2 * pause_s, 30.0)
            else:
                self.sent += 1
                pause_s = 0.5
                self._troubled("")

    def _troubled(self, problem: str) -> None:
        """Said once when it begins and once when it is over."""
        if problem and not self.problem:
            LOG.warning("%s: %s", self.name, problem)
        elif self.problem and not problem:
            LOG.warning("%s: works again", self.name)
        self.problem = problem
