"""What must be done on a board so that a release runs there: only what its facts do not show already."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from shlex import quote

from ...runtime.errors import InputError
from ..camera.release import Release
from . import units
from .facts import Facts, imports_script
from .units import BASE, GROUPS, HELPER, RECOVER, SECRETS, SECRETS_HASH, SERVICE


@dataclass(frozen=True)
class Packages:
    """System packages from apt."""

    name: str
    packages: tuple[str, ...]


@dataclass(frozen=True)
class Put:
    """A large file `source`, sent as the user who logs in, to that user's own folder of uploads."""

    name: str
    path: str
    source: Path


@dataclass(frozen=True)
class Run:
    """A shell command, as root; what `stdin` holds appears on no command line."""

    name: str
    command: str
    timeout_s: int = 600
    stdin: str | None = None


Step = Packages | Put | Run

_LOADER = """\
import sys, types
package = sys.modules["board"] = types.ModuleType("board")
package.__path__ = []
for name, source in {sources!r}.items():
    module = sys.modules["board." + name] = types.ModuleType("board." + name)
    module.__package__ = "board"
    exec(compile(source, name + ".py", "exec"), module.__dict__)
sys.exit(module.main(sys.argv[1:]))
"""


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
    secrets_hash: str = ""
    """Contents of the file with their hash."""
    name: str = ""
    """What the board is called (EDGEPOSE_NAME); empty: it stays as it is, at first the host name."""


def apt_packages(facts: Facts, source: str) -> tuple[str, ...]:
    """What must come from apt and is not there: what the system's own Python was built with, and the camera."""
    wanted = ["python3-numpy"]
    if facts.tag.startswith("armv"):
        wanted.append("python3-opencv")
    if source.startswith("picamera2"):
        wanted.append("python3-picamera2")
    return tuple(name for name in wanted if name not in facts.packages)


def own_files(facts: Facts, name: str = "") -> dict[str, str]:
    """Return path and contents of our files outside the base folder. `name`: of the board, its present one if empty."""
    helper = (files(__package__ or "") / "board" / "activate.sh").read_text(encoding="utf-8")
    return {SERVICE: units.service(facts.groups, name or facts.name), RECOVER: units.recover(), HELPER: helper}


def up_to_date(facts: Facts, release: Release, source: str, name: str = "") -> bool:
    """Whether the board runs just this already."""
    return (
        same_release(facts, release) is not None
        and facts.folders
        and facts.healthy
        and facts.running
        and facts.service.get("UnitFileState") == "enabled"
        and not apt_packages(facts, source)
        and not list(_own_files(facts, name))
    )


def steps(facts: Facts, wanted: Wanted, health_s: int, keep: int) -> list[Step]:
    """In order; empty where nothing is to be done. Interrupted anywhere, what ran before still runs."""
    release = wanted.release
    if up_to_date(facts, release, wanted.source, wanted.name):
        return []
    found: list[Step] = []
    if packages := apt_packages(facts, wanted.source):
        found.append(Packages(f"system packages {', '.join(packages)}", packages))
    send_environment = release.environment not in facts.environments
    ready = same_release(facts, release)
    if not facts.folders or send_environment or ready is None:
        # Every time: the folder of uploads is this user's, and empty.
        found.append(_root("user edgepose and folders", "prepare", BASE, str(facts.uid), _groups(facts)))
    if send_environment:
        found += _environment(release.environment, wanted.environment, facts.uid)
    if ready is None:
        found += _release(release, wanted.archive, facts.uid)
    name = release.id if ready is None else ready
    own = list(_own_files(facts, wanted.name))
    found += own
    if any(step.name in (SERVICE, RECOVER) for step in own):
        found.append(Run("systemd reads its units", "systemctl daemon-reload"))
    if wanted.secrets:
        found.append(_file("secrets", SECRETS, "600", wanted.secrets))
        found.append(_file("hash of the secrets", SECRETS_HASH, "600", wanted.secrets_hash))
    found.append(_self_test(facts, f"{BASE}/releases/{name}"))
    found.append(
        Run(
            f"switch to {name}, healthy for {health_s} s",
            _detached(HELPER, "switch", name, str(health_s), str(keep)),
            health_s + 900,
        )
    )
    return found


def same_release(facts: Facts, release: Release) -> str | None:
    """The id of the current release where it is this one, healthy or not."""
    there = facts.release
    if (
        there is None
        or not facts.release_owned
        or (there.content_sha256, there.secrets) != (release.content_sha256, release.secrets)
    ):
        return None
    return there.id


def rollback(facts: Facts, release: str | None, health_s: int) -> list[Step]:
    """Return the steps back to an earlier release.

    Raises:
        InputError: The board's own script is another version: what it does as root is not known here.
    """
    own = own_files(facts)[HELPER]
    if not facts.folders or facts.files.get(HELPER) != hashlib.sha256(own.encode()).hexdigest():
        raise InputError("deployed by another version of edgepose; run `edgepose deploy` once, then roll back")
    command = _detached(HELPER, "rollback", release or "-", str(health_s))
    return [Run(f"back to {release or 'the release before'}", command, health_s + 900)]


def import_check(facts: Facts) -> str:
    """Return the command, for root, that tries the imports of the current release in the service's sandbox."""
    words = [f"{BASE}/current/venv/bin/python", *units.PYTHON_OPTIONS, "-c", imports_script()]
    command = units.sandboxed(units.IMPORTS_UNIT, facts.groups, words)
    return _install_command("sandbox", "65536", *command)


def install_script() -> str:
    """The source of the program that does what needs root: both modules of it in one."""
    board = files(__package__ or "") / "board"
    sources = {name: (board / f"{name}.py").read_text(encoding="utf-8") for name in ("folders", "install")}
    return _LOADER.format(sources=sources)


def _install_command(*words: str) -> str:
    # -I -S: neither the folder it is started in nor any site-packages is on the path of a Python that is root.
    return " ".join(map(quote, ("/usr/bin/python3", "-I", "-S", "-B", "-", *words)))


def _root(name: str, *words: str, timeout_s: int = 600) -> Run:
    return Run(name, _install_command(*words), timeout_s, stdin=install_script())


def _self_test(facts: Facts, place: str) -> Run:
    """As the service user in the service's sandbox, with at most 64 KiB of output."""
    words = [f"{place}/venv/bin/python", *units.PYTHON_OPTIONS, "-m", "edgepose.device.camera.self_test", place]
    command = units.sandboxed(units.SELF_TEST_UNIT, facts.groups, words)
    return _root("self-test", "sandbox", "65536", *command)


def _detached(*words: str) -> str:
    """A command that goes on if the connection breaks."""
    start = ("systemd-run", "--quiet", "--pipe", "--wait", "--collect", "-p", "IgnoreSIGPIPE=yes", "--")
    return " ".join(map(quote, (*start, *words)))


def _groups(facts: Facts) -> str:
    return ",".join(group for group in GROUPS if group in facts.groups)


def _environment(name: str, archive: Path, uid: int) -> Iterator[Step]:
    what = f"environment {name}"
    about = f"{what}, {archive.stat().st_size / 1e6:.0f} MB", f"{what} unpacked and compiled"
    yield from _sent(about, "environments", name, archive, uid)


def _release(release: Release, archive: Path, uid: int) -> Iterator[Step]:
    what = f"release {release.id}"
    yield from _sent((what, f"{what} unpacked"), "releases", release.id, archive, uid)


def _sent(names: tuple[str, str], kind: str, name: str, archive: Path, uid: int) -> Iterator[Step]:
    """An archive sent, checked against its hash by root, unpacked beside its place and moved there whole."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    yield Put(names[0], f"{BASE}/uploads/{uid}/{name}.tar", archive)
    yield _root(names[1], "unpack", BASE, kind, name, str(uid), digest, timeout_s=1800)


def _own_files(facts: Facts, name: str) -> Iterator[Run]:
    for path, content in own_files(facts, name).items():
        if facts.files.get(path) != hashlib.sha256(content.encode()).hexdigest():
            yield _file(path, path, "755" if path == HELPER else "644", content)


def _file(name: str, path: str, mode: str, content: str) -> Run:
    """A small file of root's that is whole at every moment, and readable to nobody else before it has its mode."""
    # The folders of these files are root's: systemd's, ours in /etc and ours in /usr/local/lib.
    new = quote(f"{path}.new")
    folder = quote(str(Path(path).parent))
    mode_of_folder = "700" if path in (SECRETS, SECRETS_HASH) else "755"
    command = (
        f"umask 077 && install -d -m {mode_of_folder} {folder} && rm -f {new} && cat > {new} && chmod {mode} {new} && "
        f"sync {new} && mv -T {new} {quote(path)} && sync -f {quote(path)}"
    )
    return Run(name, command, stdin=content)
