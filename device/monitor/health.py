"""State of the board while it works: temperature, clock frequency, throttling, processor time of other processes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .procfs import read_text

HEALTHY_STATES = ("running", "paused")
"""States of the camera loop without a fault: a user has requested the pause."""
_ROOT = Path("/")
_THROTTLED_FLAGS = {
    0: "undervoltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit",
    16: "undervoltage since boot", 17: "clock capped since boot", 18: "throttled since boot",
    19: "soft temperature limit since boot",
}  # fmt: skip
"""Bits of the value that the firmware returns for get_throttled (see `vcgencmd get_throttled` in the Raspberry Pi
documentation)."""
_CURRENT_FLAGS = frozenset(name for bit, name in _THROTTLED_FLAGS.items() if bit < 16)


@dataclass(frozen=True)
class Health:
    """State of a board at one time. Values that the system does not provide are None.

    Attributes:
        temperature_c: Temperature of the processor in degrees Celsius.
    """

    temperature_c: float | None
    frequency_mhz: float | None
    """Clock frequency of the first core in MHz."""
    flags: tuple[str, ...] | None
    """Problems that the firmware of a Raspberry Pi reports, at present and since boot."""

    @property
    def throttled(self) -> bool:
        """True if the firmware reports undervoltage, throttling or a limit at present."""
        return is_throttled(self.flags or ())


def is_throttled(flags: Iterable[str]) -> bool:
    """Return True if one of the flags is a present problem, not one since boot."""
    return any(flag in _CURRENT_FLAGS for flag in flags)


def read(root: Path = _ROOT, firmware: bool = True) -> Health:
    """Read the state of the board.

    Args:
        root: Folder to read instead of / (for tests).
        firmware: True to call `vcgencmd` if the kernel does not provide the flags. The child process takes 10 ms.
    """
    frequency_khz = _read_number(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    return Health(
        temperature_c=read_temperature_c(root),
        frequency_mhz=None if frequency_khz is None else frequency_khz / 1000,
        flags=_read_flags(root, firmware),
    )


def read_temperature_c(root: Path = _ROOT) -> float | None:
    """Read the temperature of the first thermal zone, which is the processor on every Raspberry Pi.

    Args:
        root: Folder to read instead of / (for tests).
    """
    millidegrees = _read_number(root / "sys/class/thermal/thermal_zone0/temp")
    return None if millidegrees is None else millidegrees / 1000


@dataclass(frozen=True)
class ProcessorTime:
    """Processor time at one moment, in seconds, summed over all cores."""

    busy_s: float
    """Time of all processes since boot."""
    own_s: float
    """Time of this process."""

    @classmethod
    def read(cls, root: Path = _ROOT) -> ProcessorTime:
        """Read the processor time from /proc/stat.

        Time that a hypervisor took for other virtual machines (steal) counts as busy. If /proc/stat cannot be read,
        `busy_s` is equal to `own_s`.

        Args:
            root: Folder to read instead of / (for tests).
        """
        own = sum(os.times()[:2])
        try:
            fields = [int(field) for field in (root / "proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
            user, nice, system, _idle, _iowait, irq, softirq, steal = fields
        except (OSError, ValueError):
            return cls(own, own)
        return cls((user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK"), own)

    def compute_others_s(self, start: ProcessorTime) -> float:
        """Compute the time in seconds that other processes used between `start` and this moment."""
        return max(0.0, (self.busy_s - start.busy_s) - (self.own_s - start.own_s))


def decode_throttled_flags(bits: int) -> tuple[str, ...]:
    """Decode the value of get_throttled into short descriptions such as `undervoltage`."""
    return tuple(name for bit, name in _THROTTLED_FLAGS.items() if bits >> bit & 1)


def _read_flags(root: Path, firmware: bool) -> tuple[str, ...] | None:
    file = root / "sys/devices/platform/soc/soc:firmware/get_throttled"
    text = read_text(file)
    if not text and firmware and root == _ROOT and (tool := shutil.which("vcgencmd")):
        process = subprocess.run([tool, "get_throttled"], capture_output=True, text=True, timeout=5, check=False)
        text = process.stdout.strip().rpartition("=")[2]
    try:
        bits = int(text, 16)
    except ValueError:
        return None
    return decode_throttled_flags(bits)


def _read_number(path: Path) -> float | None:
    text = read_text(path)
    return int(text) if text.lstrip("-").isdigit() else None
