"""Keeps the output of C++ libraries off stderr, and shows it when something fails."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

# The file descriptor 2 belongs to the whole process, so threads share one redirection: the first one that enters makes
# it, the last one that leaves ends it. With a redirection per thread, stderr stayed redirected for ever where two
# overlapped.
_lock = threading.Lock()
_users = 0
_saved = -1
_log: IO[bytes] | None = None


@contextmanager
def suppress_stderr(*, show_on_error: bool) -> Iterator[None]:
    """Redirect the process's stderr to a file; with `show_on_error` an exception prints what was written.

    May be entered by several threads at once. Everything that the process writes to stderr meanwhile is redirected, so
    keep what is inside short.
    """
    _enter()
    shown = b""
    try:
        yield
    except Exception:
        shown = _written() if show_on_error else b""
        raise
    finally:
        _leave()
        if shown:
            sys.stderr.write(shown.decode(errors="replace"))


def _enter() -> None:
    global _users, _saved, _log
    with _lock:
        if _users == 0:
            sys.stderr.flush()
            saved = os.dup(2)
            try:
                _log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever leaves last
            except BaseException:
                os.close(saved)
                raise
            os.dup2(_log.fileno(), 2)
            _saved = saved
        _users += 1


def _leave() -> None:
    global _users, _saved, _log
    with _lock:
        _users -= 1
        if _users == 0:
            sys.stderr.flush()
            os.dup2(_saved, 2)
            os.close(_saved)
            if _log is not None:
                _log.close()
            _saved, _log = -1, None


def _written() -> bytes:
    with _lock:
        return b"" if _log is None else os.pread(_log.fileno(), 1 << 20, 0)
