"""Base class of all frame sources, and a camera that shows the synthetic scene."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic_ns

from ...runtime.synthetic import Scene
from ...runtime.types import Frame


class FrameSource:
    """Base class of cameras, streams, videos and folders of images.

    Ownership: one thread owns a source at any time. The thread that opens the source owns it first. `Pipeline` passes
    it to its capture thread, which iterates over `frames` and then calls `close`. Other threads may only call `stop`:
    OpenCV and Picamera2 crash if one thread closes a device while another thread reads from it.
    """

    live = True
    """True if the source sets the frame rate: a frame that is not read in time is lost."""
    finite = False
    """True for files: the source ends, and it is not opened again after an error."""
    uses_media_time = False
    """True if tracking and rates use `Frame.timestamp_ns`, because frames are read faster than they were taken."""
    description = ""
    """Sensor mode, field of view and frame size in one line; empty if the source does not know them."""

    def __init__(self) -> None:
        self._stop_requested = threading.Event()
        self.unreadable_count = 0
        """Number of images that could not be read and were skipped; each was logged."""

    def frames(self) -> Iterator[Frame]:
        """Iterate over the frames until the source ends, or soon after `stop` was called.

        Raises:
            InputError: The camera is lost, or the file cannot be read.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Ask `frames` to end. May be called from any thread; it only sets a flag."""
        self._stop_requested.set()

    def close(self) -> None:
        """Release the device. Only the thread that owns the source may call it, while `frames` is not running."""

    def get_time_ns(self, frame: Frame) -> int:
        """Return the time of a frame in nanoseconds, on the clock that rate limits and tracking use."""
        return frame.timestamp_ns if self.uses_media_time else frame.captured_ns


class SyntheticCamera(FrameSource):
    """Camera that shows the synthetic scene at a fixed frame rate, or as fast as frames are read.

    The frames are painted in advance and repeated, because painting would distort time measurements.
    """

    def __init__(
        self, people: int = 5, width: int = 640, height: int = 480, fps: float | None = 30.0, distinct_frames: int = 20
    ) -> None:
        """Paint the frames.

        Args:
            people: Number of people in the scene.
            width: Width of the frames in pixels.
            height: Height of the frames in pixels.
            fps: Frames per second, at most 1000; None delivers frames as fast as they are read.
            distinct_frames: Number of different frames.

        Raises:
            ValueError: `fps` is out of range.
        """
        if fps is not None and not 0 < fps <= 1000:
            raise ValueError(f"fps: expected more than 0 and at most 1000 frames per second, got {fps:g}")
        super().__init__()
        scene = Scene(people, width, height)
        images = [scene.render_frame(index).image for index in range(distinct_frames)]
        # Forward and then backward, so that no person jumps at the end.
        self._images = images + images[-2:0:-1]
        self._fps, self.live = fps, fps is not None

    def frames(self) -> Iterator[Frame]:
        """Iterate until `stop` is called."""
        start, index = monotonic_ns(), 0
        while not self._stop_requested.is_set():
            if self._fps is not None:
                # As with a real camera, a slow reader misses frames: continue with the next frame in time.
                due = max(index, int((monotonic_ns() - start) * self._fps / 1e9) + 1)
                if self._stop_requested.wait(max(0.0, (start - monotonic_ns()) / 1e9 + due / self._fps)):
                    return
                index = due
            now = monotonic_ns()
            yield Frame(self._images[index % len(self._images)], "synthetic", index, now, captured_ns=now)
            index += 1
