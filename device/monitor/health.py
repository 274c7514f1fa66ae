"""How the board fares while it works: temperature, clock, throttling, and who else is using the processor."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .procfs import text as _text

_ROOT = Path("/")
_FLAGS = {
    0: "undervoltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit",
    16: "undervoltage since boot", 17: "clock capped since boot", 18: "throttled since boot",
    19: "soft temperature limit since boot",
}  # fmt: skip
"""Bits of the firmware's get_throttled (Raspberry Pi documentation, `vcgencmd get_throttled`)."""
_NOW = frozenset(name for bit, name in _FLAGS.items() if bit < 16)


@dataclass(frozen=True)
class Health:
    """A moment in a board's life. What the system does not tell is None."""

    temperature_c: float | None
    frequency_mhz: float | None
    """Of the first core."""
    flags: tuple[str, ...] | None
    """What the firmware of a Raspberry Pi complains about, now and since boot."""

    @property
    def throttled(self) -> bool:
        """Whether the board is being held back at this moment."""
        return any(flag in _NOW for flag in self.flags or ())


def read(root: Path = _ROOT, firmware: bool = True) -> Health:
    """The board's health; `root` stands for / in tests, `firmware` allows a child process to be asked (10 ms)."""
    frequency = _number(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    return Health(
        temperature_c=temperature_c(root),
        frequency_mhz=None if frequency is None else frequency / 1000,
        flags=_flags(root, firmware),
    )


def temperature_c(root: Path = _ROOT) -> float | None:
    """Of the first thermal zone, which is the processor on every Raspberry Pi."""
    reading = _number(root / "sys/class/thermal/thermal_zone0/temp")
    return None if reading is None else reading / 1000


@dataclass(frozen=True)
class ProcessorTime:
    """Seconds of all cores together since boot, and of this process, at one moment."""

    busy: float
    own: float

    @classmethod
    def now(cls, root: Path = _ROOT) -> ProcessorTime:
        """Reads /proc/stat. Time stolen by a hypervisor counts as busy: it was not ours."""
        own = sum(os.times()[:2])
        try:
            fields = [int(field) for field in (root / "proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
            user, nice, system, _idle, _iowait, irq, softirq, steal = fields
        except (OSError, ValueError):
            return cls(own, own)
        return cls((user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK"), own)

    def others_since(self, start: ProcessorTime) -> float:
        """Seconds that others took between `start` and this moment."""
        return max(0.0, (self.busy - start.busy) - (self.own - start.own))


def complaints(bits: int) -> tuple[str, ...]:
    """What the firmware's get_throttled says, in words."""
    return tuple(name for bit, name in _FLAGS.items() if bits >> bit & 1)


def _flags(root: Path, firmware: bool) -> tuple[str, ...] | None:
    known = root / "sys/devices/platform/soc/soc:firmware/get_throttled"
    text = _text(known)
    if not text and firmware and root == _ROOT and (tool := shutil.which("vcgencmd")):
        done = subprocess.run([tool, "get_throttled"], capture_output=True, text=True, timeout=5, check=False)
        text = done.stdout.strip().rpartition("=")[2]
    try:
        bits = int(text, 16)
    except ValueError:
        return None
    return complaints(bits)


def _number(path: Path) -> float | None:
    text = _text(path)
    return int(text) if text.lstrip("-").isdigit() else None
