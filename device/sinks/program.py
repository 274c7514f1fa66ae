"""Program sink: runs a program for each event, with the event as JSON on its standard input.

There is no shell: the program is started directly, in a process group of its own. One program runs at a time. It is
ended with its group if it takes too long or the loop ends. A failed run is logged, counted, and not repeated, because
the program may have done half of its work. A program that runs as another user (setuid) cannot be ended; until it ends
by itself, no other one is started.

Thread ownership: the sink's thread starts, watches and ends the program.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
from pathlib import Path
from time import monotonic

from ...runtime.errors import InputError
from ...runtime.io.printable import make_printable
from ..events.event import Event
from .base import LOG, Message, Sink

_POLL_S = 0.05
_TERMINATE_TIMEOUT_S = 0.2
"""Time between SIGTERM and SIGKILL."""
_KILL_TIMEOUT_S = 0.3
"""Time for the end after SIGKILL; a program that waits for a device can take longer."""
_STOP_TIMEOUT_S = 0.5
"""Time for the programs that run or wait when the loop ends."""
_MAX_ERROR_BYTES = 4096
_PRIVATE_VARIABLES = ("EDGEPOSE_", "NOTIFY_SOCKET", "WATCHDOG_", "CREDENTIALS_DIRECTORY")
"""Variables that the program does not get: tokens and passwords, and the connection to systemd."""


class ProgramSink(Sink):
    """Sink that runs a program per event."""

    name = "exec"
    takes_frames = False

    def __init__(self, program: Path, timeout_s: float = 10.0) -> None:
        """Store the settings.

        Args:
            program: The program.
            timeout_s: Maximum time of a run in seconds.
        """
        super().__init__()
        self._program, self._timeout_s = program, timeout_s
        self._stop_end_s: float | None = None
        self._failure = ""
        """Why the last run failed; empty if it did not."""
        self._remaining: subprocess.Popen[bytes] | None = None
        """A program that could not be ended."""

    def open(self) -> None:
        """Raise InputError if the program cannot be executed."""
        if not self._program.is_file():
            raise InputError(f"exec:{self._program}: expected a program, there is no such file")
        if not os.access(self._program, os.X_OK):
            raise InputError(f"exec:{self._program}: is not executable; use chmod +x")

    def stop(self) -> None:
        """Give the programs that run or wait a moment, then stop."""
        self._stop_end_s = monotonic() + _STOP_TIMEOUT_S
        super().stop()

    def write_events(self, message: Message) -> None:
        """Run the program for the event."""
        for event, line in zip(message.events, message.event_lines, strict=True):
            failure = self._run(event, line)
            if failure:
                self.lost_events += 1
                # One that cannot be ended is the same problem for all events.
                if self._remaining is None or failure != self._failure:
                    LOG.warning("exec: %s: %s", self._program, failure)
            self._failure = failure

    def get_counts(self) -> dict[str, int | str]:
        """Return the counts and the current problem, also a failed run."""
        counts = super().get_counts()
        return {**counts, "problem": counts["problem"] or self._failure}

    def _run(self, event: Event, line: str) -> str:
        """Run the program once; return what went wrong, or ""."""
        if self._is_late():
            return "not started: the loop ends"
        if self._remaining is not None:
            if self._remaining.poll() is None:
                return _describe_remaining(self._remaining)
            self._remaining = None
        # A file in memory: the program need not read its input, and no write blocks.
        handle = os.memfd_create("edgepose-event")
        try:
            os.write(handle, line.encode() + b"\n")
            os.lseek(handle, 0, os.SEEK_SET)
            child = subprocess.Popen(
                [str(self._program)],
                stdin=handle,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=make_environment(event),
                start_new_session=True,
            )
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        finally:
            os.close(handle)
        # Not `with child`, which waits for its end without limit.
        assert child.stderr is not None
        with child.stderr:
            try:
                failure = self._watch(child)
            finally:
                if child.poll() is None and not _kill_group(child):
                    self._remaining = child
        return failure if self._remaining is None else _describe_remaining(child)

    def _watch(self, child: subprocess.Popen[bytes]) -> str:
        """Wait for the end of the program; return what went wrong, or ""."""
        assert child.stderr is not None
        end_s, errors = monotonic() + self._timeout_s, b""
        with selectors.DefaultSelector() as selector:
            selector.register(child.stderr, selectors.EVENT_READ)
            while child.poll() is None:
                if monotonic() >= end_s:
                    return f"did not end within {self._timeout_s:g} s and was killed{_quote(errors)}"
                if self._is_late():
                    return f"was killed: the loop ends{_quote(errors)}"
                errors = _read_errors(selector, child, errors, _POLL_S)
            # What the program wrote at its end. A program that it has left running may write more; that is not read.
            errors = _read_errors(selector, child, errors, 0)
        if child.returncode < 0:
            return f"was ended by signal {-child.returncode}{_quote(errors)}"
        return f"exit code {child.returncode}{_quote(errors)}" if child.returncode else ""

    def _is_late(self) -> bool:
        return self._stop_end_s is not None and monotonic() >= self._stop_end_s


def make_environment(event: Event) -> dict[str, str]:
    """Return the environment of the program: that of this process without secrets, and the event."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_PRIVATE_VARIABLES)}
    values = {
        "EVENT": event.event, "STATE": event.state, "RULE": event.rule, "KIND": event.kind, "ID": event.id,
        "PERSON": str(event.person or ""), "ZONE": event.zone, "DIRECTION": event.direction, "LABEL": event.label,
        "COUNT": "" if event.count is None else str(event.count),
    }  # fmt: skip
    return environment | {f"EDGEPOSE_{key}": value.replace("\0", "") for key, value in values.items()}


def _read_errors(
    selector: selectors.BaseSelector, child: subprocess.Popen[bytes], errors: bytes, timeout_s: float
) -> bytes:
    """Read what the program has written to stderr; keep only the beginning."""
    assert child.stderr is not None
    if selector.get_map() and selector.select(timeout_s):
        text = os.read(child.stderr.fileno(), _MAX_ERROR_BYTES)
        if not text:
            selector.unregister(child.stderr)
        return (errors + text)[:_MAX_ERROR_BYTES]
    if not selector.get_map():
        # The program has closed stderr but still runs.
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout_s)
    return errors


def _quote(errors: bytes) -> str:
    """Return the first line of stderr for a message."""
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return f": {make_printable(lines[0], limit=200)}" if lines else ""


def _describe_remaining(child: subprocess.Popen[bytes]) -> str:
    return (
        f"process {child.pid} did not end in time and cannot be killed, for example because it runs as another user; "
        "no other one is started until it ends"
    )


def _kill_group(child: subprocess.Popen[bytes]) -> bool:
    """End the program and everything in its process group. Return False if the program still runs."""
    # Also SIGKILL if the program itself has ended: others of its group may still run.
    for number, timeout_s in ((signal.SIGTERM, _TERMINATE_TIMEOUT_S), (signal.SIGKILL, _KILL_TIMEOUT_S)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout_s)
    return child.returncode is not None
