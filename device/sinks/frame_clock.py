"""Time line of a video from the times of its frames."""

from __future__ import annotations

from ...runtime.types import Frame


class FrameClock:
    """Seconds since the first frame, on the clock of the source, or as read where that clock does not advance.

    It continues if a video is repeated, if the camera is opened again, and if the wall clock is set.
    """

    def __init__(self) -> None:
        """Begin at 0 with the first frame."""
        self._last_ns: tuple[int, int] | None = None
        """`timestamp_ns` and `captured_ns` of the last frame."""
        self.time_s = 0.0

    def advance(self, frame: Frame) -> float:
        """Return the time of the next frame in seconds; never less than that of the frame before."""
        if self._last_ns is not None:
            step_ns = frame.timestamp_ns - self._last_ns[0]
            if step_ns <= 0:
                step_ns = max(0, frame.captured_ns - self._last_ns[1])
            self.time_s += step_ns / 1e9
        self._last_ns = frame.timestamp_ns, frame.captured_ns
        return self.time_s
