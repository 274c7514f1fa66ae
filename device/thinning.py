"""A source of which some frames are left out before anything is done with them."""

from __future__ import annotations

from collections.abc import Iterator

from edgepose.runtime.types import Frame

from .source import FrameSource


class Thinned:
    """Every `every_nth` frame, and at most `max_fps` a second; `skipped` counts the others."""

    def __init__(self, source: FrameSource, every_nth: int = 1, max_fps: float | None = None) -> None:
        self._source, self._max_fps = source, max_fps
        self.every_nth = every_nth
        """May be changed at any time."""
        self.skipped = 0

    @property
    def live(self) -> bool:
        """As the source."""
        return self._source.live

    def frames(self) -> Iterator[Frame]:
        """Those that are wanted."""
        due_ns, count = 0, 0
        for frame in self._source.frames():
            count += 1
            if (count - 1) % self.every_nth or (self._max_fps and frame.timestamp_ns < due_ns):
                self.skipped += 1
                continue
            if self._max_fps:
                # From the time that was due, so that the rate is met on average; not from long ago.
                step = int(1e9 / self._max_fps)
                due_ns = max(due_ns, frame.timestamp_ns - step) + step
            yield frame

    def close(self) -> None:
        """Closes the source."""
        self._source.close()
