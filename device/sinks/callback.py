"""Sink that calls a Python function."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from ...runtime.types import Frame, Pose
from .base import LOG, Message, Sink

_LOG_INTERVAL_S = 60.0


class CallbackSink(Sink):
    """Sink that calls a function with each frame and its poses, in the sink's own thread.

    An exception of the function is logged with its traceback. The next frame is passed on as usual.
    """

    name = "callback"

    def __init__(self, function: Callable[[Frame, tuple[Pose, ...]], object]) -> None:
        super().__init__()
        self._function = function
        self._logged: tuple[str, float] = ("", 0.0)
        """The last error and the time in seconds when it was logged."""

    def write(self, message: Message) -> None:
        """Call the function with the frame and its poses; log what it raises."""
        try:
            self._function(message.frame, message.estimate.poses)
        except Exception as error:
            text, now_s = repr(error), monotonic()
            if text != self._logged[0] or now_s - self._logged[1] >= _LOG_INTERVAL_S:
                self._logged = (text, now_s)
                LOG.exception("the callback failed (the same error is logged once a minute)")
