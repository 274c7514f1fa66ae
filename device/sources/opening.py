"""Opens a source in a thread of its own: a camera that does not answer must not keep the process from ending."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .base import FrameSource


class Opening:
    """One attempt to open a source.

    Ownership: the opening thread owns the source until `take` hands it over. After `abandon` the thread keeps it, and
    closes it itself when the driver returns.
    """

    def __init__(self, open_source: Callable[[], FrameSource]) -> None:
        """Begin to open."""
        self._open_source = open_source
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._abandoned = False
        self._source: FrameSource | None = None
        self._fault: BaseException | None = None
        self.thread = threading.Thread(target=self._open, name="edgepose-open", daemon=True)
        self.thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the attempt is over; False where it is not within `timeout_s`."""
        return self._done.wait(timeout_s)

    def take(self) -> FrameSource:
        """Return the opened source, which belongs to the caller now. Raises what opening it has raised."""
        if self._fault is not None:
            raise self._fault
        source, self._source = self._source, None
        assert source is not None, "taken before it was open, or twice"
        return source

    def abandon(self) -> None:
        """Give up. The thread closes what it may still open."""
        with self._lock:
            self._abandoned = True
            source, self._source = self._source, None
        if source is not None:
            source.close()  # opened and not taken: this thread owns it

    def _open(self) -> None:
        source: FrameSource | None = None
        try:
            source = self._open_source()
        except BaseException as fault:
            self._fault = fault
        with self._lock:
            if not self._abandoned:
                self._source, source = source, None
        if source is not None:
            source.close()
        self._done.set()
