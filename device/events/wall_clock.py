"""Wall-clock time of frames whose first one has a known time, for schedules."""

from __future__ import annotations


class WallClock:
    """Converts times of frames into Unix time. It is used by one thread."""

    def __init__(self, start_s: float | None) -> None:
        """Remember the Unix time of the first frame; None: frames are evaluated when they are taken."""
        self._start_s = start_s
        self._first_s: float | None = None

    def get_s(self, time_s: float) -> float | None:
        """Return the Unix time of a frame from its time on the clock of the source; None: the current time."""
        if self._start_s is None:
            return None
        if self._first_s is None:
            self._first_s = time_s
        return self._start_s + time_s - self._first_s
