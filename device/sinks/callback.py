"""A function of the user's as a sink."""

from __future__ import annotations

from collections.abc import Callable

from ...runtime.types import Frame, Pose
from .base import LOG, Message, Sink


class CallbackSink(Sink):
    """Calls a function with each frame and its people, in the sink's own thread.

    What the function raises is logged with its traceback, and the next frame is passed on.
    """

    name = "callback"

    def __init__(self, function: Callable[[Frame, tuple[Pose, ...]], object]) -> None:
        super().__init__()
        self._function = function

    def write(self, message: Message) -> None:
        """Call the function."""
        try:
            self._function(message.frame, message.estimate.poses)
        except Exception:
            LOG.exception("the callback failed")
