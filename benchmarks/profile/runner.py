"""Runner: start a worker process, show its progress on a terminal, and read its result."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from ...runtime.io.messages import Verbosity, get_verbosity
from .results import Row, parse_row

MAX_DURATION_S = 3600.0
"""Maximum duration of a measurement in seconds."""
_SILENCE_TIMEOUT_S = 900.0
"""A worker that reports nothing for so long hangs, and is killed."""

_EXIT_TIMEOUT_S = 30.0
"""How long a worker may take to exit after its row."""


def run_worker(
    model: str, path: Path, threads: int, seconds: float, source: str, *, ops: bool = False, people: bool = False
) -> Row:
    """Measure one model with one number of threads in a worker process.

    Args:
        model: Name of the model, as the user gave it.
        path: Path of the model.
        threads: Number of interpreter threads.
        seconds: Duration of the measurement.
        source: Input: image, folder, video or `synthetic[:N]`.
        ops: Also measure every operator.
        people: Also measure with 1 to 30 people.

    Returns:
        The row. If the worker reports an error or dies, the row has an `error`.
    """
    command = [
        sys.executable, "-P", "-m", "edgepose.benchmarks.profile.worker", str(path), "--name", model, "--threads",
        str(threads), "--seconds", str(seconds), "--input", source, *(["--ops"] if ops else []),
        *(["--people"] if people else []),
    ]  # fmt: skip
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert child.stdout is not None
        timed_out = threading.Event()
        try:
            row = _read_row(child, f"{Path(model).stem} x{threads}", timed_out)
        except BaseException:
            child.kill()
            raise
        finally:
            _clear_progress()
            child.stdout.close()
            try:
                code = child.wait(timeout=_EXIT_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                code = child.wait()
        if row is not None:
            return row
        errors.seek(0)
        error_lines = errors.read().strip().splitlines()
    if timed_out.is_set():
        reason = f"the measuring process hung: no progress for {_SILENCE_TIMEOUT_S:.0f} s"
    elif code < 0:
        reason = f"the measuring process crashed with {signal.Signals(-code).name}; the file may be damaged"
    else:
        reason = error_lines[-1] if error_lines else f"the measuring process ended with exit code {code}"
    return Row(model, threads, error=reason)


def _read_row(child: subprocess.Popen[str], label: str, timed_out: threading.Event) -> Row | None:
    """Show the messages of a worker until its row comes; None if it ended without one.

    Kills a worker that is silent for too long, and sets `timed_out`.
    """
    assert child.stdout is not None

    def kill() -> None:
        timed_out.set()
        child.kill()

    timer = threading.Timer(_SILENCE_TIMEOUT_S, kill)
    timer.start()
    try:
        for line in child.stdout:
            timer.cancel()
            message = json.loads(line)
            if "row" in message:
                return parse_row(message["row"])
            if sys.stderr.isatty() and get_verbosity() >= Verbosity.NORMAL:
                print(f"\r\x1b[K{label}: {message['progress']}", end="", file=sys.stderr, flush=True)
            timer = threading.Timer(_SILENCE_TIMEOUT_S, kill)
            timer.start()
        return None
    finally:
        timer.cancel()


def _clear_progress() -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
