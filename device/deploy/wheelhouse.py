"""The wheels a board needs, collected on the workstation: the board needs neither compiler nor internet.

pip resolves and downloads for another machine, but reads a requirement's conditions (`; python_version < "3.13"`) as if
it were for this one; so what has come is checked against the board's own conditions until nothing is missing. What the
board has from apt stands in as an empty wheel of that version: pip then chooses what goes with it (NumPy 1 or 2), and
fetches no second copy.
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
_GLIBC = {"bookworm": 36, "trixie": 41}
_ROUNDS = 4
_PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[\w.+!]+) --hash=sha256:(?P<digest>[0-9a-f]{64})")
HASHES = "SHA256SUMS"
"""Beside edgepose's own wheels, written by `make wheels`."""


@dataclass(frozen=True)
class Place:
    """What wheels are chosen for."""

    tag: str
    """As `Facts.tag`."""
    python: tuple[int, int]
    codename: str
    """Of the system, which tells its C library."""
    from_apt: dict[str, str] = field(default_factory=dict)
    """Distributions that the board has from apt: name as on the index, version."""

    @property
    def name(self) -> str:
        """For folders."""
        return f"{self.tag}-python{self.python[0]}.{self.python[1]}-{self.codename or 'unknown'}"

    @property
    def extras(self) -> tuple[str, ...]:
        """Of edgepose: what the camera's sinks need; on 32 bits the older interpreter."""
        return ("camera", "tflite") if self.tag.startswith("armv") else ("camera",)

    def platforms(self) -> list[str]:
        """Tags of wheels that its C library can load, newest first: pip takes each to the letter."""
        newest = _GLIBC.get(self.codename, 36)
        names = [f"manylinux_{name}_{self.tag}" for name in _MANYLINUX if int(name.split("_")[1]) <= newest]
        return [*names, f"manylinux2014_{self.tag}", f"linux_{self.tag}"]


def own_wheel(folders: Iterable[Path], tag: str) -> Path:
    """edgepose's own newest wheel for a machine. Raises InputError where there is none."""
    tried = []
    for folder in folders:
        found = sorted(folder.glob(f"edgepose-*_{tag}.whl"), key=lambda path: path.stat().st_mtime)
        if found:
            _check_listed(found[-1])
            return found[-1]
        tried.append(str(folder))
    raise InputError(
        f"no wheel of edgepose for {tag} in {' or '.join(tried)}: `make wheels` builds them, --wheels DIR tells where"
    )


def _check_listed(wheel: Path) -> None:
    """Refuse a wheel that is not the one `make wheels` built, if its folder has the list that `make wheels` writes."""
    try:
        lines = (wheel.parent / HASHES).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    wanted = {name.strip(): digest for digest, _, name in (line.partition("  ") for line in lines)}
    if wanted.get(wheel.name) != sha256_of(wheel):
        raise InputError(f"{wheel}: its SHA-256 is not the one in {HASHES} beside it: run `make wheels` again")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def requirements(wheels: Iterable[tuple[Path, str]]) -> str:
    """Return a requirements file for pip's hash-checking mode: each wheel by its file and its SHA-256."""
    return "".join(f"{_name(path)} @ {path.resolve().as_uri()} --hash=sha256:{digest}\n" for path, digest in wheels)


def _name(wheel: Path) -> str:
    return wheel.name.partition("-")[0]


def collect(place: Place, own: Path, cache: Path, *, offline: bool, note: Callable[[str], None]) -> list[Path]:
    """All wheels for the board, `own` first. What an earlier call collected is used without a look at the index.

    The first time their SHA-256 are recorded in `lock.json`, as the index gave them; each later use checks them.

    Raises InputError where something is missing and `offline`, or the index has no wheel for such a board.
    """
    folder = cache / place.name
    atomic.make_folder(folder)
    wanted = _top(own, place)
    key = hashlib.sha256(json.dumps([wanted, place.from_apt, read_pins(place)], sort_keys=True).encode()).hexdigest()
    lock = folder / "lock.json"
    known = _locked(lock, key)
    if known is None and _is_locked(lock, key):
        note(f"{lock}: a wheel is missing or is not the one that was recorded; collecting them again")
    if known is not None:
        return [own, *known]
    if offline:
        raise InputError(
            f"the wheels for {place.name} are not complete here; deploy once without --offline, with internet here"
        )
    note(f"collecting wheels for {place.name}")
    stand_ins = [_stand_in(folder, name, version) for name, version in place.from_apt.items()]
    try:
        needed = list(wanted)
        for _ in range(_ROUNDS):
            digests = _download(place, needed, folder)
            chosen = list(digests)
            missing = _missing([own, *chosen, *stand_ins], place)
            if not missing:
                break
            needed += missing
        else:
            raise InputError(f"{place.name}: no wheels for {', '.join(missing)}")
    finally:
        for path in stand_ins:
            path.unlink(missing_ok=True)
    chosen = [path for path in chosen if path not in stand_ins]
    atomic.write_text(
        lock, json.dumps({"key": key, "wheels": {path.name: digests[path] for path in chosen}}, indent=1) + "\n"
    )
    return [own, *chosen]


def _locked(lock: Path, key: str) -> list[Path] | None:
    """The recorded wheels if every one of them is there with the SHA-256 that was recorded."""
    if not _is_locked(lock, key):
        return None
    try:
        wheels = json.loads(lock.read_text(encoding="utf-8"))["wheels"]
        paths = {lock.parent / Path(name).name: digest for name, digest in wheels.items()}
        return list(paths) if all(sha256_of(path) == digest for path, digest in paths.items()) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_locked(lock: Path, key: str) -> bool:
    try:
        return bool(json.loads(lock.read_text(encoding="utf-8"))["key"] == key)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _top(own: Path, place: Place) -> list[str]:
    """What edgepose itself asks for on such a board."""
    return sorted(str(requirement) for requirement in _requirements(own, place, ("", *place.extras)))


def _requirements(wheel: Path, place: Place, extras: Iterable[str]) -> list[Any]:
    """The requirements of a wheel that hold on the board, without their conditions."""
    from packaging.requirements import Requirement

    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    version = ".".join(map(str, place.python))
    about = {
        "platform_machine": place.tag, "python_version": version, "python_full_version": f"{version}.0",
        "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }  # fmt: skip
    found = []
    for line in metadata.get_all("Requires-Dist") or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**about, "extra": extra}) for extra in extras):
            requirement.marker = None
            found.append(requirement)
    return found


def _missing(wheels: list[Path], place: Place) -> list[str]:
    """Requirements of any of the wheels that none of them meets."""
    from packaging.utils import canonicalize_name

    there = {canonicalize_name(parts[0]): parts[1] for parts in (path.name.split("-") for path in wheels)}
    found = []
    for number, wheel in enumerate(wheels):
        for requirement in _requirements(wheel, place, ("", *place.extras) if number == 0 else ("",)):
            version = there.get(canonicalize_name(requirement.name))
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                found.append(str(requirement))
    return sorted(set(found))


def _download(place: Place, wanted: list[str], folder: Path) -> dict[Path, str]:
    """The wheels that pip chooses, with their SHA-256; those already there are not fetched again."""
    constraints = folder / "constraints.txt"
    pinned_here = read_pins(place)
    lines = [f"{name}==={version}+apt\n" for name, version in place.from_apt.items()]
    lines += [f"{name}==={version}\n" for name, (version, _) in pinned_here.items()]
    atomic.write_text(constraints, "".join(lines))
    report = folder / "report.json"
    words = pip("install", place) + [
        "--dry-run", "--ignore-installed", "--target", str(folder), "--report", str(report),
        "--find-links", str(folder), "--constraint", str(constraints), *wanted,
    ]  # fmt: skip
    run(words, f"no wheels for {place.name}")
    chosen = json.loads(report.read_text(encoding="utf-8"))["install"]
    digests: dict[Path, str] = {}
    lines = []
    for entry in chosen:
        about = entry["download_info"]
        path = folder / Path(about["url"]).name.replace("%2B", "+")
        digest = about.get("archive_info", {}).get("hashes", {}).get("sha256") or sha256_of(path)
        _, wanted_digest = pinned_here.get(_canonical(entry["metadata"]["name"]), ("", digest))
        if digest != wanted_digest:
            raise InputError(f"{path.name}: its SHA-256 is {digest}, the pinned one is {wanted_digest}")
        digests[path] = digest
        lines.append(f"{entry['metadata']['name']}==={entry['metadata']['version']} --hash=sha256:{digest}\n")
    pinned = folder / "requirements.txt"
    atomic.write_text(pinned, "".join(lines))
    run(
        [*pip("download", place), "--no-deps", "--require-hashes", "--find-links", str(folder), "-d", str(folder),
         "-r", str(pinned)],
        f"no wheels for {place.name}",
    )  # fmt: skip
    return digests


def read_pins(place: Place) -> dict[str, tuple[str, str]]:
    """Return version and SHA-256 of the wheels that this version of edgepose was tested with on such a board, by name.

    The files are requirements with hashes, as pip reads them; a system without one gets what pip chooses.
    """
    path = resources.files(__package__ or "") / "pins" / f"{place.name}.txt"
    if not path.is_file():
        return {}
    pins = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := _PIN.fullmatch(line):
            pins[match["name"]] = (match["version"], match["digest"])
    return pins


def write_pins(wheels: Iterable[Path]) -> str:
    """Return the file of pins for the wheels of a board."""
    lines = sorted(
        f"{_canonical(wheel.name.split('-')[0])}=={wheel.name.split('-')[1]} --hash=sha256:{sha256_of(wheel)}\n"
        for wheel in wheels
    )
    return "".join(lines)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pip(verb: str, place: Place) -> list[str]:
    """pip, choosing for the board."""
    abi = f"cp{place.python[0]}{place.python[1]}"
    words = [sys.executable, "-P", "-m", "pip", verb, "--quiet", "--disable-pip-version-check", "--only-binary=:all:",
             "--implementation", "cp", "--python-version", abi[2:],
             "--abi", abi, "--abi", "abi3", "--abi", "none"]  # fmt: skip
    return words + [word for platform in place.platforms() for word in ("--platform", platform)]


def run(words: list[str], failure: str) -> None:
    """Runs pip. Raises InputError with the last thing it said."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise InputError(f"{failure}: pip: {' '.join(said[-2:])[:400] or done.returncode}")


def _stand_in(folder: Path, name: str, version: str) -> Path:
    """An empty wheel in the name of what apt has installed."""
    plain = name.replace("-", "_")
    path = folder / f"{plain}-{version}+apt-py3-none-any.whl"
    about = f"{plain}-{version}+apt.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}+apt\n")
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: edgepose\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    return path
