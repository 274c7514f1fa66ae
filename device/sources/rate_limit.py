"""A source of which some frames are left out before anything is done with them."""

from __future__ import annotations

from collections.abc import Iterator

from ...runtime.types import Frame
from .base import FrameSource


class RateLimitedSource(FrameSource):
    """Every `every_nth` frame, and at most `max_fps` a second; `skipped` counts the others.

    Owns the source it is made of: closing it closes the source.
    """

    def __init__(self, source: FrameSource, every_nth: int = 1, max_fps: float | None = None) -> None:
        super().__init__()
        self._source, self._max_fps = source, max_fps
        self.live, self.finite, self.media_time = source.live, source.finite, source.media_time
        self.every_nth = every_nth
        """May be changed at any time."""
        self.skipped = 0

    def frames(self) -> Iterator[Frame]:
        """Iterate over the frames that are wanted."""
        due_ns, last_ns, count = 0, 0, 0
        for frame in self._source.frames():
            count += 1
            time_ns = self.time_ns(frame)
            if time_ns < last_ns:
                due_ns = 0  # a video that is repeated begins anew
            last_ns = time_ns
            if (count - 1) % self.every_nth or (self._max_fps and time_ns < due_ns):
                self.skipped += 1
                continue
            if self._max_fps:
                # From the time that was due, so that the rate is met on average; not from long ago.
                step = int(1e9 / self._max_fps)
                due_ns = max(due_ns, time_ns - step) + step
            yield frame

    def stop(self) -> None:
        """Ask the source to end."""
        self._source.stop()

    def close(self) -> None:
        """Close the source."""
        self._source.close()
