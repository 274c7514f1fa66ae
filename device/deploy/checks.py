"""Checks of a board: can it run edgepose, and does the service work?

`edgepose doctor` shows all checks. `edgepose deploy` stops at failed checks that block a deployment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...runtime.errors import InputError
from ...runtime.io.printable import make_printable
from ..camera.release import Release
from ..monitor.health import decode_throttled_flags
from .check import Check
from .facts import Facts

_MIN_FREE_DISK_MB = 600
"""Space for a second environment beside the one in use, and for releases."""
_MAX_CLOCK_OFFSET_S = 300.0
_HIGH_TEMPERATURE_C = 80.0


def run_checks(facts: Facts, local_time_s: float | None = None, new_release: Release | None = None) -> list[Check]:
    """Run all checks.

    Args:
        facts: Facts about the board.
        local_time_s: Time of this machine in seconds since the epoch, to compare the clocks; None on the board itself.
        new_release: Release to deploy, for its memory use; None uses the current release.
    """
    release = new_release or facts.release
    return [
        *_check_system(facts), *check_sudo(facts), *_check_packages(facts), *_check_memory(facts, release),
        *_check_disk(facts), *_check_power(facts), *_check_clock(facts, local_time_s), *_check_camera(facts),
        *_check_view(facts), *_check_imports(facts), *_check_video(facts, release), *_check_service(facts),
    ]  # fmt: skip


def run_local_checks(facts: Facts) -> list[Check]:
    """Run the checks of hardware and service for the machine on which this process runs.

    Power, clock, camera modes and service are checked on a Raspberry Pi only.
    """
    found = [*_check_memory(facts, facts.release)]
    if facts.board:
        found += [*_check_power(facts), *_check_clock(facts, None), *_check_view(facts)]
    if facts.current is not None:
        found += _check_service(facts)
    return found


def _check_system(facts: Facts) -> Iterator[Check]:
    python = ".".join(map(str, facts.python))
    seen = f"{facts.os or 'unknown system'}, {facts.tag}, Python {python}"
    name = "system and Python"
    if facts.python < (3, 11):
        fix = "install Raspberry Pi OS Bookworm or Trixie: the wheels of edgepose need Python 3.11 or later"
        yield Check(name, "failed", seen, fix, blocks=True)
    elif facts.tag == "armv6l":
        fix = "there is no TFLite interpreter for ARMv6 (Pi Zero, Pi 1); use a Pi Zero 2 W or newer"
        yield Check(name, "failed", seen, fix, blocks=True)
    elif facts.tag not in ("aarch64", "x86_64", "armv7l"):
        yield Check(name, "failed", seen, "use a board with aarch64, x86_64 or armv7l", blocks=True)
    elif facts.tag == "armv7l" and facts.python >= (3, 12):
        fix = "tflite-runtime, the only interpreter for 32 bits, needs Python 3.11; use the 64-bit system, or Bookworm"
        yield Check(name, "failed", seen, fix, blocks=True)
    else:
        yield Check(name, "ok", seen)
    if facts.bits == 32 and facts.machine == "aarch64":
        fix = "install the 64-bit Raspberry Pi OS: int8 networks run two to four times as fast, and newer wheels exist"
        yield Check("32 or 64 bits", "warning", "a 64-bit kernel with 32-bit programs", fix)
    else:
        yield Check("32 or 64 bits", "ok", f"{facts.bits} bits")


def check_sudo(facts: Facts) -> Iterator[Check]:
    """Check if the login user can become root. Nothing if this was not tested."""
    name, user = "sudo", make_printable(facts.user, limit=40) or "the login user"
    group = next((group for group in ("sudo", "wheel", "admin") if group in facts.user_groups), "")
    allow = f"log in as a user who may use sudo, or run as one: sudo adduser {user} sudo"
    match facts.sudo:
        case None:
            return
        case "root":
            yield Check(name, "ok", "not needed: the login user is root")
        case "ok":
            yield Check(name, "ok", f"{user} needs no password")
        case "accepted":
            yield Check(name, "ok", f"the password of {user} is accepted")
        case "password":
            seen = f"{user} needs a password" + ("" if group else " and is not in the group sudo")
            fix = "add --ask-sudo-password, or --sudo-password-file FILE"
            yield Check(name, "failed", seen, fix if group else f"{allow}; otherwise {fix}", blocks=True)
        case "wrong":
            fix = "type it again; it is the password of this user on the board, not of the SSH key"
            yield Check(name, "failed", f"the password of {user} is not accepted", fix, blocks=True)
        case "denied":
            yield Check(name, "failed", f"{user} may not use sudo", allow, blocks=True)
        case "missing":
            yield Check(name, "failed", "not installed", "as root: apt install sudo; or log in as root", blocks=True)
        case "failed":
            message = make_printable(facts.sudo_message, limit=200) or "no message"
            yield Check(name, "failed", message, f"log in with ssh and run sudo true as {user}", blocks=True)


def _check_packages(facts: Facts) -> Iterator[Check]:
    numpy = facts.packages.get("python3-numpy")
    if numpy is not None:
        yield Check("NumPy from apt", "ok", get_upstream_version(numpy))
    elif "python3-numpy" in facts.candidates:
        yield Check("NumPy from apt", "warning", "not installed", "deploy installs it: sudo apt install python3-numpy")
    else:
        fix = "sudo apt update; without internet, install python3-numpy before the board goes there"
        yield Check("NumPy from apt", "failed", "not installed and not known to apt", fix, blocks=True)


def _check_memory(facts: Facts, release: Release | None) -> Iterator[Check]:
    needed_mb = release.memory_mb if release and release.memory_mb else 150
    available_mb = facts.memory_free_mb + (facts.swap_mb if release is None or facts.running else 0)
    seen = f"{facts.memory_mb} MB, {facts.memory_free_mb} free, {facts.swap_mb} swap; edgepose needs about {needed_mb}"
    if facts.memory_mb < needed_mb:
        yield Check("memory", "failed", seen, "use a smaller model or input size, or a board with more memory")
    elif available_mb < needed_mb and not facts.running:
        yield Check("memory", "warning", seen, f"stop other programs, or increase the swap: {_explain_swap(facts)}")
    else:
        yield Check("memory", "ok", seen)


def _check_disk(facts: Facts) -> Iterator[Check]:
    seen = f"{facts.disk_free_mb} MB free"
    if facts.disk_free_mb < _MIN_FREE_DISK_MB:
        fix = f"free {_MIN_FREE_DISK_MB} MB: sudo apt clean; sudo journalctl --vacuum-size=50M; or use a larger card"
        yield Check("disk", "failed", seen, fix, blocks=True)
    else:
        yield Check("disk", "ok", seen)


def _explain_swap(facts: Facts) -> str:
    """Return how to increase the swap with the program that is installed on the board."""
    if "rpi-swap" in facts.swap_packages:  # Raspberry Pi OS Trixie
        return (
            "write the lines [Main], Mechanism=swapfile, [File], FixedSizeMiB=1024 into "
            "/etc/rpi/swap.conf.d/90-size.conf, then sudo reboot"
        )
    if "dphys-swapfile" in facts.swap_packages:  # Raspberry Pi OS Bookworm
        return "set CONF_SWAPSIZE=1024 in /etc/dphys-swapfile, then sudo systemctl restart dphys-swapfile"
    if "systemd-zram-generator" in facts.swap_packages:
        return "increase zram-size in /etc/systemd/zram-generator.conf, then sudo reboot"
    if "zram-tools" in facts.swap_packages:
        return "increase PERCENT in /etc/default/zramswap, then sudo systemctl restart zramswap"
    return (
        "sudo fallocate -l 1G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && "
        "sudo swapon /swapfile, and add /swapfile none swap sw 0 0 to /etc/fstab"
    )


def _check_power(facts: Facts) -> Iterator[Check]:
    if facts.throttled is None:
        yield Check("power", "ok", "unknown: no firmware report (not a Raspberry Pi)")
    else:
        flags = decode_throttled_flags(facts.throttled)
        is_undervoltage = any("undervoltage" in flag for flag in flags)
        fix = (
            "use a power supply with 5.1 V and enough current, and a short thick cable"
            if is_undervoltage
            else "use a heat sink or a fan, or a faster model"
        )
        yield Check(
            "power", "warning" if flags else "ok", ", ".join(flags) or "no problem since boot", fix if flags else ""
        )
    if facts.temperature_c is not None:
        is_hot = facts.temperature_c >= _HIGH_TEMPERATURE_C
        fix = "use a heat sink or a fan, or `when_hot` models (docs/guides/camera.md)" if is_hot else ""
        yield Check("temperature", "warning" if is_hot else "ok", f"{facts.temperature_c:.0f} C", fix)


def _check_clock(facts: Facts, here_s: float | None) -> Iterator[Check]:
    offset_s = 0.0 if here_s is None else facts.time - here_s
    fix = "sudo timedatectl set-ntp true; without internet, use a clock module (RTC)"
    if abs(offset_s) > _MAX_CLOCK_OFFSET_S:
        yield Check(
            "clock", "warning", f"{abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} this machine", fix
        )
    elif facts.clock_synchronized is False:
        yield Check("clock", "warning", "correct, but not synchronized with a time server", fix)
    else:
        yield Check("clock", "ok", "correct" if here_s is not None else "synchronized")


def _check_camera(facts: Facts) -> Iterator[Check]:
    if facts.cameras:
        yield Check("camera", "ok", "; ".join(facts.cameras))
    elif facts.videos:
        yield Check("camera", "ok", f"no libcamera camera; video devices {', '.join(facts.videos)}")
    elif facts.system_picamera2 is not None:
        fix = "check the ribbon cable with the power off, then run rpicam-hello --list-cameras; for USB run lsusb"
        yield Check("camera", "warning", "none found", fix)


def _check_view(facts: Facts) -> Iterator[Check]:
    """Show sensor mode, field of view and frame rate: of the running loop, otherwise with the default settings."""
    # These modules need NumPy and OpenCV, and `edgepose doctor` must run without them to say that they are broken.
    from ..config import CameraConfig
    from ..sources import sensor_modes

    name, settings = "field of view", CameraConfig()
    if facts.running and isinstance(facts.status, dict) and (camera := facts.status.get("camera")):
        yield Check(name, "ok", str(camera))
        return
    views = []
    for camera, modes in sensor_modes.parse_listing(facts.camera_listing).items():
        if modes:
            view = sensor_modes.choose_view(modes, (settings.width, settings.height), settings.fps)
            views.append(f"{camera}: {view.describe()}")
    if views:
        yield Check(name, "ok", f"with the default settings {'; '.join(views)}")


def _check_imports(facts: Facts) -> Iterator[Check]:
    if not facts.imports:
        if facts.current is not None and facts.sudo is not None and not facts.can_become_root:
            yield Check("Python packages", "warning", "not checked: this needs sudo", "see sudo above")
        return
    broken = {name: error for name, error in facts.imports.items() if error}
    interpreters = [name for name in facts.imports if name.endswith("interpreter")]
    broken_required = {name: error for name, error in broken.items() if name in ("numpy", "cv2", "edgepose.runtime")}
    if broken_required:
        is_abi_mismatch = any(
            "numpy" in error.lower() and ("dtype size" in error or "ABI" in error or "1.x" in error)
            for error in broken_required.values()
        )
        fix = (
            "NumPy from apt and a wheel are not compatible; deploy again to install wheels that match"
            if is_abi_mismatch
            else "the environment is damaged; deploy again"
        )
        yield Check(
            "Python packages", "failed", "; ".join(f"{name}: {error}" for name, error in broken_required.items()), fix
        )
    elif all(name in broken for name in interpreters):
        error = "; ".join(f"{name}: {broken[name]}" for name in interpreters)
        yield Check("Python packages", "failed", error, "no TFLite interpreter can be loaded; deploy again")
    else:
        yield Check("Python packages", "ok", "NumPy, OpenCV, the interpreter and edgepose can be imported")
    picamera2_error = broken.get("picamera2")
    if picamera2_error is None:
        yield Check("picamera2", "ok", "can be imported in the environment")
    elif facts.system_picamera2:
        fix = "the environment does not include the system's packages; deploy again"
        yield Check("picamera2", "failed", picamera2_error, fix)
    else:
        yield Check("picamera2", "warning", "not installed", "sudo apt install python3-picamera2 (for a camera module)")


def _check_video(facts: Facts, release: Release | None) -> Iterator[Check]:
    """Show the codec of clips and recordings. Nothing if the configuration has none."""
    name = "videos"
    if release is None or not release.video:
        return
    if release.video == "mpeg4":
        seen = "clips and recordings are MPEG-4, which browsers do not play: PyAV has no libx264 for 32 bits"
        yield Check(name, "warning", seen, "use the 64-bit system for H.264; VLC plays MPEG-4")
    elif (error := facts.imports.get("av")) is not None:
        fix = "clips and recordings are MPEG-4 without PyAV; deploy again" if error else ""
        yield Check(name, "failed" if error else "ok", error or "H.264, PyAV can be imported", fix)


def _check_service(facts: Facts) -> Iterator[Check]:
    name = "service"
    if facts.current is None:
        yield Check(name, "ok", "not deployed yet")
        return
    state = (
        f"{facts.service.get('ActiveState', 'unknown')} ({facts.service.get('SubState', '')}), release {facts.current}"
    )
    if not facts.running:
        fix = f"see edgepose logs; edgepose rollback restores the previous release ({facts.service.get('Result', '')})"
        yield Check(name, "failed", state, fix)
    elif isinstance(facts.status, dict) and facts.status.get("state") == "paused":
        yield Check(
            name, "warning", f"{state}: paused", "switch off the pause in Home Assistant, or restart the service"
        )
    elif isinstance(facts.status, dict) and facts.status.get("state") not in ("running", None):
        yield Check(
            name,
            "failed",
            f"{state}: {facts.status.get('state')}: {facts.status.get('problem')}",
            "see edgepose logs",
        )
    elif facts.service.get("UnitFileState") != "enabled":
        yield Check(name, "warning", f"{state}, but not started at boot", "sudo systemctl enable edgepose")
    else:
        yield Check(name, "ok", state)


def get_upstream_version(debian: str) -> str:
    """Return the upstream version of a Debian version: 1.24.2 for `1:1.24.2+ds-1+deb12u1`."""
    version = debian.partition(":")[2] or debian
    return re.sub(r"[^\d.].*", "", version.rpartition("-")[0] or version)


def blocking_error(checks: list[Check]) -> InputError:
    """Create the error for checks that block a deployment."""
    return InputError("; ".join(f"{check.name}: {check.seen}: {check.fix}" for check in checks))
