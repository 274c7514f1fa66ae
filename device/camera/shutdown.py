"""Process shutdown within a time limit, independent of what the threads are doing."""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Shutdown:
    """Context manager that handles SIGTERM and SIGINT; to be entered and left by the main thread only.

    A separate thread receives the signals, so that they work while the main thread is inside a driver or loads a model.
    The first signal calls `request_stop`. The process is ended by force if it still runs `limit_s` later, or at once at
    a second signal.
    """

    def __init__(self, request_stop: Callable[[], None], limit_s: float = 1.8) -> None:
        """Create the pipes and the thread; signals are handled from `__enter__` on.

        Args:
            request_stop: Called once, in the thread that receives the signals.
            limit_s: Time in seconds until the process is ended by force.
        """
        self._request_stop, self._limit_s = request_stop, limit_s
        self._signal_read, self._signal_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._end_read, self._end_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._watch, name="edgepose-shutdown", daemon=True)

    def __enter__(self) -> Shutdown:
        self._handlers = {number: signal.signal(number, _ignore) for number in _SIGNALS}
        self._wakeup = signal.set_wakeup_fd(self._signal_write, warn_on_full_buffer=False)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.write(self._end_write, b"\0")
        self._thread.join()
        for descriptor in (self._signal_read, self._signal_write, self._end_read, self._end_write):
            os.close(descriptor)

    def _watch(self) -> None:
        timeout_s = None
        while True:
            readable, _, _ = select.select([self._signal_read, self._end_read], [], [], timeout_s)
            if self._end_read in readable:
                return
            if not readable:
                _write_to_stderr("edgepose: a thread did not stop in time; ending the process by force\n")
                os._exit(1)
            numbers = [number for number in os.read(self._signal_read, 64) if number in _SIGNALS]
            if not numbers:
                continue
            if timeout_s is not None:
                os._exit(128 + numbers[0])
            timeout_s = self._limit_s
            self._request_stop()


def end_process(code: int) -> None:
    """End the process without the normal exit of Python, which crashes if a thread is inside a driver.

    Write all data before the call. Only the log, standard output and standard error are flushed here.

    Args:
        code: Exit code.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(code)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: Python has written the signal number to the wake-up descriptor."""


def _write_to_stderr(text: str) -> None:
    try:
        os.write(2, text.encode())
    except OSError:
        return
