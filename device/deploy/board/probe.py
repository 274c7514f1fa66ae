"""Probe of a board: prints hardware, system, packages, releases and the state of the service as one JSON object.

This file is sent to the board and run by its Python before anything of edgepose is installed. Therefore it uses only
the standard library and runs on Python 3.7 or later. Arguments: the base folder, then `deep` to also look for cameras,
which takes seconds, and `sudo` to also test sudo. A value that is unknown is null.
"""

from __future__ import annotations

import grp
import hashlib
import importlib.util
import json
import os
import platform
import pwd
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
CAMERA_PACKAGES = ("libcamera0", "libcamera-ipa", "rpicam-apps", "python3-libcamera")
"""Beginnings of the names of packages whose versions decide how a camera behaves."""
SWAP_PACKAGES = ("rpi-swap", "dphys-swapfile", "systemd-zram-generator", "zram-tools")
FOLDERS = ("", "releases", "environments", "healthy", "staging", "uploads")
RELEASE_LINK = "releases/[0-9]{8}T[0-9]{6}-[0-9a-f]{8}"
SERVICE_PROPERTIES = (
    "ActiveState,SubState,Result,NRestarts,UnitFileState,ExecMainStartTimestampMonotonic,MemoryCurrent,ReadWritePaths"
)


def read_text(path: str) -> str | None:
    """Read the first 64 KiB of a regular file; None if there is none. Follows no link, waits for no FIFO or device."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, encoding="utf-8", errors="replace") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None
            return file.read(65536).strip().rstrip("\0")
    except OSError:
        return None


def is_owned_folder(path: str) -> bool:
    """Return True if the path is a folder, not a link, that belongs to root and that nobody else may write to."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and not status.st_mode & 0o022


def run_command(*words: str, timeout: float = 20) -> str | None:
    """Run a program and return its stdout; None if it does not exist or fails."""
    try:
        result = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=timeout)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.decode(errors="replace").strip() if result.returncode == 0 else None


def parse_pairs(content: str | None, separator: str) -> dict[str, str]:
    """Parse lines of key, separator and value."""
    pairs = (line.partition(separator) for line in (content or "").splitlines())
    return {key.strip(): value.strip().strip('"') for key, found, value in pairs if found}


def read_json(path: str) -> Any:
    """Read a JSON file; None if it does not exist or is not valid."""
    try:
        return json.loads(read_text(path) or "null")
    except (ValueError, RecursionError):
        return None


def read_system() -> dict[str, Any]:
    """Return machine, system, Python, memory and time."""
    release = parse_pairs(read_text(os.path.realpath("/etc/os-release")), "=")
    memory = parse_pairs(read_text("/proc/meminfo"), ":")
    return {
        "board": read_text("/proc/device-tree/model") or "",
        "host": platform.node(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "bits": struct.calcsize("P") * 8,
        "architecture": run_command("dpkg", "--print-architecture"),
        "os": release.get("PRETTY_NAME", ""),
        "codename": release.get("VERSION_CODENAME", ""),
        "python": list(sys.version_info[:3]),
        "executable": os.path.realpath(sys.executable or "/usr/bin/python3"),
        "uid": os.getuid(),
        "user": read_name(pwd.getpwuid, os.getuid()),
        "user_groups": [read_name(grp.getgrgid, number) for number in os.getgroups()][:50],
        "groups": [line.partition(":")[0] for line in (read_text("/etc/group") or "").splitlines()],
        "memory_mb": get_megabytes(memory, "MemTotal"),
        "memory_free_mb": get_megabytes(memory, "MemAvailable"),
        "swap_mb": get_megabytes(memory, "SwapTotal"),
        "time": time.time(),
        "uptime_s": float((read_text("/proc/uptime") or "0").split()[0]),
    }


def read_name(read_entry: Any, number: int) -> str:
    """Return the name of a user or group; the number if it has no name."""
    try:
        return str(read_entry(number)[0])
    except KeyError:
        return str(number)


def get_megabytes(table: dict[str, str], key: str) -> int:
    """Return an entry of /proc/meminfo in MB."""
    return int((table.get(key) or "0").split()[0]) // 1024


def read_state(folder: str) -> dict[str, Any]:
    """Return disk, clock, power, packages, releases and service."""
    existing = folder
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    disk = shutil.disk_usage(existing)
    packages = run_command("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n") or ""
    installed = [line.split() for line in packages.splitlines()]
    current = os.path.join(folder, "current")
    target = os.readlink(current) if os.path.islink(current) else ""
    running = os.path.basename(target) if re.match(RELEASE_LINK + r"\Z", target) else None
    release = os.path.join(folder, "releases", running or "-")
    return {
        "disk_free_mb": disk.free // 1000000,
        "clock_synchronized": parse_yes_or_no(run_command("timedatectl", "show", "-p", "NTPSynchronized", "--value")),
        "throttled": read_throttled(),
        "temperature_c": read_temperature(),
        "packages": {
            row[0]: row[1] for row in installed if len(row) == 3 and row[0] in PACKAGES and row[2] == "installed"
        },
        "swap_packages": [row[0] for row in installed if row[0] in SWAP_PACKAGES and row[-1] == "installed"],
        "camera_packages": {
            row[0]: row[1]
            for row in installed
            if len(row) == 3 and row[0].startswith(CAMERA_PACKAGES) and row[2] == "installed"
        },
        "candidates": find_candidates(
            [name for name in PACKAGES if name not in [row[0] for row in installed if row[-1] == "installed"]]
        ),
        "files": {path: hash_file(path) for path in OWN_FILES},
        "current": running,
        "release": read_json(os.path.join(release, "release.json")),
        "release_owned": is_owned_folder(release),
        "healthy": os.path.exists(os.path.join(folder, "healthy", running or "-")),
        "releases": list_names(os.path.join(folder, "releases")),
        "environments": [
            name
            for name in list_names(os.path.join(folder, "environments"))
            if is_owned_folder(os.path.join(folder, "environments", name))
        ],
        "folders": all(is_owned_folder(os.path.join(folder, name)) for name in FOLDERS),
        "name": read_board_name(),
        "service": parse_pairs(run_command("systemctl", "show", UNIT, "-p", SERVICE_PROPERTIES), "="),
        "status": read_json("/run/edgepose/status.json"),
    }


def find_candidates(missing: list[str]) -> dict[str, str]:
    """Return the versions that apt would install of missing packages."""
    found, name = {}, ""
    for line in (run_command("apt-cache", "policy", *missing) or "").splitlines() if missing else ():
        if not line.startswith(" "):
            name = line.rstrip(":")
        elif line.strip().startswith("Candidate:") and "(none)" not in line:
            found[name] = line.split()[1]
    return found


def list_names(folder: str) -> list[str]:
    """Return at most 100 names in a folder, without incomplete entries, whose names begin with a dot."""
    if os.path.islink(folder) or not os.path.isdir(folder):
        return []
    return sorted(name for name in os.listdir(folder) if name[0] != ".")[:100]


def read_board_name() -> str:
    """Return the display name that `deploy` has set in our unit; empty if there is none."""
    found = re.search('^Environment="EDGEPOSE_NAME=([^"]*)"$', read_text(OWN_FILES[0]) or "", re.MULTILINE)
    return found.group(1) if found else ""


def hash_file(path: str) -> str | None:
    """Return the SHA-256 of a file; None if it does not exist, empty if it may not be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except PermissionError:
        return ""
    except OSError:
        return None


def parse_yes_or_no(word: str | None) -> bool | None:
    """Return True for `yes`, False for `no`, otherwise None."""
    return {"yes": True, "no": False}.get(word or "")


def read_throttled() -> int | None:
    """Return the flags of `vcgencmd get_throttled`; None if the board is not a Raspberry Pi."""
    word = read_text("/sys/devices/platform/soc/soc:firmware/get_throttled")
    if word is None:
        word = (run_command("vcgencmd", "get_throttled") or "").rpartition("=")[2]
    try:
        return int(word, 16)
    except ValueError:
        return None


def read_temperature() -> float | None:
    """Return the temperature of the processor in degrees Celsius; None if it is unknown."""
    word = read_text("/sys/class/thermal/thermal_zone0/temp")
    return int(word) / 1000 if word and word.lstrip("-").isdigit() else None


def find_cameras() -> dict[str, Any]:
    """Look for cameras, which takes seconds. Executes nothing of a release; `imports.py` does, in the sandbox."""
    listing = None
    for tool in ("rpicam-hello", "libcamera-hello"):
        if shutil.which(tool):
            listing = run_command(tool, "--list-cameras")
            break
    videos = "/sys/class/video4linux"
    return {
        "camera_listing": (listing or "")[:8000],
        "cameras": None
        if listing is None
        else [line.strip() for line in listing.splitlines() if re.match(r"\s*\d+ : ", line)],
        "videos": sorted(os.listdir(videos)) if os.path.isdir(videos) else [],
        "system_picamera2": importlib.util.find_spec("picamera2") is not None,
    }


def check_sudo() -> dict[str, Any]:
    """Return whether sudo works without a password. Never asks for one; ignores a password that was typed before."""
    if os.getuid() == 0:
        return {"sudo": "root"}
    if shutil.which("sudo") is None:
        return {"sudo": "missing"}
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(["sudo", "-n", "-k", "true"], env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=20)  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return {"sudo": "failed", "sudo_message": type(error).__name__}
    if done.returncode == 0:
        return {"sudo": "ok"}
    message = done.stderr.decode(errors="replace").strip()[-500:]
    # sudo-rs writes "interactive authentication is required".
    if "password is required" in message or "authentication is required" in message:
        return {"sudo": "password", "sudo_message": message}
    return {"sudo": "denied" if "not allowed" in message or "may not" in message else "failed", "sudo_message": message}


def main(words: list[str]) -> None:
    """Print the facts as JSON."""
    folder = words[0] if words else "/opt/edgepose"
    found = {**read_system(), **read_state(folder)}
    if "deep" in words[1:]:
        found.update(find_cameras())
    if "sudo" in words[1:]:
        found.update(check_sudo())
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
