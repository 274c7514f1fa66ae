"""JSON Lines sinks: stdout, or a file that is rotated by size.

Lines stay whole if the disk is full. If the process is killed, only the last line can be incomplete.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from time import monotonic
from typing import Literal, get_args

from ...runtime.errors import OutputError
from .base import Message, Sink, SinkError

Fsync = Literal["never", "second", "always"]
Only = Literal["poses", "events"]
"""Kind of lines, if a sink writes only one of them."""


class StdoutSink(Sink):
    """Sink that writes lines to stdout. It is finished when the reader closes the pipe, as with `| head`.

    It uses `os.write`: a thread that blocks inside `sys.stdout` because the reader does not read would hold the lock of
    `sys.stdout`, and Python would abort at exit.
    """

    name = "stdout"

    def __init__(self, only: Only | None = None) -> None:
        """Write frames and events, or only one of them."""
        super().__init__()
        self.takes_frames, self.takes_events = only != "events", only != "poses"

    def write(self, message: Message) -> None:
        """Write one line. Raises SinkError if stdout cannot be written to."""
        self._write_line(message.line)

    def write_events(self, message: Message) -> None:
        """Write one line per event. Raises SinkError if stdout cannot be written to."""
        for line in message.event_lines:
            self._write_line(line)

    def _write_line(self, line: str) -> None:
        rest = memoryview(line.encode() + b"\n")
        try:
            handle = sys.stdout.fileno()
            while rest:
                rest = rest[os.write(handle, rest) :]
        except BrokenPipeError:
            self.finished = True
        except OSError as error:
            raise SinkError(f"cannot be written: {error.strerror}") from None


class FileSink(Sink):
    """Sink that appends lines to a file and rotates it.

    Each line is written with one call, so that at most the last line is incomplete if the process is killed. An
    incomplete line is removed at the next start. After `open`, the file belongs to the sink's thread.
    """

    name = "file"

    def __init__(
        self,
        path: Path,
        *,
        rotate_bytes: int = 50_000_000,
        keep: int = 5,
        fsync: Fsync = "second",
        only: Only | None = None,
    ) -> None:
        """Check the settings; `open` opens the file.

        Args:
            path: File to append to. A pipe or a device is written to, but never rotated.
            rotate_bytes: Maximum size of the file; 1000 or more. A larger file is renamed to `path.1`, an older one to
                `path.2`, and so on.
            keep: Number of renamed files, 0 to 1000; 0 deletes the full file.
            fsync: When lines are forced to the disk: `always`, at most once per `second`, or `never`.
            only: Write only `poses` or only `events`; default: both.

        Raises:
            ValueError: A setting is out of range.
        """
        if rotate_bytes < 1000 or not 0 <= keep <= 1000 or fsync not in get_args(Fsync):
            raise ValueError(f"expected rotate of 1000 bytes or more, keep of 0 to 1000 and fsync of {get_args(Fsync)}")
        super().__init__()
        self.takes_frames, self.takes_events = only != "events", only != "poses"
        self._path, self._rotate_bytes, self._keep, self._fsync = path, rotate_bytes, keep, fsync
        self._handle = -1
        self._size = 0
        self._is_regular = True
        """True for a regular file; False for a pipe or device, which cannot be truncated or rotated."""
        self._synced_s = 0.0

    @property
    def path(self) -> Path:
        """File that is written."""
        return self._path

    def open(self) -> None:
        """Open the file. Raises OutputError if it cannot be opened for writing."""
        try:
            self._open_file()
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written: {error.strerror}") from None

    def write(self, message: Message) -> None:
        """Write one line. If the disk is full, remove the incomplete line and raise SinkError."""
        self._write_line(message.line)

    def write_events(self, message: Message) -> None:
        """Write one line per event, as `write`."""
        for line in message.event_lines:
            self._write_line(line)

    def _write_line(self, text: str) -> None:
        line = text.encode() + b"\n"
        try:
            if self._handle < 0:
                self._open_file()  # an earlier rotation has failed after closing the file
            if self._is_regular and self._size + len(line) > self._rotate_bytes and self._size:
                self._rotate_files()
            written = os.write(self._handle, line)
            if written < len(line) and self._is_regular:
                os.ftruncate(self._handle, self._size)
                raise SinkError(f"{self._path}: no space left on the disk")
            self._size += written
            if not self._is_regular:
                return
            if self._fsync == "always" or (self._fsync == "second" and monotonic() - self._synced_s >= 1):
                self._synced_s = monotonic()
                os.fdatasync(self._handle)
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from None

    def close(self) -> None:
        """Close the file; unless `fsync` is `never`, all lines are on the disk then."""
        if self._handle >= 0:
            if self._fsync != "never" and self._is_regular:
                os.fdatasync(self._handle)
            os.close(self._handle)
            self._handle = -1

    def _rotate_files(self) -> None:
        os.close(self._handle)
        self._handle = -1
        for number in range(self._keep, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number - 1}") if number > 1 else self._path
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number}"))
        if self._keep == 0:
            self._path.unlink()
        self._open_file()

    def _open_file(self) -> None:
        """Open the file and remove an incomplete last line."""
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._is_regular = stat.S_ISREG(os.fstat(self._handle).st_mode)
        if self._is_regular:
            self._size = self._measure_complete_lines()
            os.ftruncate(self._handle, self._size)

    def _measure_complete_lines(self) -> int:
        """Return the number of bytes up to the end of the last complete line."""
        end = os.fstat(self._handle).st_size
        while end > 0:
            start = max(0, end - 65536)
            block = os.pread(self._handle, end - start, start)
            if (last := block.rfind(b"\n")) >= 0:
                return start + last + 1
            end = start
        return 0
