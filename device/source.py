"""Where frames come from."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic_ns, sleep
from typing import Protocol

from edgepose.runtime.scene import Scene
from edgepose.runtime.types import Frame


class FrameSource(Protocol):
    """A camera or what stands in for one.

    `live`: whether frames come at their own time, so that one that is not wanted in time is lost. Frames carry the
    monotonic time of their exposure.
    """

    @property
    def live(self) -> bool:
        """Whether frames come at their own time."""
        ...

    def frames(self) -> Iterator[Frame]:
        """The frames, until there are no more or `close` is called."""
        ...

    def close(self) -> None:
        """Gives the device back. May be called by another thread."""
        ...


class SyntheticCamera:
    """The synthetic scene, at a fixed rate as a camera delivers it, or as fast as it is asked.

    Frames are painted beforehand and shown over and over: painting would take the time that is to be measured.
    `fps`: frames a second; None for as fast as possible. `painted`: how many different frames.
    """

    def __init__(
        self, people: int = 5, width: int = 640, height: int = 480, fps: float | None = 30.0, painted: int = 20
    ) -> None:
        if fps is not None and not 0 < fps <= 1000:
            raise ValueError(f"expected 0 to 1000 frames a second, got {fps:g}")
        scene = Scene(people, width, height)
        images = [scene.frame(index).image for index in range(painted)]
        # To and fro, so that nobody jumps.
        self._images = images + images[-2:0:-1]
        self._fps, self._closed = fps, False

    @property
    def live(self) -> bool:
        """Whether it keeps time."""
        return self._fps is not None

    def frames(self) -> Iterator[Frame]:
        """Endlessly."""
        start, index = monotonic_ns(), 0
        while not self._closed:
            if self._fps is not None:
                # A camera does not wait for whoever is late: the next frame is the next that is due.
                due = max(index, int((monotonic_ns() - start) * self._fps / 1e9) + 1)
                sleep(max(0.0, (start - monotonic_ns()) / 1e9 + due / self._fps))
                index = due
            yield Frame(self._images[index % len(self._images)], "synthetic", index, monotonic_ns())
            index += 1

    def close(self) -> None:
        """No more frames."""
        self._closed = True
