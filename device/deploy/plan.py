"""What must be done on a board so that a release runs there: only what its facts do not show already."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from shlex import quote

from ..service import Release
from . import units
from .facts import Facts
from .units import BASE, GROUPS, HELPER, RECOVER, SECRETS, SERVICE, USER


@dataclass(frozen=True)
class Packages:
    """System packages from apt."""

    name: str
    packages: tuple[str, ...]


@dataclass(frozen=True)
class Put:
    """A large file `source`, which becomes the service user's."""

    name: str
    path: str
    source: Path


@dataclass(frozen=True)
class Run:
    """A shell command, as `user`; what `stdin` holds appears on no command line."""

    name: str
    command: str
    user: str
    timeout_s: int = 600
    stdin: str | None = None


Step = Packages | Put | Run


@dataclass(frozen=True)
class Wanted:
    """A release for one board, with the files to be sent."""

    release: Release
    source: str
    """Of frames."""
    environment: Path
    archive: Path
    secrets: str
    """Contents of the file of secrets; empty where it shall stay as it is."""


def apt_packages(facts: Facts, source: str) -> tuple[str, ...]:
    """What must come from apt and is not there: what the system's own Python was built with, and the camera."""
    wanted = ["python3-numpy"]
    if facts.tag.startswith("armv"):
        wanted.append("python3-opencv")
    if source.startswith("picamera2"):
        wanted.append("python3-picamera2")
    return tuple(name for name in wanted if name not in facts.packages)


def own_files(facts: Facts) -> dict[str, str]:
    """Our files outside the releases, which are root's: path and contents."""
    helper = (files(__package__) / "board" / "activate.sh").read_text(encoding="utf-8")
    return {SERVICE: units.service(facts.groups), RECOVER: units.recover(), HELPER: helper}


def up_to_date(facts: Facts, release: Release, source: str) -> bool:
    """Whether the board runs just this already."""
    return (
        same_release(facts, release) is not None
        and facts.healthy
        and facts.running
        and facts.service.get("UnitFileState") == "enabled"
        and not apt_packages(facts, source)
        and not list(_own_files(facts))
    )


def steps(facts: Facts, wanted: Wanted, health_s: int, keep: int) -> list[Step]:
    """In order; empty where nothing is to be done. Interrupted anywhere, what ran before still runs."""
    release = wanted.release
    if up_to_date(facts, release, wanted.source):
        return []
    found: list[Step] = []
    if packages := apt_packages(facts, wanted.source):
        found.append(Packages(f"system packages {', '.join(packages)}", packages))
    if not facts.folders:
        found.append(Run(f"user {USER} and folders", _folders(facts), "root"))
    if release.environment not in facts.environments:
        found += _environment(release.environment, wanted.environment)
    ready = same_release(facts, release)
    if ready is None:
        found += _release(release, wanted.archive)
    name = release.id if ready is None else ready
    own = list(_own_files(facts))
    found += own
    if any(step.name in (SERVICE, RECOVER) for step in own):
        found.append(Run("systemd reads its units", "systemctl daemon-reload", "root"))
    if wanted.secrets:
        found.append(_file("secrets", SECRETS, "600", wanted.secrets))
    place = f"{BASE}/releases/{name}"
    # With the service's own user and environment; a file that Python cannot even read must not hang here.
    found.append(
        Run(
            "self-test",
            f"cd / && PYTHONDONTWRITEBYTECODE=1 {place}/venv/bin/python -m edgepose.device.self_test {place}",
            USER,
        )
    )
    found.append(
        Run(
            f"switch to {name}, healthy for {health_s} s",
            _detached(f"{HELPER} switch {name} {health_s} {keep}"),
            "root",
            health_s + 900,
        )
    )
    return found


def same_release(facts: Facts, release: Release) -> str | None:
    """The id of the current release where it is this one, healthy or not."""
    there = facts.release
    if there is None or (there.content_sha256, there.secrets) != (release.content_sha256, release.secrets):
        return None
    return there.id


def rollback(release: str | None, health_s: int) -> list[Step]:
    """Back to an earlier release."""
    command = _detached(f"{HELPER} rollback {quote(release or '-')} {health_s}")
    return [Run(f"back to {release or 'the release before'}", command, "root", health_s + 900)]


def _detached(command: str) -> str:
    """A command that goes on where the connection breaks."""
    return f"systemd-run --quiet --pipe --wait --collect -p IgnoreSIGPIPE=yes {command}"


def _folders(facts: Facts) -> str:
    groups = ",".join(group for group in GROUPS if group in facts.groups)
    user = f"useradd --system --home-dir /var/lib/edgepose --shell /usr/sbin/nologin --user-group {USER}"
    return (
        f"id -u {USER} >/dev/null 2>&1 || {user}; "
        + (f"usermod -a -G {groups} {USER}; " if groups else "")
        + f"install -d -o {USER} -g {USER} -m 755 {BASE} {BASE}/releases {BASE}/environments && "
        f"install -d -m 755 {Path(HELPER).parent} && install -d -m 700 {Path(SECRETS).parent}"
    )


def _environment(name: str, archive: Path) -> Iterator[Step]:
    what = f"environment {name}"
    # Compiled once, here: the service may not write.
    compiled = "{ bin/python -m compileall -q -j 0 lib || true; }"
    about = f"{what}, {archive.stat().st_size / 1e6:.0f} MB", f"{what} unpacked and compiled"
    yield from _sent(about, f"{BASE}/environments", name, archive, compiled)


def _release(release: Release, archive: Path) -> Iterator[Step]:
    what = f"release {release.id}"
    yield from _sent((what, f"{what} unpacked"), f"{BASE}/releases", release.id, archive, "true")


def _sent(names: tuple[str, str], folder: str, name: str, archive: Path, prepare: str) -> Iterator[Step]:
    """An archive sent and unpacked beside its place, prepared there, and moved there whole."""
    packed, part, whole = f"{folder}/.{name}.tar", f"{folder}/.{name}", f"{folder}/{name}"
    yield Put(names[0], packed, archive)
    yield Run(
        names[1],
        f"rm -rf {part} && mkdir {part} && tar -xf {packed} -C {part} && (cd {part} && {prepare}) && rm -f {packed} && "
        f"sync -f {part} && mv -T {part} {whole} || {{ code=$?; rm -rf {part} {packed}; exit $code; }}",
        USER, 1800,
    )  # fmt: skip


def _own_files(facts: Facts) -> Iterator[Run]:
    for path, content in own_files(facts).items():
        if facts.files.get(path) != hashlib.sha256(content.encode()).hexdigest():
            yield _file(path, path, "755" if path == HELPER else "644", content)


def _file(name: str, path: str, mode: str, content: str) -> Run:
    """A small file of root's that is whole at every moment, and readable to nobody else before it has its mode."""
    new = f"{path}.new"
    command = f"umask 077 && cat > {new} && chmod {mode} {new} && sync {new} && mv -T {new} {path} && sync -f {path}"
    return Run(name, command, "root", stdin=content)
