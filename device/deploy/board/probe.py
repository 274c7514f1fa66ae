"""What a board is and how it fares, as one JSON object on stdout.

This file is sent to the board and run by whatever Python is there before anything of ours is: it imports nothing beyond
Python's own library and runs from Python 3.7. Arguments: the folder of the releases, then `deep` for what takes seconds
(cameras). What cannot be found out is null.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import stat
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
FOLDERS = ("", "releases", "environments", "healthy", "staging", "uploads")
RELEASE = "releases/[0-9]{8}T[0-9]{6}-[0-9a-f]{8}"
SERVICE = "ActiveState,SubState,Result,NRestarts,UnitFileState,ExecMainStartTimestampMonotonic,MemoryCurrent"


def text(path: str) -> str | None:
    """The first 64 KiB of a regular file, or None. No link is followed, and no FIFO or device is waited for."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, encoding="utf-8", errors="replace") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None
            return file.read(65536).strip().rstrip("\0")
    except OSError:
        return None


def owned(path: str) -> bool:
    """Whether this is a folder of root's, no link, that nobody else may write to."""
    try:
        about = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == 0 and not about.st_mode & 0o022


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
    except (ValueError, RecursionError):
        return None


def system() -> dict[str, Any]:
    """Machine, system and Python."""
    release = entries(text(os.path.realpath("/etc/os-release")), "=")
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
        "uid": os.getuid(),
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
    target = os.readlink(current) if os.path.islink(current) else ""
    running = os.path.basename(target) if re.match(RELEASE + r"\Z", target) else None
    release = os.path.join(folder, "releases", running or "-")
    return {
        "disk_free_mb": disk.free // 1000000,
        "clock_synchronized": yes_or_no(command("timedatectl", "show", "-p", "NTPSynchronized", "--value")),
        "throttled": throttled(),
        "temperature_c": temperature(),
        "packages": {
            row[0]: row[1] for row in installed if len(row) == 3 and row[0] in PACKAGES and row[2] == "installed"
        },
        "candidates": candidates(
            [name for name in PACKAGES if name not in [row[0] for row in installed if row[-1] == "installed"]]
        ),
        "files": {path: digest(path) for path in OWN_FILES},
        "current": running,
        "release": document(os.path.join(release, "release.json")),
        "release_owned": owned(release),
        "healthy": os.path.exists(os.path.join(folder, "healthy", running or "-")),
        "releases": names(os.path.join(folder, "releases")),
        "environments": [
            name
            for name in names(os.path.join(folder, "environments"))
            if owned(os.path.join(folder, "environments", name))
        ],
        "folders": all(owned(os.path.join(folder, name)) for name in FOLDERS),
        "name": own_name(),
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
    """What a folder holds that is whole; at most a hundred names."""
    if os.path.islink(folder) or not os.path.isdir(folder):
        return []
    return sorted(name for name in os.listdir(folder) if name[0] != ".")[:100]


def own_name() -> str:
    """The name that `deploy` gave this board, from our unit; empty if none."""
    found = re.search('^Environment="EDGEPOSE_NAME=([^"]*)"$', text(OWN_FILES[0]) or "", re.MULTILINE)
    return found.group(1) if found else ""


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


def deep() -> dict[str, Any]:
    """What takes seconds: cameras. Nothing of a release is executed here; `imports.py` is, in the service's sandbox."""
    listing = None
    for tool in ("rpicam-hello", "libcamera-hello"):
        if shutil.which(tool):
            listing = command(tool, "--list-cameras")
            break
    videos = "/sys/class/video4linux"
    return {
        "cameras": None
        if listing is None
        else [line.strip() for line in listing.splitlines() if line.strip()[:1].isdigit()],
        "videos": sorted(os.listdir(videos)) if os.path.isdir(videos) else [],
        "system_picamera2": importlib.util.find_spec("picamera2") is not None,
    }


def main(words: list[str]) -> None:
    """Prints it all."""
    folder = words[0] if words else "/opt/edgepose"
    found = {**system(), **state(folder)}
    if "deep" in words[1:]:
        found.update(deep())
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
