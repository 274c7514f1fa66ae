"""Frame source that skips frames of another source before they are processed."""

from __future__ import annotations

from collections.abc import Iterator

from ...runtime.types import Frame
from .base import FrameSource


class RateLimitedSource(FrameSource):
    """Source that passes on every n-th frame, up to a maximum rate; `skipped` counts the other frames.

    It owns the wrapped source: `close` closes both.
    """

    def __init__(self, source: FrameSource, every_nth: int = 1, max_fps: float | None = None) -> None:
        """Wrap an opened source.

        Args:
            source: An opened source.
            every_nth: Interval between frames that are passed on; 1 passes on all frames.
            max_fps: Maximum frames per second; default: no limit.
        """
        super().__init__()
        self._source, self._max_fps = source, max_fps
        self.live, self.finite, self.uses_media_time = source.live, source.finite, source.uses_media_time
        self.every_nth = every_nth
        """Interval between frames that are passed on; may be changed at any time, by any thread."""
        self.skipped = 0

    def frames(self) -> Iterator[Frame]:
        """Iterate over the frames that are not skipped."""
        due_ns, last_ns, count = 0, 0, 0
        for frame in self._source.frames():
            count += 1
            time_ns = self.get_time_ns(frame)
            if time_ns < last_ns:
                due_ns = 0  # a repeated video has started again
            last_ns = time_ns
            if (count - 1) % self.every_nth or (self._max_fps and time_ns < due_ns):
                self.skipped += 1
                continue
            if self._max_fps:
                # Count from the due time, so that the average rate is met, but limit the backlog to one interval.
                step_ns = int(1e9 / self._max_fps)
                due_ns = max(due_ns, time_ns - step_ns) + step_ns
            yield frame

    def stop(self) -> None:
        """Ask the wrapped source to end."""
        self._source.stop()

    def close(self) -> None:
        """Close the wrapped source."""
        self._source.close()
