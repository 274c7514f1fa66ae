"""What `board/probe.py` found out about a board, with types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

from ...runtime import schema
from ...runtime.errors import InputError
from ...runtime.io.printable import printable
from ..camera.release import Release
from . import untrusted
from .units import NAME

ARCHITECTURES = {"arm64": "aarch64", "amd64": "x86_64"}
"""Debian's names in Python's."""
RELEASE_ID = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{8}")
"""When a release was made (UTC) and the beginning of the hash of its contents."""
ENVIRONMENT_ID = re.compile(r"[0-9a-f]{16}")
_EXECUTABLE = re.compile(r"/usr/(local/)?bin/python3(\.[0-9]{1,2})?")
_WORD = re.compile(r"[A-Za-z0-9_.+~:-]{0,64}")
_RANDOM_ID = re.compile(r"[0-9a-f]{32}")


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
    clock_synchronized: bool | None
    throttled: int | None
    temperature_c: float | None
    packages: Mapping[str, str]
    candidates: Mapping[str, str]
    """Packages that apt could install, by version."""
    files: Mapping[str, str | None]
    current: str | None
    release: Release | None
    healthy: bool
    release_owned: bool
    """Whether the current release belongs to root, as everything does since the folders are root's."""
    releases: tuple[str, ...]
    environments: tuple[str, ...]
    """Those that belong to root."""
    folders: bool
    """Whether all folders are there and belong to root."""
    name: str
    """What `deploy` called the board; empty: its host name."""
    uid: int
    """Of the user who logged in."""
    service: Mapping[str, str]
    status: Any
    cameras: tuple[str, ...] | None = None
    videos: tuple[str, ...] = ()
    imports: Mapping[str, str] = field(default_factory=dict)
    """What could not be imported and why; empty text: it could. Nothing: not tried."""
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
    return (files(__package__ or "") / "board" / "probe.py").read_text(encoding="utf-8")


def imports_script() -> str:
    """The source of the program that tries the imports."""
    return (files(__package__ or "") / "board" / "imports.py").read_text(encoding="utf-8")


def read(output: str) -> Facts:
    """Read the probe's output.

    The board is not trusted: text that later becomes part of a command, a path or a file is checked here.

    Raises:
        InputError: It is no answer of the probe.
    """
    try:
        found = untrusted.load_json(output)
        if isinstance(found, dict) and not _is_release(found.get("release"), found.get("current")):
            found["release"] = None
        facts = schema.build(Facts, found)
        _check(facts)
    except (InputError, ValueError, TypeError) as error:
        shown = printable(output, limit=80)
        raise InputError(f"expected the probe's answer, got '{shown}' ({printable(error)})") from None
    # What is no id has no business in a command; a board with such names can be deployed to all the same.
    return replace(
        facts,
        releases=tuple(name for name in facts.releases if RELEASE_ID.fullmatch(name)),
        environments=tuple(name for name in facts.environments if ENVIRONMENT_ID.fullmatch(name)),
        groups=tuple(name for name in facts.groups if _WORD.fullmatch(name)),
        name=facts.name if NAME.fullmatch(facts.name) else "",
    )


def read_imports(output: str) -> dict[str, str]:
    """Read what `imports.py` printed. Raises InputError if it is something else."""
    found = untrusted.load_json(output)
    if not isinstance(found, dict) or not all(isinstance(said, str) for said in found.values()) or len(found) > 20:
        raise InputError("expected an object of modules and errors")
    return found


def _check(facts: Facts) -> None:
    """Raises ValueError."""
    if facts.current is not None and not RELEASE_ID.fullmatch(facts.current):
        raise ValueError(f"current: expected the id of a release, got {facts.current!r}")
    if len(facts.python) != 3 or not all(0 <= part < 1000 for part in facts.python):
        raise ValueError(f"python: expected three numbers, got {facts.python}")
    if not 0 <= facts.uid < 2**32 - 1:
        raise ValueError(f"uid: expected a user's number, got {facts.uid}")
    words = {
        "machine": facts.machine, "architecture": facts.architecture or "", "codename": facts.codename,
        **{f"packages.{name}": version for name, version in facts.packages.items()},
        **{f"candidates.{name}": version for name, version in facts.candidates.items()},
    }  # fmt: skip
    for name, word in words.items():
        if not _WORD.fullmatch(word):
            raise ValueError(f"{name}: expected letters, digits and ._+~:-, got {word!r}")


def can_be_linked(executable: str) -> bool:
    """Whether the board's Python is one that an environment may link to: the system's own."""
    return _EXECUTABLE.fullmatch(executable) is not None


def _is_release(value: Any, current: Any) -> bool:
    try:
        release = schema.build(Release, value)
    except ValueError:
        return False
    hexadecimal = all(re.fullmatch("[0-9a-f]{64}", word) for word in (release.model_sha256, release.content_sha256))
    return bool(
        RELEASE_ID.fullmatch(release.id)
        and release.id == current
        and hexadecimal
        and all(not word or _RANDOM_ID.fullmatch(word) for word in (release.secrets, release.salt))
    )
