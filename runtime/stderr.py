"""Suppression of messages that C++ libraries write to stderr."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

# Suppress the messages of FFmpeg on stderr. OpenCV reads the variable when it opens its first video, so it is set here:
# every module that opens a video imports this one.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

# File descriptor 2 belongs to the whole process, so all threads share one redirection: the first thread that enters
# starts it, the last one that leaves ends it. With one redirection per thread, stderr stayed redirected forever if two
# redirections overlapped.
_lock = threading.Lock()
_user_count = 0
_saved_descriptor = -1
_log: IO[bytes] | None = None


@contextmanager
def suppress_stderr(*, show_on_error: bool) -> Iterator[None]:
    """Redirect stderr of the process to a temporary file.

    Several threads can use this at the same time. All output of the process to stderr is redirected meanwhile, so keep
    the block short.

    Args:
        show_on_error: Print the redirected output if the block raises an exception.
    """
    _start_or_join()
    output = b""
    try:
        yield
    except Exception:
        output = _read_log() if show_on_error else b""
        raise
    finally:
        _leave_or_end()
        if output:
            sys.stderr.write(output.decode(errors="replace"))


def _start_or_join() -> None:
    global _user_count, _saved_descriptor, _log
    with _lock:
        if _user_count == 0:
            sys.stderr.flush()
            saved = os.dup(2)
            try:
                _log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the last thread that leaves
            except BaseException:
                os.close(saved)
                raise
            os.dup2(_log.fileno(), 2)
            _saved_descriptor = saved
        _user_count += 1


def _leave_or_end() -> None:
    global _user_count, _saved_descriptor, _log
    with _lock:
        _user_count -= 1
        if _user_count == 0:
            sys.stderr.flush()
            os.dup2(_saved_descriptor, 2)
            os.close(_saved_descriptor)
            if _log is not None:
                _log.close()
            _saved_descriptor, _log = -1, None


def _read_log() -> bytes:
    with _lock:
        return b"" if _log is None else os.pread(_log.fileno(), 1 << 20, 0)
