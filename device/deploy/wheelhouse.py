"""Downloader of the wheels for a board. It runs on the workstation; the board needs no compiler and no internet.

pip can resolve and download for another machine, but it evaluates the markers of requirements (`; python_version <
"3.13"`) for this machine. Therefore the downloaded wheels are checked against the markers of the board, and pip runs
again until nothing is missing. A package that the board has from apt is represented by an empty wheel of the same
version: pip then chooses packages that work with it (NumPy 1 or 2) and does not download it.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.parser import Parser
from importlib import resources
from pathlib import Path
from typing import Any

from ...runtime.errors import InputError
from ...runtime.io import atomic

_MANYLINUX = ("2_41", "2_39", "2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
"""glibc versions of the manylinux tags, newest first."""
_GLIBC_MINOR_VERSIONS = {"bookworm": 36, "trixie": 41}
"""Minor version of glibc 2 by Debian codename."""
_MAX_ROUNDS = 4
_PIN_PATTERN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[\w.+!]+) --hash=sha256:(?P<digest>[0-9a-f]{64})")
HASHES_FILE = "SHA256SUMS"
"""File with the hashes of edgepose's own wheels in the same folder, written by `make wheels`."""


@dataclass(frozen=True)
class WheelTarget:
    """Machine, Python and system that wheels are chosen for."""

    tag: str
    """Platform tag, see `Facts.tag`."""
    python: tuple[int, int]
    codename: str
    """Debian codename of the system, which determines the version of glibc."""
    from_apt: dict[str, str] = field(default_factory=dict)
    """Packages that the board has from apt: name on the package index, version."""
    video: bool = False
    """True if the board encodes videos in H.264, for which it needs PyAV."""

    @property
    def name(self) -> str:
        """Name for folders and files, such as aarch64-python3.11-bookworm."""
        return f"{self.tag}-python{self.python[0]}.{self.python[1]}-{self.codename or 'unknown'}"

    @property
    def extras(self) -> tuple[str, ...]:
        """Extras of edgepose: `camera` for the sinks, `video`, on 32 bits also `tflite` for the older interpreter."""
        tflite = ("tflite",) * self.tag.startswith("armv")
        return ("camera", *tflite, *(("video",) * self.video))

    @property
    def lock_name(self) -> str:
        """Name of the file with the chosen wheels. With and without `video` have one each, so that both stay usable."""
        return "lock-video.json" if self.video else "lock.json"

    def list_platforms(self) -> list[str]:
        """Return the platform tags that the glibc of the board supports, newest first; pip needs each of them."""
        newest = _GLIBC_MINOR_VERSIONS.get(self.codename, 36)
        names = [f"manylinux_{name}_{self.tag}" for name in _MANYLINUX if int(name.split("_")[1]) <= newest]
        return [*names, f"manylinux2014_{self.tag}", f"linux_{self.tag}"]


def find_own_wheel(folders: Iterable[Path], tag: str) -> Path:
    """Find the newest wheel of edgepose for a machine.

    Args:
        folders: Folders to search; the first one with a wheel is used.
        tag: Platform tag of the machine.

    Raises:
        InputError: There is no wheel, or its SHA-256 is not the recorded one.
    """
    tried = []
    for folder in folders:
        found = sorted(folder.glob(f"edgepose-*_{tag}.whl"), key=lambda path: path.stat().st_mtime)
        if found:
            _check_listed(found[-1])
            return found[-1]
        tried.append(str(folder))
    raise InputError(
        f"no wheel of edgepose for {tag} in {' or '.join(tried)}; build the wheels with `make wheels`, or give their "
        "folder with --wheels DIR"
    )


def _check_listed(wheel: Path) -> None:
    """Compare the SHA-256 of a wheel with the one that `make wheels` has written, if the folder has such a file."""
    try:
        lines = (wheel.parent / HASHES_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    recorded = {name.strip(): digest for digest, _, name in (line.partition("  ") for line in lines)}
    if recorded.get(wheel.name) != compute_sha256(wheel):
        raise InputError(
            f"{wheel}: its SHA-256 is not the one in {HASHES_FILE} of the same folder; run `make wheels` again"
        )


def compute_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def format_requirements(wheels: Iterable[tuple[Path, str]]) -> str:
    """Return the text of a requirements file for the hash-checking mode of pip: file and SHA-256 of each wheel."""
    return "".join(
        f"{_get_package_name(path)} @ {path.resolve().as_uri()} --hash=sha256:{digest}\n" for path, digest in wheels
    )


def _get_package_name(wheel: Path) -> str:
    return wheel.name.partition("-")[0]


def collect(target: WheelTarget, own: Path, cache: Path, *, offline: bool, note: Callable[[str], None]) -> list[Path]:
    """Collect all wheels for a board. Wheels of an earlier call are used again without a request to the index.

    The first call records the SHA-256 of the wheels, as given by the index, in a lock file. Later calls check them.

    Args:
        target: Machine, Python and system of the board.
        own: Wheel of edgepose.
        cache: Folder for the wheels.
        offline: If True, download nothing.
        note: Function that prints a progress message.

    Returns:
        Paths of the wheels, `own` first.

    Raises:
        InputError: A wheel is missing and `offline` is True, or the index has no wheel for such a board.
    """
    folder = cache / target.name
    atomic.make_folder(folder)
    wanted = _read_own_requirements(own, target)
    key = hashlib.sha256(json.dumps([wanted, target.from_apt, read_pins(target)], sort_keys=True).encode()).hexdigest()
    lock = folder / target.lock_name
    locked_wheels = _read_locked_wheels(lock, key)
    if locked_wheels is None and _has_lock(lock, key):
        note(f"{lock}: a wheel is missing or does not have the recorded SHA-256; collecting them again")
    if locked_wheels is not None:
        return [own, *locked_wheels]
    if offline:
        raise InputError(
            f"the wheels for {target.name} are not complete here; deploy once without --offline, with internet here"
        )
    note(f"collecting wheels for {target.name}")
    stand_ins = [_make_stand_in_wheel(folder, name, version) for name, version in target.from_apt.items()]
    try:
        needed = list(wanted)
        for _ in range(_MAX_ROUNDS):
            digests = _download_wheels(target, needed, folder)
            chosen = list(digests)
            missing = _find_missing_requirements([own, *chosen, *stand_ins], target)
            if not missing:
                break
            needed += missing
        else:
            raise InputError(f"{target.name}: no wheels for {', '.join(missing)}")
    finally:
        for path in stand_ins:
            path.unlink(missing_ok=True)
    chosen = [path for path in chosen if path not in stand_ins]
    atomic.write_text(
        lock, json.dumps({"key": key, "wheels": {path.name: digests[path] for path in chosen}}, indent=1) + "\n"
    )
    return [own, *chosen]


def _read_locked_wheels(lock: Path, key: str) -> list[Path] | None:
    """Return the recorded wheels if all of them exist and have the recorded SHA-256; otherwise None."""
    if not _has_lock(lock, key):
        return None
    try:
        wheels = json.loads(lock.read_text(encoding="utf-8"))["wheels"]
        paths = {lock.parent / Path(name).name: digest for name, digest in wheels.items()}
        return list(paths) if all(compute_sha256(path) == digest for path, digest in paths.items()) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _has_lock(lock: Path, key: str) -> bool:
    try:
        return bool(json.loads(lock.read_text(encoding="utf-8"))["key"] == key)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _read_own_requirements(own: Path, target: WheelTarget) -> list[str]:
    """Return the direct requirements of edgepose on the board."""
    return sorted(str(requirement) for requirement in _read_requirements(own, target, ("", *target.extras)))


def _read_requirements(wheel: Path, target: WheelTarget, extras: Iterable[str]) -> list[Any]:
    """Return the requirements of a wheel that apply to the board, without their markers."""
    from packaging.requirements import Requirement

    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    version = ".".join(map(str, target.python))
    markers = {
        "platform_machine": target.tag, "python_version": version, "python_full_version": f"{version}.0",
        "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }  # fmt: skip
    found = []
    for line in metadata.get_all("Requires-Dist") or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**markers, "extra": extra}) for extra in extras):
            requirement.marker = None
            found.append(requirement)
    return found


def _find_missing_requirements(wheels: list[Path], target: WheelTarget) -> list[str]:
    """Return the requirements of the wheels that none of the wheels fulfills."""
    from packaging.utils import canonicalize_name

    versions = {canonicalize_name(parts[0]): parts[1] for parts in (path.name.split("-") for path in wheels)}
    found = []
    for number, wheel in enumerate(wheels):
        for requirement in _read_requirements(wheel, target, ("", *target.extras) if number == 0 else ("",)):
            version = versions.get(canonicalize_name(requirement.name))
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                found.append(str(requirement))
    return sorted(set(found))


def _download_wheels(target: WheelTarget, wanted: list[str], folder: Path) -> dict[Path, str]:
    """Download the wheels that pip chooses, except for existing ones; return all of them with their SHA-256."""
    constraints = folder / "constraints.txt"
    pins = read_pins(target)
    lines = [f"{name}==={version}+apt\n" for name, version in target.from_apt.items()]
    lines += [f"{name}==={version}\n" for name, (version, _) in pins.items()]
    atomic.write_text(constraints, "".join(lines))
    report = folder / "report.json"
    words = make_pip_command("install", target) + [
        "--dry-run", "--ignore-installed", "--target", str(folder), "--report", str(report),
        "--find-links", str(folder), "--constraint", str(constraints), *wanted,
    ]  # fmt: skip
    run_pip(words, f"no wheels for {target.name}")
    chosen = json.loads(report.read_text(encoding="utf-8"))["install"]
    digests: dict[Path, str] = {}
    lines = []
    for entry in chosen:
        download = entry["download_info"]
        path = folder / Path(download["url"]).name.replace("%2B", "+")
        digest = download.get("archive_info", {}).get("hashes", {}).get("sha256") or compute_sha256(path)
        _, wanted_digest = pins.get(_canonicalize_name(entry["metadata"]["name"]), ("", digest))
        if digest != wanted_digest:
            raise InputError(f"{path.name}: expected the pinned SHA-256 {wanted_digest}, got {digest}")
        digests[path] = digest
        lines.append(f"{entry['metadata']['name']}==={entry['metadata']['version']} --hash=sha256:{digest}\n")
    pinned_requirements = folder / "requirements.txt"
    atomic.write_text(pinned_requirements, "".join(lines))
    words = make_pip_command("download", target) + [
        "--no-deps", "--require-hashes", "--find-links", str(folder), "-d", str(folder), "-r", str(pinned_requirements),
    ]  # fmt: skip
    run_pip(words, f"no wheels for {target.name}")
    return digests


def read_pins(target: WheelTarget) -> dict[str, tuple[str, str]]:
    """Return the pinned wheels for a board: version and SHA-256 by name.

    This version of edgepose was tested with them. The files in `pins/` are requirements files of pip with hashes. For a
    system without such a file, pip chooses the versions.
    """
    path = resources.files(__package__ or "") / "pins" / f"{target.name}.txt"
    if not path.is_file():
        return {}
    pins = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := _PIN_PATTERN.fullmatch(line):
            pins[match["name"]] = (match["version"], match["digest"])
    return pins


def format_pins(wheels: Iterable[Path]) -> str:
    """Return the text of a pin file for the wheels of a board."""
    lines = sorted(
        f"{_canonicalize_name(wheel.name.split('-')[0])}=={wheel.name.split('-')[1]} "
        f"--hash=sha256:{compute_sha256(wheel)}\n"
        for wheel in wheels
    )
    return "".join(lines)


def _canonicalize_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def make_pip_command(verb: str, target: WheelTarget) -> list[str]:
    """Return the command line of pip that chooses wheels for the board."""
    abi = f"cp{target.python[0]}{target.python[1]}"
    words = [sys.executable, "-P", "-m", "pip", verb, "--quiet", "--disable-pip-version-check", "--only-binary=:all:",
             "--implementation", "cp", "--python-version", abi[2:],
             "--abi", abi, "--abi", "abi3", "--abi", "none"]  # fmt: skip
    return words + [word for platform in target.list_platforms() for word in ("--platform", platform)]


def run_pip(words: list[str], failure: str) -> None:
    """Run pip. Raises InputError with the last lines of its error output."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        error_lines = [
            line for line in done.stderr.splitlines() if line.startswith("ERROR")
        ] or done.stderr.splitlines()
        raise InputError(f"{failure}: pip: {' '.join(error_lines[-2:])[:400] or done.returncode}")


def _make_stand_in_wheel(folder: Path, name: str, version: str) -> Path:
    """Write an empty wheel with the name and version of an apt package."""
    plain = name.replace("-", "_")
    path = folder / f"{plain}-{version}+apt-py3-none-any.whl"
    dist_info = f"{plain}-{version}+apt.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{dist_info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}+apt\n")
        archive.writestr(
            f"{dist_info}/WHEEL", "Wheel-Version: 1.0\nGenerator: edgepose\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{dist_info}/RECORD", "")
    return path
