"""JSON Lines: to stdout, or to a file that is rotated by size and survives a full disk and a sudden end."""

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


class StdoutSink(Sink):
    """Lines to stdout; finished once nobody reads them any more, as with `| head`.

    Written with `os.write`: a thread that hangs inside `sys.stdout` because the reader has stopped would hold its lock,
    and Python would abort at exit.
    """

    name = "stdout"

    def write(self, message: Message) -> None:
        """One line, whole."""
        rest = memoryview(message.line.encode() + b"\n")
        try:
            handle = sys.stdout.fileno()
            while rest:
                rest = rest[os.write(handle, rest) :]
        except BrokenPipeError:
            self.finished = True
        except OSError as error:
            raise SinkError(f"cannot be written: {error.strerror}") from None


class FileSink(Sink):
    """Lines appended to `path`; beyond `rotate_bytes` it becomes `path.1` and so on, `keep` of them.

    The file belongs to the sink's thread, once `open` has opened it.
    Every line is written with one call, so that a process that is killed leaves at most its last line in pieces; that
    piece is cut off on the next start. `fsync`: when lines must have reached the disk.
    """

    name = "file"

    def __init__(self, path: Path, *, rotate_bytes: int = 50_000_000, keep: int = 5, fsync: Fsync = "second") -> None:
        if rotate_bytes < 1000 or not 0 <= keep <= 1000 or fsync not in get_args(Fsync):
            raise ValueError(f"expected rotate of 1000 bytes or more, keep of 0 to 1000 and fsync of {get_args(Fsync)}")
        super().__init__()
        self._path, self._rotate, self._keep, self._fsync = path, rotate_bytes, keep, fsync
        self._handle = -1
        self._size = 0
        self._regular = True
        """Whether it is a file that can be cut off and rotated, and no pipe or device."""
        self._synced = 0.0

    @property
    def path(self) -> Path:
        """The file that is written."""
        return self._path

    def open(self) -> None:
        """Raises OutputError where the file cannot be written."""
        try:
            self._opened()
        except OSError as error:
            raise OutputError(f"{self._path}: cannot be written: {error.strerror}") from None

    def write(self, message: Message) -> None:
        """One line. A disk that is full is a SinkError; what was written of the line is taken back."""
        line = message.line.encode() + b"\n"
        try:
            if self._handle < 0:
                self._opened()  # rotating has failed in the middle
            if self._regular and self._size + len(line) > self._rotate and self._size:
                self._rotated()
            written = os.write(self._handle, line)
            if written < len(line) and self._regular:
                os.ftruncate(self._handle, self._size)
                raise SinkError(f"{self._path}: no space left on the disk")
            self._size += written
            if not self._regular:
                return
            if self._fsync == "always" or (self._fsync == "second" and monotonic() - self._synced >= 1):
                self._synced = monotonic()
                os.fdatasync(self._handle)
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from None

    def close(self) -> None:
        """Everything is on the disk."""
        if self._handle >= 0:
            if self._fsync != "never" and self._regular:
                os.fdatasync(self._handle)
            os.close(self._handle)
            self._handle = -1

    def _rotated(self) -> None:
        os.close(self._handle)
        self._handle = -1
        for number in range(self._keep, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number - 1}") if number > 1 else self._path
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number}"))
        if self._keep == 0:
            self._path.unlink()
        self._opened()

    def _opened(self) -> None:
        """The file, up to its last whole line."""
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._regular = stat.S_ISREG(os.fstat(self._handle).st_mode)
        if self._regular:
            self._size = self._whole_lines()
            os.ftruncate(self._handle, self._size)

    def _whole_lines(self) -> int:
        """Bytes up to the end of the last whole line."""
        end = os.fstat(self._handle).st_size
        while end > 0:
            start = max(0, end - 65536)
            block = os.pread(self._handle, end - start, start)
            if (last := block.rfind(b"\n")) >= 0:
                return start + last + 1
            end = start
        return 0
