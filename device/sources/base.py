"""Where frames come from: the base of all sources, and the synthetic scene as a camera."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic_ns

from ...runtime.synthetic import Scene
from ...runtime.types import Frame


class FrameSource:
    """A camera or what stands in for one.

    Ownership: one thread owns a source at any time. Whoever opens it owns it first; `Pipeline` hands it to its capture
    thread, which iterates over `frames` and calls `close` afterwards. Other threads may only call `stop`: OpenCV and
    Picamera2 crash where one thread closes a device that another one reads.
    """

    live = True
    """True if frames come at their own time, so that one that is not taken in time is lost."""
    finite = False
    """True for files: the source ends, and is not opened again after a fault."""
    media_time = False
    """True if `Frame.timestamp_ns` is the clock for tracking and rates: frames come faster than they were taken."""

    def __init__(self) -> None:
        self._stop_requested = threading.Event()
        self.unreadable = 0
        """Items that could not be read and were left out; each was logged."""

    def frames(self) -> Iterator[Frame]:
        """Iterate over the frames until there are no more, or soon after `stop` was called.

        Raises:
            InputError: The camera is lost, or the file cannot be read.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Ask `frames` to end. May be called by any thread; it only sets a flag."""
        self._stop_requested.set()

    def close(self) -> None:
        """Release the device. Only for the thread that owns the source, while `frames` is not running."""

    def time_ns(self, frame: Frame) -> int:
        """Return the time of `frame` on the clock that rates and tracking use."""
        return frame.timestamp_ns if self.media_time else frame.captured_ns


class SyntheticCamera(FrameSource):
    """The synthetic scene, at a fixed rate as a camera delivers it, or as fast as it is asked.

    Frames are painted beforehand and shown over and over: painting would take the time that is to be measured.
    `fps`: frames a second; None for as fast as possible. `painted`: how many different frames.
    """

    def __init__(
        self, people: int = 5, width: int = 640, height: int = 480, fps: float | None = 30.0, painted: int = 20
    ) -> None:
        if fps is not None and not 0 < fps <= 1000:
            raise ValueError(f"expected 0 to 1000 frames a second, got {fps:g}")
        super().__init__()
        scene = Scene(people, width, height)
        images = [scene.frame(index).image for index in range(painted)]
        # To and fro, so that nobody jumps.
        self._images = images + images[-2:0:-1]
        self._fps, self.live = fps, fps is not None

    def frames(self) -> Iterator[Frame]:
        """Iterate until `stop` is called."""
        start, index = monotonic_ns(), 0
        while not self._stop_requested.is_set():
            if self._fps is not None:
                # A camera does not wait for whoever is late: the next frame is the next that is due.
                due = max(index, int((monotonic_ns() - start) * self._fps / 1e9) + 1)
                if self._stop_requested.wait(max(0.0, (start - monotonic_ns()) / 1e9 + due / self._fps)):
                    return
                index = due
            now = monotonic_ns()
            yield Frame(self._images[index % len(self._images)], "synthetic", index, now, captured_ns=now)
            index += 1
