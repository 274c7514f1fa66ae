"""Ends the process in time when it is told to, whatever its threads are doing."""

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
    """Calls `request_stop` at SIGTERM and SIGINT; ends the process by force where that does not help within `limit_s`.

    The signals are read by a thread of their own, so that they are heard even while the main thread is inside a driver
    or loads a model. A second signal ends the process at once. A context manager, for the main thread only.
    """

    def __init__(self, request_stop: Callable[[], None], limit_s: float = 1.8) -> None:
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
                _write_line("edgepose: something did not end in time; ending the process by force\n")
                os._exit(1)
            numbers = [number for number in os.read(self._signal_read, 64) if number in _SIGNALS]
            if not numbers:
                continue
            if timeout_s is not None:
                os._exit(128 + numbers[0])
            timeout_s = self._limit_s
            self._request_stop()


def end_process(code: int) -> None:
    """End the process without Python's own ending, which crashes where a thread is inside a driver.

    Everything that is to be kept must be written before; standard output and the log are flushed here.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(code)


def _ignore(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor has got the signal."""


def _write_line(text: str) -> None:
    try:
        os.write(2, text.encode())
    except OSError:
        return
