"""Queue of the webhook sink: events that are not delivered yet, in memory and, if there is a folder, on the disk.

Each event is one file, which is written completely before it has its name, so that a power cut loses no event that was
stored and leaves no half event. A folder is locked: two processes cannot use it at the same time.

Ownership: protected by a lock. The sink's thread appends, the thread that delivers reads and removes.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time

from ...runtime.errors import OutputError
from .base import LOG

_MAX_FILE_BYTES = 1_000_000
_FILE_PATTERN = re.compile(r"[0-9]{12}\.json", re.ASCII)
_IDENTIFIER_PATTERN = re.compile(r"[\w-]{1,100}", re.ASCII)


@dataclass(frozen=True)
class QueueLimits:
    """Bounds of the queue; the oldest events are dropped first.

    Attributes:
        events: Maximum number of events.
        size_bytes: Maximum size of all events together.
        age_s: Maximum age of an event in seconds.
    """

    events: int = 1000
    size_bytes: int = 10_000_000
    age_s: float = 86400.0


@dataclass(frozen=True)
class QueuedEvent:
    """Event that waits for its delivery.

    Attributes:
        id: Identifier of the delivery, the same for each attempt.
        body: JSON.
        created_s: When it was stored, on the monotonic clock.
        path: Its file; None if it is only in memory.
    """

    id: str
    body: bytes
    created_s: float
    path: Path | None


class EventQueue:
    """Events in their order, bounded by number, size and age.

    Attributes:
        dropped: Number of events that were dropped because of a bound.
    """

    def __init__(self, folder: Path | None, limits: QueueLimits) -> None:
        """Store the settings; `open` reads the folder. Without a folder, the events are only in memory."""
        self._folder, self._limits = folder, limits
        self._lock = threading.Lock()
        self._events: deque[QueuedEvent] = deque()
        self._size_bytes = self._serial = 0
        self._lock_handle = -1
        self.dropped = 0
        self.problem = ""
        """Why events are not stored on the disk; empty if they are."""

    def __len__(self) -> int:
        return len(self._events)

    def open(self) -> None:
        """Create and lock the folder, and read the events that an earlier process has left.

        Raises:
            OutputError: The folder cannot be used, or another process uses it.
        """
        if self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock_handle = os.open(self._folder / "lock", flags, 0o600)
            fcntl.flock(self._lock_handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            names = sorted(entry.name for entry in os.scandir(self._folder))
        except BlockingIOError:
            self.close()
            raise OutputError(
                f"webhook: {self._folder}: another sink or process stores its events here; give each one its own folder"
            ) from None
        except OSError as error:
            self.close()
            raise OutputError(f"webhook: {self._folder}: cannot be used: {error.strerror}") from None
        for name in names:
            if name.endswith(".part"):
                self._unlink(self._folder / name)  # the process ended while it wrote this file
            elif _FILE_PATTERN.fullmatch(name):
                self._serial = int(name.partition(".")[0])
                self._read(self._folder / name)
                self._apply_limits()

    def close(self) -> None:
        """Unlock the folder; the files stay."""
        if self._lock_handle >= 0:
            os.close(self._lock_handle)
            self._lock_handle = -1

    def append(self, identifier: str, body: bytes) -> None:
        """Store an event. If the disk is full, the event is only in memory."""
        path = self._write(identifier, body)
        with self._lock:
            self._events.append(QueuedEvent(identifier, body, monotonic(), path))
            self._size_bytes += len(body)
        self._apply_limits()

    def get_oldest(self) -> QueuedEvent | None:
        """Return the event that is delivered next; None if there is none."""
        self._apply_limits()
        with self._lock:
            return self._events[0] if self._events else None

    def remove(self, event: QueuedEvent) -> None:
        """Remove an event that was delivered or refused, unless a bound has removed it already."""
        with self._lock:
            if not (self._events and self._events[0] is event):
                return
            self._events.popleft()
            self._size_bytes -= len(event.body)
        self._unlink(event.path)

    def count_unstored(self) -> int:
        """Return the number of events that are only in memory."""
        with self._lock:
            return sum(event.path is None for event in self._events)

    def _apply_limits(self) -> None:
        limits = self._limits
        removed = []
        with self._lock:
            oldest_s = monotonic() - limits.age_s
            while self._events and (
                len(self._events) > limits.events
                or self._size_bytes > limits.size_bytes
                or self._events[0].created_s < oldest_s
            ):
                event = self._events.popleft()
                self._size_bytes -= len(event.body)
                self.dropped += 1
                removed.append(event)
        for event in removed:
            self._unlink(event.path)

    def _write(self, identifier: str, body: bytes) -> Path | None:
        if self._folder is None:
            return None
        self._serial += 1
        path = self._folder / f"{self._serial:012d}.json"
        part = path.with_suffix(".part")
        content = json.dumps({"id": identifier, "created": time(), "body": body.decode()}).encode()
        try:
            # Not O_TRUNC: opening a FIFO that somebody else has put there would block.
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                if os.write(handle, content) < len(content):
                    raise OSError(28, "No space left on device")
                os.fdatasync(handle)
            finally:
                os.close(handle)
            part.rename(path)
            self._sync_folder()
        except OSError as error:
            self._unlink(part)
            self._set_problem(f"{self._folder}: events are kept only in memory: {error.strerror}")
            return None
        self._set_problem("")
        return path

    def _sync_folder(self) -> None:
        assert self._folder is not None
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _read(self, path: Path) -> None:
        """Read a file of an earlier process. One that is not valid is removed."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(handle, "rb") as file:
                entry = json.loads(file.read(_MAX_FILE_BYTES))
            identifier, body = str(entry["id"]), str(entry["body"]).encode()
            if not _IDENTIFIER_PATTERN.fullmatch(identifier):
                raise ValueError("expected an identifier that can be a header")
            age_s = max(0.0, time() - float(entry["created"]))
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            LOG.warning("webhook: %s: not a stored event; removed", path)
            self._unlink(path)
            return
        self._events.append(QueuedEvent(identifier, body, monotonic() - age_s, path))
        self._size_bytes += len(body)

    def _unlink(self, path: Path | None) -> None:
        if path is None:
            return
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._set_problem(f"{path}: cannot be removed: {error.strerror}")

    def _set_problem(self, problem: str) -> None:
        if problem and not self.problem:
            LOG.warning("webhook: %s", problem)
        self.problem = problem
