"""Facts about a board: the answer of `board/probe.py`, checked and typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

from ...runtime import schema
from ...runtime.errors import InputError
from ...runtime.io.printable import make_printable
from ..camera.release import Release
from . import untrusted
from .privileges import SudoState
from .units import BOARD_NAME_PATTERN

ARCHITECTURES = {"arm64": "aarch64", "amd64": "x86_64"}
"""Debian names of architectures to those of Python."""
RELEASE_ID = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{8}")
"""Creation time of a release (UTC) and the first 8 digits of the hash of its contents."""
ENVIRONMENT_ID = re.compile(r"[0-9a-f]{16}")
_PYTHON_PATH = re.compile(r"/usr/(local/)?bin/python3(\.[0-9]{1,2})?")
_SAFE_WORD = re.compile(r"[A-Za-z0-9_.+~:-]{0,64}")
_RANDOM_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Facts:
    """Facts about a board at one moment. A fact that is unknown is None."""

    board: str
    host: str
    machine: str
    bits: int
    """Bits of Python and of the other programs, 32 or 64; the kernel may have more."""
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
    """Packages that apt can install, with their versions."""
    files: Mapping[str, str | None]
    current: str | None
    release: Release | None
    healthy: bool
    release_owned: bool
    """True if the current release belongs to root. In the old layout it belongs to the service user."""
    releases: tuple[str, ...]
    environments: tuple[str, ...]
    """Ids of the environments that belong to root."""
    folders: bool
    """True if all folders exist and belong to root."""
    name: str
    """Display name set by `deploy`; empty if the board uses its host name."""
    uid: int
    """User id of the SSH login."""
    service: Mapping[str, str]
    status: Any
    cameras: tuple[str, ...] | None = None
    videos: tuple[str, ...] = ()
    imports: Mapping[str, str] = field(default_factory=dict)
    """Import errors by module; an empty error means success. Empty if imports were not checked."""
    system_picamera2: bool | None = None
    camera_listing: str = ""
    """Output of `rpicam-hello --list-cameras`."""
    camera_packages: Mapping[str, str] = field(default_factory=dict)
    """Versions of libcamera and its programs, for the report."""
    kernel: str = ""
    swap_packages: tuple[str, ...] = ()
    """Installed programs that set up swap."""
    user: str = ""
    """Name of the login user."""
    user_groups: tuple[str, ...] = ()
    sudo: SudoState | None = None
    """None if it was not checked."""
    sudo_message: str = ""
    """Error message of sudo."""

    @property
    def can_become_root(self) -> bool:
        """True if commands can run as root; False if this is not so, or was not checked."""
        return self.sudo in ("root", "ok", "accepted")

    @property
    def tag(self) -> str:
        """Platform tag of wheels for this board: x86_64, aarch64, armv7l, armv6l."""
        if self.architecture == "armhf" or (self.bits == 32 and self.machine.startswith(("arm", "aarch64"))):
            return "armv6l" if self.machine == "armv6l" else "armv7l"
        return ARCHITECTURES.get(self.architecture or "", self.machine)

    @property
    def running(self) -> bool:
        """True if the service is active."""
        return self.service.get("ActiveState") == "active"


def read_probe_script() -> str:
    """Return the source code of the probe."""
    return (files(__package__ or "") / "board" / "probe.py").read_text(encoding="utf-8")


def read_imports_script() -> str:
    """Return the source code of the program that checks the imports."""
    return (files(__package__ or "") / "board" / "imports.py").read_text(encoding="utf-8")


def parse(output: str) -> Facts:
    """Parse the output of the probe.

    The board is not trusted: text that is later used in a command, a path or a file is checked here.

    Raises:
        InputError: The text is not a valid answer of the probe.
    """
    try:
        found = untrusted.load_json(output)
        if isinstance(found, dict) and not _is_valid_release(found.get("release"), found.get("current")):
            found["release"] = None
        facts = schema.build(Facts, found)
        _check_facts(facts)
    except (InputError, ValueError, TypeError) as error:
        excerpt = make_printable(output, limit=80)
        raise InputError(f"not a valid answer of the probe: {make_printable(error)}; got '{excerpt}'") from None
    # Only valid ids are used in commands; other names on the board are ignored.
    return replace(
        facts,
        releases=tuple(name for name in facts.releases if RELEASE_ID.fullmatch(name)),
        environments=tuple(name for name in facts.environments if ENVIRONMENT_ID.fullmatch(name)),
        groups=tuple(name for name in facts.groups if _SAFE_WORD.fullmatch(name)),
        name=facts.name if BOARD_NAME_PATTERN.fullmatch(facts.name) else "",
    )


def parse_imports(output: str) -> dict[str, str]:
    """Parse the output of `board/imports.py`.

    Returns:
        Error by module; empty if the module can be imported.

    Raises:
        InputError: The output is not valid.
    """
    found = untrusted.load_json(output)
    if not isinstance(found, dict) or not all(isinstance(error, str) for error in found.values()) or len(found) > 20:
        raise InputError("expected a JSON object with at most 20 modules and their errors")
    return found


def _check_facts(facts: Facts) -> None:
    """Check the facts that are used in commands, paths and files. Raises ValueError."""
    if facts.current is not None and not RELEASE_ID.fullmatch(facts.current):
        raise ValueError(f"current: expected a release id, got {facts.current!r}")
    if len(facts.python) != 3 or not all(0 <= part < 1000 for part in facts.python):
        raise ValueError(f"python: expected three numbers, got {facts.python}")
    if not 0 <= facts.uid < 2**32 - 1:
        raise ValueError(f"uid: expected a user id, got {facts.uid}")
    words = {
        "machine": facts.machine, "architecture": facts.architecture or "", "codename": facts.codename,
        **{f"packages.{name}": version for name, version in facts.packages.items()},
        **{f"candidates.{name}": version for name, version in facts.candidates.items()},
    }  # fmt: skip
    for name, word in words.items():
        if not _SAFE_WORD.fullmatch(word):
            raise ValueError(f"{name}: expected letters, digits and ._+~:-, got {word!r}")


def is_allowed_python(executable: str) -> bool:
    """Return True if the path is a Python of the system; an environment may link to no other."""
    return _PYTHON_PATH.fullmatch(executable) is not None


def _is_valid_release(value: Any, current: Any) -> bool:
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
