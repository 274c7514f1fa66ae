"""Whether a board can run edgepose at all, and what is to be said of how it fares: facts in, plain words out.

`edgepose doctor` shows every check, `edgepose deploy` stops at those that failed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from ...runtime.errors import InputError
from ..camera.release import Release
from ..monitor.health import complaints
from .facts import Facts

Verdict = Literal["ok", "warning", "failed"]

_DISK_MB = 600
"""For an environment beside the one that is in use, and releases."""
_CLOCK_S = 300.0
_HOT_C = 80.0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, what was seen, and what to do about it."""

    name: str
    verdict: Verdict
    seen: str
    fix: str = ""
    blocks: bool = False
    """Whether nothing can be deployed before it is mended."""


def run_checks(facts: Facts, here_s: float | None = None, wanted: Release | None = None) -> list[Check]:
    """All checks. `here_s`: this machine's clock, where it is another; `wanted`: a release that is to run there."""
    release = wanted or facts.release
    groups: list[Callable[[], Iterator[Check]]] = [
        lambda: _system(facts), lambda: _packages(facts), lambda: _memory(facts, release), lambda: _power(facts),
        lambda: _clock(facts, here_s), lambda: _camera(facts), lambda: _imports(facts), lambda: _service(facts),
    ]  # fmt: skip
    return [check for group in groups for check in group()]


def _system(facts: Facts) -> Iterator[Check]:
    python = ".".join(map(str, facts.python))
    seen = f"{facts.os or 'unknown system'}, {facts.tag}, Python {python}"
    name = "system and Python"
    if facts.python < (3, 11):
        fix = "flash Raspberry Pi OS Bookworm or Trixie: Python 3.11 is the first with a stable interface for our wheel"
        yield Check(name, "failed", seen, fix, blocks=True)
    elif facts.tag == "armv6l":
        fix = "no TFLite interpreter exists for ARMv6 (Pi Zero, Pi 1); use a Zero 2 W or newer"
        yield Check(name, "failed", seen, fix, blocks=True)
    elif facts.tag not in ("aarch64", "x86_64", "armv7l"):
        yield Check(name, "failed", seen, "wheels exist for aarch64, x86_64 and armv7l", blocks=True)
    elif facts.tag == "armv7l" and facts.python >= (3, 12):
        fix = (
            "tflite-runtime, the only interpreter for 32 bits, ends at Python 3.11: use the 64-bit system, or Bookworm"
        )
        yield Check(name, "failed", seen, fix, blocks=True)
    else:
        yield Check(name, "ok", seen)
    if facts.bits == 32 and facts.machine == "aarch64":
        fix = "flash the 64-bit Raspberry Pi OS: int8 networks run two to four times as fast, and newer wheels exist"
        yield Check("32 or 64 bits", "warning", "a 64-bit kernel with 32-bit programs", fix)
    else:
        yield Check("32 or 64 bits", "ok", f"{facts.bits} bits")


def _packages(facts: Facts) -> Iterator[Check]:
    numpy = facts.packages.get("python3-numpy")
    if numpy is not None:
        yield Check("NumPy from apt", "ok", upstream(numpy))
    elif "python3-numpy" in facts.candidates:
        yield Check("NumPy from apt", "warning", "not installed", "deploy installs it: sudo apt install python3-numpy")
    else:
        fix = "sudo apt update; without internet: put python3-numpy on the card beforehand"
        yield Check("NumPy from apt", "failed", "neither installed nor known to apt", fix, blocks=True)


def _memory(facts: Facts, release: Release | None) -> Iterator[Check]:
    need = release.memory_mb if release and release.memory_mb else 150
    room = facts.memory_free_mb + (facts.swap_mb if release is None or facts.running else 0)
    seen = f"{facts.memory_mb} MB, {facts.memory_free_mb} free, {facts.swap_mb} swap; the loop needs about {need}"
    if facts.memory_mb < need:
        yield Check("memory", "failed", seen, "a smaller model or input size; a board with more memory")
    elif room < need and not facts.running:
        yield Check("memory", "warning", seen, "stop other programs, or raise the swap: sudo dphys-swapfile setup")
    else:
        yield Check("memory", "ok", seen)
    seen = f"{facts.disk_free_mb} MB free"
    if facts.disk_free_mb < _DISK_MB:
        fix = f"expected {_DISK_MB} MB: sudo apt clean; sudo journalctl --vacuum-size=50M; or a larger card"
        yield Check("disk", "failed", seen, fix, blocks=True)
    else:
        yield Check("disk", "ok", seen)


def _power(facts: Facts) -> Iterator[Check]:
    if facts.throttled is None:
        yield Check("power", "ok", "the firmware tells nothing (no Raspberry Pi)")
    else:
        flags = complaints(facts.throttled)
        low = any("undervoltage" in flag for flag in flags)
        fix = (
            "a power supply with 5.1 V and enough current, a short thick cable"
            if low
            else "a heat sink or a fan; a cheaper model"
        )
        yield Check(
            "power", "warning" if flags else "ok", ", ".join(flags) or "steady since boot", fix if flags else ""
        )
    if facts.temperature_c is not None:
        hot = facts.temperature_c >= _HOT_C
        fix = "a heat sink or a fan; `when_hot` models, see docs/camera.md" if hot else ""
        yield Check("temperature", "warning" if hot else "ok", f"{facts.temperature_c:.0f} C", fix)


def _clock(facts: Facts, here_s: float | None) -> Iterator[Check]:
    off_s = 0.0 if here_s is None else facts.time - here_s
    fix = "sudo timedatectl set-ntp true; without internet a clock module (RTC)"
    if abs(off_s) > _CLOCK_S:
        yield Check("clock", "warning", f"{abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} this machine", fix)
    elif facts.clock_synchronized is False:
        yield Check("clock", "warning", "right, but not synchronized with a time server", fix)
    else:
        yield Check("clock", "ok", "right" if here_s is not None else "synchronized")


def _camera(facts: Facts) -> Iterator[Check]:
    if facts.cameras:
        yield Check("camera", "ok", "; ".join(facts.cameras))
    elif facts.videos:
        yield Check("camera", "ok", f"none of libcamera's; video devices {', '.join(facts.videos)}")
    elif facts.system_picamera2 is not None:
        fix = "seat the ribbon cable with the power off; rpicam-hello --list-cameras; for USB: lsusb"
        yield Check("camera", "warning", "none found", fix)


def _imports(facts: Facts) -> Iterator[Check]:
    if not facts.imports:
        return
    broken = {name: said for name, said in facts.imports.items() if said}
    interpreters = [name for name in facts.imports if name.endswith("interpreter")]
    ours = {name: said for name, said in broken.items() if name in ("numpy", "cv2", "edgepose.runtime")}
    if ours:
        abi = any(
            "numpy" in said.lower() and ("dtype size" in said or "ABI" in said or "1.x" in said)
            for said in ours.values()
        )
        fix = (
            "NumPy from apt and a wheel of ours do not go together: deploy again, which chooses them for each other"
            if abi
            else "deploy again: the environment is damaged"
        )
        yield Check("Python packages", "failed", "; ".join(f"{name}: {said}" for name, said in ours.items()), fix)
    elif all(name in broken for name in interpreters):
        said = "; ".join(f"{name}: {broken[name]}" for name in interpreters)
        yield Check("Python packages", "failed", said, "deploy again: no TFLite interpreter can be loaded")
    else:
        yield Check("Python packages", "ok", "NumPy, OpenCV, interpreter and edgepose load")
    outside = broken.get("picamera2")
    if outside is None:
        yield Check("picamera2", "ok", "visible in the environment")
    elif facts.system_picamera2:
        fix = "it loads outside only: the environment must see the system's packages; deploy again"
        yield Check("picamera2", "failed", outside, fix)
    else:
        yield Check("picamera2", "warning", "not installed", "sudo apt install python3-picamera2 (for a camera module)")


def _service(facts: Facts) -> Iterator[Check]:
    name = "service"
    if facts.current is None:
        yield Check(name, "ok", "not deployed yet")
        return
    state = (
        f"{facts.service.get('ActiveState', 'unknown')} ({facts.service.get('SubState', '')}), release {facts.current}"
    )
    if not facts.running:
        fix = f"edgepose logs tells why; edgepose rollback goes back ({facts.service.get('Result', '')})"
        yield Check(name, "failed", state, fix)
    elif isinstance(facts.status, dict) and facts.status.get("state") not in ("running", None):
        yield Check(
            name,
            "failed",
            f"{state}: {facts.status.get('state')}: {facts.status.get('problem')}",
            "edgepose logs tells more",
        )
    elif facts.service.get("UnitFileState") != "enabled":
        yield Check(name, "warning", f"{state}, but not started at boot", "sudo systemctl enable edgepose")
    else:
        yield Check(name, "ok", state)


def upstream(debian: str) -> str:
    """The version that Debian packaged: `1:1.24.2+ds-1+deb12u1` is 1.24.2."""
    version = debian.partition(":")[2] or debian
    return re.sub(r"[^\d.].*", "", version.rpartition("-")[0] or version)


def blocking_error(checks: list[Check]) -> InputError:
    """Why a board cannot be deployed to."""
    return InputError("; ".join(f"{check.name}: {check.seen}: {check.fix}" for check in checks))
