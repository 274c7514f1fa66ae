"""Log filter that counts repeated lines, masks credentials and escapes control characters."""

from __future__ import annotations

import logging
import re
import threading
from time import monotonic

from ...runtime.io.printable import make_printable
from ...runtime.io.redact import mask_credentials

_INTERVAL_S = 60.0
_MAX_KEYS = 1000
"""If more different lines were passed, the filter forgets all of them, to limit its memory."""


class RepeatFilter(logging.Filter):
    """Log filter that passes the same warning or error once a minute, with the number of lines that it has left out.

    Lines that differ only in numbers count as the same. Attach the filter to a handler. It may be called from any
    thread: handlers call their filters before they take their own lock.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._passed: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean the text of a record in place; return True if the record has to be written."""
        try:
            text = mask_credentials(record.getMessage())
        except Exception:
            # A library passed wrong arguments to its log call. Its caller must not get an exception for that.
            text = mask_credentials(f"{record.msg} {record.args}")
        # Parts of the text come from cameras, brokers and files. They must not forge lines or control the terminal.
        text = make_printable(text)
        record.msg, record.args = text, ()
        if record.exc_info and record.exc_info[0] is not None:
            # The formatter uses this text instead of formatting the exception again.
            record.exc_text = mask_credentials(logging.Formatter().formatException(record.exc_info))
        if record.levelno < logging.WARNING:
            return True
        with self._lock:
            return self._is_due(record, text)

    def _is_due(self, record: logging.LogRecord, text: str) -> bool:
        key = (record.name, record.levelno, re.sub(r"\d+", "#", text))
        now = monotonic()
        since, left_out = self._passed.get(key, (-_INTERVAL_S, 0))
        if now - since < _INTERVAL_S:
            self._passed[key] = since, left_out + 1
            return False
        if len(self._passed) >= _MAX_KEYS:
            self._passed.clear()
        self._passed[key] = now, 0
        if left_out:
            record.msg = f"{text} ({left_out} more in the last {now - since:.0f} s)"
        return True
