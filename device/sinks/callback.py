"""Sink that calls Python functions."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from ...runtime.types import Frame, Pose
from ..events.event import Event
from .base import LOG, Message, Sink

_LOG_INTERVAL_S = 60.0


class CallbackSink(Sink):
    """Sink that calls a function with each frame and its poses, and another one with each event, in its own thread.

    An exception of a function is logged with its traceback. The next frame or event is passed on as usual.
    """

    name = "callback"

    def __init__(
        self,
        on_poses: Callable[[Frame, tuple[Pose, ...]], object] | None = None,
        on_event: Callable[[Event], object] | None = None,
    ) -> None:
        """Store the functions; None: not called."""
        super().__init__()
        self._on_poses, self._on_event = on_poses, on_event
        self.takes_frames, self.takes_events = on_poses is not None, on_event is not None
        self._logged: tuple[str, float] = ("", 0.0)
        """The last error and the time in seconds when it was logged."""

    def write(self, message: Message) -> None:
        """Call the function for poses; log what it raises."""
        if self._on_poses is not None:
            try:
                self._on_poses(message.frame, message.estimate.poses)
            except Exception as error:
                self._log_error(error)

    def write_events(self, message: Message) -> None:
        """Call the function for events; log what it raises."""
        if self._on_event is not None:
            for event in message.events:
                try:
                    self._on_event(event)
                except Exception as error:
                    self._log_error(error)

    def _log_error(self, error: Exception) -> None:
        text, now_s = repr(error), monotonic()
        if text != self._logged[0] or now_s - self._logged[1] >= _LOG_INTERVAL_S:
            self._logged = (text, now_s)
            LOG.exception("the callback failed (the same error is logged once a minute)")
