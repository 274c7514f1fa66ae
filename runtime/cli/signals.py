"""SIGTERM and SIGHUP end a command as Ctrl-C does: what was written so far is kept, temporary files are removed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM or SIGHUP."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def raise_on_signals() -> Iterator[None]:
    """Raise Terminated in the main thread at SIGTERM and SIGHUP. A signal that is ignored (`nohup`) stays ignored.

    Does nothing in other threads. `edgepose camera` has handlers of its own inside (`device.camera.shutdown`).
    """
    before = {}
    try:
        for number in _SIGNALS:
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, _raise)
    except ValueError:
        pass  # not the main thread
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def get_exit_code(end: KeyboardInterrupt) -> int:
    """The exit code of a command that a signal has ended, as shells count: 128 and the number of the signal."""
    return 128 + (end.number if isinstance(end, Terminated) else signal.SIGINT)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)
