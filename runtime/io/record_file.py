"""A file of records that stays readable when the disk is full."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

_KEPT_ENDS = 3


class RecordWriteError(Exception):
    """The file has no room for a record, or the disk fails. The records before it are whole."""


class RecordFile:
    """Writes each record with one call. One that does not fit is taken back.

    After that only what closes the document is written, for which records before may be given up.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._ends = [0]
        self._failed = False

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._handle)

    def write(self, text: str) -> None:
        """Append a record.

        Raises:
            RecordWriteError: It does not fit.
        """
        content = text.encode()
        if self._try(content):
            self._ends = [*self._ends[1 - _KEPT_ENDS :], self._ends[-1] + len(content)]
            return
        while self._failed and len(self._ends) > 1:
            # The end of a document must fit: the last records make room.
            self._ends.pop()
            self._cut(self._ends[-1])
            if self._try(content):
                return
        self._failed = True
        raise RecordWriteError(self._reason)

    def _try(self, content: bytes) -> bool:
        """Write everything, or nothing."""
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError as error:
            self._reason = error.strerror or str(error)
            self._cut(self._ends[-1])
            return False
        return True

    def _cut(self, end: int) -> None:
        try:
            os.ftruncate(self._handle, end)
            os.lseek(self._handle, end, os.SEEK_SET)
        except OSError:
            return  # a device: what was written is gone
