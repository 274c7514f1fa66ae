"""Output file of text records that stays readable if the disk is full."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

_MAX_RECORD_ENDS = 3


class RecordWriteError(Exception):
    """A record was not written because the disk is full or failed. The records before it are complete."""


class RecordFile:
    """File of text records, each of which is written completely or not at all.

    If a record does not fit on the disk, the part that was written is removed. After that, the caller should only write
    the end of the document. The last records (at most two) are removed if there is no room for it.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._record_ends = [0]
        self._failed = False

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def write(self, text: str) -> None:
        """Append a record.

        Args:
            text: The whole record with its separators or line end; written as UTF-8.

        Raises:
            RecordWriteError: The disk is full or failed.
        """
        content = text.encode()
        if self._write_or_undo(content):
            self._record_ends = [*self._record_ends[1 - _MAX_RECORD_ENDS :], self._record_ends[-1] + len(content)]
            return
        while self._failed and len(self._record_ends) > 1:
            # Remove the last records to make room for the end of the document.
            self._record_ends.pop()
            self._truncate(self._record_ends[-1])
            if self._write_or_undo(content):
                return
        self._failed = True
        raise RecordWriteError(self._reason)

    def _write_or_undo(self, content: bytes) -> bool:
        """Write all bytes; on an error, undo the write and return False."""
        remaining = memoryview(content)
        try:
            while remaining:
                remaining = remaining[os.write(self._descriptor, remaining) :]
        except OSError as error:
            self._reason = error.strerror or str(error)
            self._truncate(self._record_ends[-1])
            return False
        return True

    def _truncate(self, end: int) -> None:
        try:
            os.ftruncate(self._descriptor, end)
            os.lseek(self._descriptor, end, os.SEEK_SET)
        except OSError:
            return  # Devices and pipes cannot be truncated.
