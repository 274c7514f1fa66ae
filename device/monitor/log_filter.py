"""Keeps a log readable and safe: repeated lines are counted, credentials masked, control characters escaped."""

from __future__ import annotations

import logging
import re
import threading
from time import monotonic

from ...runtime.io.printable import printable
from ...runtime.io.redact import mask_credentials

INTERVAL_S = 60.0
_MAX_KEYS = 1000


class RepeatFilter(logging.Filter):
    """Passes a warning or error once a minute, with the number of those that were left out since.

    Lines that differ in numbers only count as the same. Attach it to a handler. Handlers call their filters from all
    threads, before they take their own lock.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._passed: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be written."""
        try:
            text = mask_credentials(record.getMessage())
        except Exception:
            # Wrong arguments of a library's log call: not a reason to raise in its caller.
            text = mask_credentials(f"{record.msg} {record.args}")
        # Cameras, brokers and files choose parts of it: they must not forge lines or control the terminal.
        text = printable(text)
        record.msg, record.args = text, ()
        if record.exc_info and record.exc_info[0] is not None:
            # The formatter uses this text instead of making its own.
            record.exc_text = mask_credentials(logging.Formatter().formatException(record.exc_info))
        if record.levelno < logging.WARNING:
            return True
        with self._lock:
            return self._is_due(record, text)

    def _is_due(self, record: logging.LogRecord, text: str) -> bool:
        key = (record.name, record.levelno, re.sub(r"\d+", "#", text))
        now = monotonic()
        since, left_out = self._passed.get(key, (-INTERVAL_S, 0))
        if now - since < INTERVAL_S:
            self._passed[key] = since, left_out + 1
            return False
        if len(self._passed) >= _MAX_KEYS:
            self._passed.clear()
        self._passed[key] = now, 0
        if left_out:
            record.msg = f"{text} ({left_out} more in the last {now - since:.0f} s)"
        return True
