"""Sink that calls a Python function."""

from __future__ import annotations

from collections.abc import Callable

from ...runtime.types import Frame, Pose
from .base import LOG, Message, Sink


class CallbackSink(Sink):
    """Sink that calls a function with each frame and its poses, in the sink's own thread.

    An exception of the function is logged with its traceback. The next frame is passed on as usual.
    """

    name = "callback"

    def __init__(self, function: Callable[[Frame, tuple[Pose, ...]], object]) -> None:
        super().__init__()
        self._function = function

    def write(self, message: Message) -> None:
        """Call the function with the frame and its poses; log what it raises."""
        try:
            self._function(message.frame, message.estimate.poses)
        except Exception:
            LOG.exception("the callback failed")
