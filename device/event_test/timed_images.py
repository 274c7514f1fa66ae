"""Images of a folder as a video with a fixed frame rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...runtime.types import Frame
from ..sources.base import FrameSource


class TimedImages(FrameSource):
    """Source that gives each image of another source a time, as if they were the frames of a video.

    It owns the wrapped source: `close` closes both.
    """

    live = False
    finite = True
    uses_media_time = True

    def __init__(self, source: FrameSource, fps: float) -> None:
        """Wrap an opened source of images; `fps` is their number per second."""
        super().__init__()
        self._source, self._fps = source, fps

    def frames(self) -> Iterator[Frame]:
        """Iterate over the images; an image that cannot be read takes no time."""
        for frame in self._source.frames():
            self.unreadable_count = self._source.unreadable_count
            yield replace(frame, timestamp_ns=round(frame.index * 1e9 / self._fps))
        self.unreadable_count = self._source.unreadable_count

    def stop(self) -> None:
        """Ask the wrapped source to end."""
        self._source.stop()

    def close(self) -> None:
        """Close the wrapped source."""
        self._source.close()
