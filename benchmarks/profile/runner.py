"""Runs a worker and reads its answer; shows how it gets on where somebody is watching."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from .results import Row, row_from_dict

MAX_SECONDS = 3600.0
"""Longest measurement that can be asked for."""
_PATIENCE_S = 900.0
"""For loading, warming up and operators, beside the seconds that were asked for."""


def run_worker(
    model: str, path: Path, threads: int, seconds: float, source: str, *, ops: bool = False, people: bool = False
) -> Row:
    """The row of one model with one number of threads; with an `error` where the worker says no or dies."""
    command = [
        sys.executable, "-P", "-m", "edgepose.benchmarks.profile.worker", str(path), "--name", model, "--threads",
        str(threads), "--seconds", str(seconds), "--input", source, *(["--ops"] if ops else []),
        *(["--people"] if people else []),
    ]  # fmt: skip
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert child.stdout is not None
        try:
            row = _listen(child, f"{Path(model).stem} x{threads}")
        except BaseException:
            child.kill()
            raise
        finally:
            _clear()
            child.stdout.close()
            code = child.wait(timeout=_PATIENCE_S)
        if row is not None:
            return row
        errors.seek(0)
        said = errors.read().strip().splitlines()
    if code < 0:
        reason = f"the interpreter crashes on it ({signal.Signals(-code).name})"
    else:
        reason = said[-1] if said else f"the measuring process ended with {code}"
    return Row(model, threads, error=reason)


def _listen(child: subprocess.Popen[str], label: str) -> Row | None:
    assert child.stdout is not None
    for line in child.stdout:
        message = json.loads(line)
        if "row" in message:
            return row_from_dict(message["row"])
        if sys.stderr.isatty():
            print(f"\r\x1b[K{label}: {message['progress']}", end="", file=sys.stderr, flush=True)
    return None


def _clear() -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
