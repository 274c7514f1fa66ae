"""What a board is and how it fares, as one JSON object on stdout.

This file is sent to the board and run by whatever Python is there before anything of ours is: it imports nothing beyond
Python's own library and runs from Python 3.7. Arguments: the folder of the releases, then `deep` for what takes seconds
(cameras, imports). What cannot be found out is null.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import time
from typing import Any

UNIT = "edgepose.service"
PACKAGES = ("python3-numpy", "python3-opencv", "python3-picamera2", "python3-venv")
OWN_FILES = (
    "/etc/systemd/system/edgepose.service",
    "/etc/systemd/system/edgepose-recover.service",
    "/usr/local/lib/edgepose/activate",
)
SERVICE = "ActiveState,SubState,Result,NRestarts,UnitFileState,ExecMainStartTimestampMonotonic,MemoryCurrent"


def text(path: str) -> str | None:
    """The contents of a small file, or None."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip().rstrip("\0")
    except OSError:
        return None


def command(*words: str, timeout: float = 20) -> str | None:
    """What a program prints, or None where it is not there or fails."""
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=timeout)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def entries(content: str | None, separator: str) -> dict[str, str]:
    """A dictionary of `key separator value` lines."""
    pairs = (line.partition(separator) for line in (content or "").splitlines())
    return {key.strip(): value.strip().strip('"') for key, found, value in pairs if found}


def document(path: str) -> Any:
    """A JSON file, or None."""
    try:
        return json.loads(text(path) or "null")
    except ValueError:
        return None


def system() -> dict[str, Any]:
    """Machine, system and Python."""
    release = entries(text("/etc/os-release"), "=")
    memory = entries(text("/proc/meminfo"), ":")
    return {
        "board": text("/proc/device-tree/model") or "",
        "host": platform.node(),
        "machine": platform.machine(),
        "bits": struct.calcsize("P") * 8,
        "architecture": command("dpkg", "--print-architecture"),
        "os": release.get("PRETTY_NAME", ""),
        "codename": release.get("VERSION_CODENAME", ""),
        "python": list(sys.version_info[:3]),
        "executable": os.path.realpath(sys.executable or "/usr/bin/python3"),
        "groups": [line.partition(":")[0] for line in (text("/etc/group") or "").splitlines()],
        "memory_mb": kilobytes(memory, "MemTotal"),
        "memory_free_mb": kilobytes(memory, "MemAvailable"),
        "swap_mb": kilobytes(memory, "SwapTotal"),
        "time": time.time(),
        "uptime_s": float((text("/proc/uptime") or "0").split()[0]),
    }


def kilobytes(table: dict[str, str], key: str) -> int:
    """An entry of /proc/meminfo in megabytes."""
    return int((table.get(key) or "0").split()[0]) // 1024


def state(folder: str) -> dict[str, Any]:
    """Disk, clock, power, packages, releases, service."""
    place = folder
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    disk = shutil.disk_usage(place)
    packages = command("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n", "python3*") or ""
    installed = [line.split() for line in packages.splitlines()]
    current = os.path.join(folder, "current")
    target = os.readlink(current) if os.path.islink(current) else None
    return {
        "disk_free_mb": disk.free // 1000000,
        "clock_synchronised": yes_or_no(command("timedatectl", "show", "-p", "NTPSynchronized", "--value")),
        "throttled": throttled(),
        "temperature_c": temperature(),
        "packages": {
            row[0]: row[1] for row in installed if len(row) == 3 and row[0] in PACKAGES and row[2] == "installed"
        },
        "candidates": candidates(
            [name for name in PACKAGES if name not in [row[0] for row in installed if row[-1] == "installed"]]
        ),
        "files": {path: digest(path) for path in OWN_FILES},
        "current": None if target is None else os.path.basename(target),
        "release": document(os.path.join(folder, "current", "release.json")),
        "healthy": os.path.exists(os.path.join(folder, "current", "healthy")),
        "releases": names(os.path.join(folder, "releases")),
        "environments": names(os.path.join(folder, "environments")),
        "folders": os.path.isdir(os.path.join(folder, "releases")) and os.path.isdir("/etc/edgepose"),
        "service": entries(command("systemctl", "show", UNIT, "-p", SERVICE), "="),
        "status": document("/run/edgepose/status.json"),
    }


def candidates(missing: list[str]) -> dict[str, str]:
    """What apt would install of packages that are not there."""
    found, name = {}, ""
    for line in (command("apt-cache", "policy", *missing) or "").splitlines() if missing else ():
        if not line.startswith(" "):
            name = line.rstrip(":")
        elif line.strip().startswith("Candidate:") and "(none)" not in line:
            found[name] = line.split()[1]
    return found


def names(folder: str) -> list[str]:
    """What a folder holds that is whole."""
    return sorted(name for name in os.listdir(folder) if name[0] != ".") if os.path.isdir(folder) else []


def digest(path: str) -> str | None:
    """SHA-256 of a file; None where it is not there, empty where it may not be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except PermissionError:
        return ""
    except OSError:
        return None


def yes_or_no(word: str | None) -> bool | None:
    """True or False of `yes` or `no`."""
    return {"yes": True, "no": False}.get(word or "")


def throttled() -> int | None:
    """The firmware's complaints, see `vcgencmd get_throttled`; None on what is no Raspberry Pi."""
    word = text("/sys/devices/platform/soc/soc:firmware/get_throttled")
    if word is None:
        word = (command("vcgencmd", "get_throttled") or "").rpartition("=")[2]
    try:
        return int(word, 16)
    except ValueError:
        return None


def temperature() -> float | None:
    """Of the processor, degrees Celsius."""
    word = text("/sys/class/thermal/thermal_zone0/temp")
    return int(word) / 1000 if word and word.lstrip("-").isdigit() else None


def deep(folder: str) -> dict[str, Any]:
    """What takes seconds: cameras, and what the Python of the current release can import."""
    listing = None
    for tool in ("rpicam-hello", "libcamera-hello"):
        if shutil.which(tool):
            listing = command(tool, "--list-cameras")
            break
    python = os.path.join(folder, "current", "venv", "bin", "python")
    imports = {}
    if os.path.exists(python):
        for module in (
            "numpy",
            "cv2",
            "ai_edge_litert.interpreter",
            "tflite_runtime.interpreter",
            "edgepose.runtime",
            "picamera2",
        ):
            imports[module] = importing(python, module)
    videos = "/sys/class/video4linux"
    return {
        "cameras": None
        if listing is None
        else [line.strip() for line in listing.splitlines() if line.strip()[:1].isdigit()],
        "videos": sorted(os.listdir(videos)) if os.path.isdir(videos) else [],
        "imports": imports,
        "system_picamera2": importlib.util.find_spec("picamera2") is not None,
    }


def importing(python: str, module: str) -> str:
    """Empty where it can be imported, else the last line of what Python says."""
    words = [python, "-c", "import " + module]
    try:
        done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return "" if done.returncode == 0 else (lines or ["failed"])[-1]


def main(words: list[str]) -> None:
    """Prints it all."""
    folder = words[0] if words else "/opt/edgepose"
    found = {**system(), **state(folder)}
    if "deep" in words[1:]:
        found.update(deep(folder))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
