"""What `board/probe.py` found out about a board, with types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from edgepose.runtime import typed
from edgepose.runtime.errors import InputError

from ..service import Release

ARCHITECTURES = {"arm64": "aarch64", "amd64": "x86_64"}
"""Debian's names in Python's."""


@dataclass(frozen=True)
class Facts:
    """A board at one moment. What could not be found out is None."""

    board: str
    host: str
    machine: str
    bits: int
    """Of Python, which is those of the system's programs; the kernel may have more."""
    architecture: str | None
    os: str
    codename: str
    python: tuple[int, ...]
    executable: str
    groups: tuple[str, ...]
    memory_mb: int
    memory_free_mb: int
    swap_mb: int
    time: float
    uptime_s: float
    disk_free_mb: int
    clock_synchronised: bool | None
    throttled: int | None
    temperature_c: float | None
    packages: Mapping[str, str]
    candidates: Mapping[str, str]
    """Packages that apt could install, by version."""
    files: Mapping[str, str | None]
    current: str | None
    release: Release | None
    healthy: bool
    releases: tuple[str, ...]
    environments: tuple[str, ...]
    folders: bool
    service: Mapping[str, str]
    status: Any
    cameras: tuple[str, ...] | None = None
    videos: tuple[str, ...] = ()
    imports: Mapping[str, str] = field(default_factory=dict)
    system_picamera2: bool | None = None

    @property
    def tag(self) -> str:
        """The machine as wheels name it: x86_64, aarch64, armv7l, armv6l."""
        if self.architecture == "armhf" or (self.bits == 32 and self.machine.startswith(("arm", "aarch64"))):
            return "armv6l" if self.machine == "armv6l" else "armv7l"
        return ARCHITECTURES.get(self.architecture or "", self.machine)

    @property
    def running(self) -> bool:
        """Whether the service runs."""
        return self.service.get("ActiveState") == "active"


def script() -> str:
    """The source of the probe."""
    return (files(__package__) / "board" / "probe.py").read_text(encoding="utf-8")


def read(output: str) -> Facts:
    """Facts from the probe's output. Raises InputError where it is none."""
    try:
        found = json.loads(output)
        if isinstance(found, dict) and not _is_release(found.get("release")):
            found["release"] = None
        return typed.make(Facts, found)
    except ValueError as error:
        raise InputError(f"expected the probe's answer, got {output[:80]!r} ({error})") from None


def _is_release(value: Any) -> bool:
    try:
        typed.make(Release, value)
    except ValueError:
        return False
    return True
