"""Start-up time and peak memory of processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .timing import Measurement, measure

_MEMORY = """
import pathlib, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_module("edgepose.runtime.cli", run_name="__main__")
except SystemExit as error:
    if error.code:
        raise
status = pathlib.Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), file=sys.stderr)
"""
# getrusage would be wrong: a child process inherits the maximum of its parent, which may have been larger.


def measure_startup(*arguments: str, seconds: float = 5) -> Measurement:
    """Measure the time of a Python process from start to end."""
    command = [sys.executable, *arguments]
    return measure(lambda: subprocess.run(command, check=True, capture_output=True), seconds=seconds, min_runs=5)


def measure_peak_memory_mb(*arguments: str | Path) -> float:
    """Measure the peak resident memory of `edgepose ARGUMENTS` in MB."""
    command = [sys.executable, "-c", _MEMORY, "edgepose", *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stderr.strip().splitlines()[-1]) * 1024 / 1e6
