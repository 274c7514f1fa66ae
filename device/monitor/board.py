"""What the machine is: the facts without which no time that was measured on it means anything."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from .health import temperature_c
from .procfs import text as _text

_ROOT = Path("/")


@dataclass(frozen=True)
class Board:
    """A machine. What the system does not tell is empty or None."""

    name: str
    """The board of a Raspberry Pi and its like, else the processor."""
    architecture: str
    cores: int
    memory_mb: int
    governor: str
    temperature_c: float | None
    load: float
    """Processes that ran or wanted to, over the last minute; more than a little makes times worthless."""

    def __str__(self) -> str:
        parts = [self.name, self.architecture, f"{self.cores} cores", f"{self.memory_mb / 1024:.0f} GiB"]
        if self.governor:
            parts.append(f"governor {self.governor}")
        if self.temperature_c is not None:
            parts.append(f"{self.temperature_c:.0f} C")
        return ", ".join([*parts, f"load {self.load:.1f}"])


def describe(root: Path = _ROOT) -> Board:
    """The machine this runs on; `root` stands for / in tests.

    Sources: the device tree (/proc/device-tree/model), /proc/cpuinfo, /proc/meminfo, sysfs.
    """
    return Board(
        name=_text(root / "proc/device-tree/model").rstrip("\0") or entry(root / "proc/cpuinfo", "model name"),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=int((entry(root / "proc/meminfo", "MemTotal") or "0").split()[0]) // 1024,
        governor=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        temperature_c=temperature_c(root),
        load=float((_text(root / "proc/loadavg") or "0").split()[0]),
    )


def entry(path: Path, key: str) -> str:
    """The first value of a `key : value` file such as /proc/cpuinfo."""
    for line in _text(path).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
