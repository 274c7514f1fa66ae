"""Cameras of this machine: the devices of Video4Linux, what they are, and whether this user may open them."""

from __future__ import annotations

import fcntl
import grp
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..deploy.check import Check
from ..deploy.facts import Facts
from .packages import get_user_name

_DEVICES = Path("/dev")
_CLASS_FOLDER = Path("/sys/class/video4linux")
_QUERY_CAPABILITIES = 0x80685600
"""VIDIOC_QUERYCAP of linux/videodev2.h: it fills a `struct v4l2_capability` of 104 bytes."""
_CAPTURE, _MEMORY_TO_MEMORY, _HAS_DEVICE_CAPABILITIES = 0x1001, 0xC000, 0x80000000
_MAX_DEVICES = 64
_CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))


@dataclass(frozen=True)
class VideoDevice:
    """A device of Video4Linux."""

    path: Path
    name: str
    """Name of the device, such as `HD Webcam: HD Webcam`."""
    captures: bool | None
    """True if it delivers images; False for metadata, codecs and ISPs; None if it may not be opened."""
    group: str
    """Group that may open it."""


def query_capabilities(path: Path) -> int | None:
    """Return the capabilities of a device as flags, without starting it; None if it may not be opened.

    Raises:
        OSError: It is not a device of Video4Linux, or does not answer.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        return None
    try:
        answer = fcntl.ioctl(handle, _QUERY_CAPABILITIES, bytes(104))
    finally:
        os.close(handle)
    all_flags, device_flags = struct.unpack_from("=II", answer, 84)
    return int(device_flags if all_flags & _HAS_DEVICE_CAPABILITIES else all_flags)


def list_devices(
    devices: Path = _DEVICES,
    class_folder: Path = _CLASS_FOLDER,
    query: Callable[[Path], int | None] = query_capabilities,
) -> list[VideoDevice]:
    """Return the video devices in the order of their numbers.

    Args:
        devices: Folder of the devices.
        class_folder: Folder in which the kernel describes them.
        query: Returns the capabilities of a device, see `query_capabilities`.
    """
    numbers = sorted(
        int(match[1]) for path in devices.glob("video*") if (match := re.fullmatch(r"video(\d+)", path.name))
    )
    found = []
    for number in numbers[:_MAX_DEVICES]:
        path = devices / f"video{number}"
        try:
            name = (class_folder / path.name / "name").read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            name = "unknown device"
        try:
            flags = query(path)
            captures = None if flags is None else bool(flags & _CAPTURE) and not flags & _MEMORY_TO_MEMORY
            group = _get_group(path)
        except OSError:
            captures, group = False, ""
        found.append(VideoDevice(path, name, captures, group))
    return found


def _get_group(path: Path) -> str:
    number = path.stat().st_gid
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def check_cameras(
    facts: Facts, devices: list[VideoDevice], container_files: tuple[Path, ...] = _CONTAINER_FILES
) -> Iterator[Check]:
    """Show the cameras, and what to do if none can be used."""
    name = "camera"
    if facts.cameras:
        yield Check(name, "ok", f"camera module {'; '.join(facts.cameras)}")
    for device in devices:
        number = device.path.name.removeprefix("video")
        if device.captures:
            yield Check(name, "ok", f"{device.path} {device.name}; --source v4l2:{number}")
        elif device.captures is None:
            yield Check(name, "failed", f"{device.path} {device.name}: no permission", _explain_permission(device))
    others = [device for device in devices if device.captures is False]
    if others:
        seen = f"{len(others)} more video device{'s' * (len(others) != 1)} without images (metadata, codec or ISP)"
        yield Check("video devices", "ok", seen)
    if facts.cameras or any(device.captures is not False for device in devices):
        return
    if facts.board:
        fix = "check the ribbon cable with the power off, then run rpicam-hello --list-cameras; for USB run lsusb"
        yield Check(name, "warning", "none found", fix)
    elif any(path.exists() for path in container_files):
        fix = "start the container with --device /dev/video0; images, videos and network cameras need no device"
        yield Check(name, "missing", "none found: this is a container", fix)
    else:
        fix = "connect a USB camera, and see lsusb; images, videos and network cameras need no device"
        yield Check(name, "missing", "none found", fix)


def _explain_permission(device: VideoDevice) -> str:
    user, group = get_user_name(), device.group
    try:
        is_member = user in grp.getgrnam(group).gr_mem
    except KeyError:
        return (
            f"as root, allow the group of {device.path}: sudo chgrp video {device.path}; sudo chmod g+rw {device.path}"
        )
    if is_member:
        return f"{user} is in the group {group} since this login: log out and in again"
    return f"sudo usermod -aG {group} {user}, then log out and in again"
