"""Opening of a source in a separate thread, so that a camera that does not answer cannot block the process."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .base import FrameSource


class SourceOpener:
    """One attempt to open a source.

    Ownership: the opening thread owns the source until `take` passes it to the caller. After `abandon`, the opening
    thread keeps the source and closes it when the driver returns.
    """

    def __init__(self, open_source: Callable[[], FrameSource]) -> None:
        """Start to open the source.

        Args:
            open_source: Called once, in the new thread.
        """
        self._open_source = open_source
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._abandoned = False
        self._source: FrameSource | None = None
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._open, name="edgepose-open", daemon=True)
        self.thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the attempt has succeeded or failed; return False if it has not within `timeout_s` seconds."""
        return self._done.wait(timeout_s)

    def take(self) -> FrameSource:
        """Return the opened source; the calling thread owns it from now on.

        Call it once, after `wait` has returned True. Raises the error of `open_source` if opening failed.
        """
        if self._error is not None:
            raise self._error
        source, self._source = self._source, None
        assert source is not None, "take was called before the source was open, or twice"
        return source

    def abandon(self) -> None:
        """Give up the attempt. The opening thread closes the source if it still opens it."""
        with self._lock:
            self._abandoned = True
            source, self._source = self._source, None
        if source is not None:
            source.close()  # opened and not taken: the calling thread owns it

    def _open(self) -> None:
        source: FrameSource | None = None
        try:
            source = self._open_source()
        except BaseException as error:
            self._error = error
        with self._lock:
            if not self._abandoned:
                self._source, source = source, None
        if source is not None:
            source.close()
        self._done.set()
