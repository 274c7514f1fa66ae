"""Description of the machine, recorded together with measurements: processor, memory, governor, temperature, load."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from .health import read_temperature_c
from .procfs import read_text

_ROOT = Path("/")


@dataclass(frozen=True)
class Board:
    """Description of a machine. Values that the system does not provide are empty or None.

    Attributes:
        architecture: Architecture of the processor, such as `aarch64`.
        cores: Number of cores that the process may use.
        memory_mb: Memory in MiB.
        governor: CPU frequency governor.
        temperature_c: Temperature of the processor in degrees Celsius.
    """

    name: str
    """Model of the board, for example of a Raspberry Pi; otherwise the name of the processor."""
    architecture: str
    cores: int
    memory_mb: int
    governor: str
    temperature_c: float | None
    load: float
    """Load average of the last minute: processes that ran or waited for a processor. If it is high, measured times are
    not reliable."""

    def __str__(self) -> str:
        parts = [self.name, self.architecture, f"{self.cores} cores", f"{self.memory_mb / 1024:.0f} GiB"]
        if self.governor:
            parts.append(f"governor {self.governor}")
        if self.temperature_c is not None:
            parts.append(f"{self.temperature_c:.0f} C")
        return ", ".join([*parts, f"load {self.load:.1f}"])


def read_board(root: Path = _ROOT) -> Board:
    """Read the description of this machine.

    The values come from the device tree (/proc/device-tree/model), /proc/cpuinfo, /proc/meminfo, /proc/loadavg and
    sysfs.

    Args:
        root: Folder to read instead of / (for tests).
    """
    return Board(
        name=read_model(root) or read_entry(root / "proc/cpuinfo", "model name"),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=int((read_entry(root / "proc/meminfo", "MemTotal") or "0").split()[0]) // 1024,
        governor=read_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        temperature_c=read_temperature_c(root),
        load=float((read_text(root / "proc/loadavg") or "0").split()[0]),
    )


def read_model(root: Path = _ROOT) -> str:
    """Read the model of the board, such as `Raspberry Pi 4 Model B Rev 1.4`; empty on other machines.

    Args:
        root: Folder to read instead of / (for tests).
    """
    return read_text(root / "proc/device-tree/model").rstrip("\0")


def read_entry(path: Path, key: str) -> str:
    """Read the first value of a key from a file with lines `key : value`, such as /proc/cpuinfo.

    Returns:
        The value; empty if there is no such file or key.
    """
    for line in read_text(path).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
