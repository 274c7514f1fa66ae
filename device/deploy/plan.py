"""Planner of a deployment: the steps that a board needs to run a release, according to its facts."""

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
from .facts import Facts, read_imports_script
from .units import BASE_FOLDER, CAMERA_GROUPS, HELPER_PATH, RECOVER_PATH, SECRETS_HASH_PATH, SECRETS_PATH, SERVICE_PATH


@dataclass(frozen=True)
class Upload:
    """Upload of a large file `source` as the login user, into the upload folder of that user."""

    name: str
    path: str
    source: Path


@dataclass(frozen=True)
class RootCommand:
    """Shell command that runs as root. Secrets are passed in `stdin`, so that they appear on no command line."""

    name: str
    command: str
    timeout_s: int = 600
    stdin: str | None = None


Step = Upload | RootCommand

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
class BoardRelease:
    """Release for one board, with the files to send."""

    release: Release
    source: str
    """Camera source of the configuration."""
    environment: Path
    archive: Path
    secrets: str
    """Contents of the secrets file; empty keeps the one on the board."""
    secrets_hash: str = ""
    """Contents of the hash file of the secrets."""
    name: str = ""
    """Display name of the board (EDGEPOSE_NAME); empty keeps the present one, which is the host name at first."""


def find_missing_packages(facts: Facts, source: str) -> tuple[str, ...]:
    """Return the missing apt packages: those that must match the Python of the system, and those of the camera."""
    needed = ["python3-numpy"]
    if facts.tag.startswith("armv"):
        needed.append("python3-opencv")
    if source.startswith("picamera2"):
        needed.append("python3-picamera2")
    return tuple(name for name in needed if name not in facts.packages)


def render_own_files(facts: Facts, name: str = "") -> dict[str, str]:
    """Return path and contents of our files outside the base folder.

    Args:
        facts: Facts about the board.
        name: Display name of the board; empty keeps the present one.
    """
    helper = (files(__package__ or "") / "board" / "activate.sh").read_text(encoding="utf-8")
    return {
        SERVICE_PATH: units.make_service_unit(facts.groups, name or facts.name),
        RECOVER_PATH: units.make_recover_unit(),
        HELPER_PATH: helper,
    }


def is_up_to_date(facts: Facts, release: Release, source: str, name: str = "") -> bool:
    """Return True if the board already runs this release with this source and name, and is healthy."""
    return (
        find_same_release(facts, release) is not None
        and facts.folders
        and facts.healthy
        and facts.running
        and facts.service.get("UnitFileState") == "enabled"
        and not find_missing_packages(facts, source)
        and not list(_make_own_file_steps(facts, name))
    )


def make_steps(facts: Facts, wanted: BoardRelease, health_s: int, keep: int) -> list[Step]:
    """Plan the steps of a deployment.

    If the deployment is interrupted at any step, the previous release keeps running.

    Args:
        facts: Facts about the board.
        wanted: Release to deploy.
        health_s: Time that the new release must run without an error, in seconds.
        keep: Number of releases that stay on the board.

    Returns:
        The steps in order; empty if there is nothing to do.
    """
    release = wanted.release
    if is_up_to_date(facts, release, wanted.source, wanted.name):
        return []
    planned: list[Step] = []
    if packages := find_missing_packages(facts, wanted.source):
        planned.append(_make_package_step(packages))
    send_environment = release.environment not in facts.environments
    present_id = find_same_release(facts, release)
    if not facts.folders or send_environment or present_id is None:
        # Needed for every upload: the upload folder must be empty and belong to the login user.
        planned.append(
            _make_root_step(
                "user edgepose and folders", "prepare", BASE_FOLDER, str(facts.uid), _join_camera_groups(facts)
            )
        )
    if send_environment:
        planned += _make_environment_steps(release, wanted.environment, facts.uid)
    if present_id is None:
        planned += _make_release_steps(release, wanted.archive, facts.uid)
    name = release.id if present_id is None else present_id
    own_file_steps = list(_make_own_file_steps(facts, wanted.name))
    planned += own_file_steps
    if any(step.name in (SERVICE_PATH, RECOVER_PATH) for step in own_file_steps):
        planned.append(RootCommand("reload the units of systemd", "systemctl daemon-reload"))
    if wanted.secrets:
        planned.append(_make_file_step("secrets", SECRETS_PATH, "600", wanted.secrets))
        planned.append(_make_file_step("hash of the secrets", SECRETS_HASH_PATH, "600", wanted.secrets_hash))
    planned.append(_make_self_test_step(facts, f"{BASE_FOLDER}/releases/{name}"))
    planned.append(
        RootCommand(
            f"switch to {name}, healthy for {health_s} s",
            _make_detached_command(HELPER_PATH, "switch", name, str(health_s), str(keep)),
            health_s + 900,
        )
    )
    return planned


def find_same_release(facts: Facts, release: Release) -> str | None:
    """Return the id of the current release if it has the same contents and secrets, healthy or not; otherwise None."""
    present = facts.release
    if (
        present is None
        or not facts.release_owned
        or (present.content_sha256, present.secrets) != (release.content_sha256, release.secrets)
    ):
        return None
    return present.id


def make_rollback_steps(facts: Facts, release: str | None, health_s: int) -> list[Step]:
    """Plan the steps back to an earlier release.

    Args:
        facts: Facts about the board.
        release: Id of the release; None goes back to the previous one.
        health_s: Time that the release must run without an error, in seconds.

    Raises:
        InputError: The script on the board has another version, so it is not known what it does as root.
    """
    helper_source = render_own_files(facts)[HELPER_PATH]
    if not facts.folders or facts.files.get(HELPER_PATH) != hashlib.sha256(helper_source.encode()).hexdigest():
        raise InputError("deployed by another version of edgepose; run `edgepose deploy` once, then roll back")
    command = _make_detached_command(HELPER_PATH, "rollback", release or "-", str(health_s))
    return [RootCommand(f"back to {release or 'the release before'}", command, health_s + 900)]


def make_import_check_command(facts: Facts) -> str:
    """Return the root command that checks the imports of the current release in the sandbox of the service."""
    words = [f"{BASE_FOLDER}/current/venv/bin/python", *units.PYTHON_OPTIONS, "-c", read_imports_script()]
    command = units.make_sandboxed_command(units.IMPORTS_UNIT, facts.groups, words)
    return _make_install_command("sandbox", "65536", *command)


def build_install_script() -> str:
    """Return the source code of the program for the root steps: `folders.py` and `install.py` in one script."""
    board = files(__package__ or "") / "board"
    sources = {name: (board / f"{name}.py").read_text(encoding="utf-8") for name in ("folders", "install")}
    return _LOADER.format(sources=sources)


def _make_install_command(*words: str) -> str:
    # -I -S: neither the working folder nor any site-packages is on the import path of a Python that runs as root.
    return " ".join(map(quote, ("/usr/bin/python3", "-I", "-S", "-B", "-", *words)))


def _make_package_step(packages: tuple[str, ...]) -> RootCommand:
    """Install packages with apt. A changed configuration file of the board is kept, so that dpkg asks nothing."""
    apt = "apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
    command = (
        f"export DEBIAN_FRONTEND=noninteractive; {apt} update && "
        f"{apt} -y --no-install-recommends install {' '.join(map(quote, packages))}"
    )
    return RootCommand(f"system packages {', '.join(packages)}", command, timeout_s=1800)


def _make_root_step(name: str, *words: str, timeout_s: int = 600) -> RootCommand:
    return RootCommand(name, _make_install_command(*words), timeout_s, stdin=build_install_script())


def _make_self_test_step(facts: Facts, release_folder: str) -> RootCommand:
    """Run the self-test as the service user in the sandbox of the service, with at most 64 KiB of output."""
    words = [
        f"{release_folder}/venv/bin/python",
        *units.PYTHON_OPTIONS,
        "-m",
        "edgepose.device.camera.self_test",
        release_folder,
    ]
    command = units.make_sandboxed_command(units.SELF_TEST_UNIT, facts.groups, words)
    return _make_root_step("self-test", "sandbox", "65536", *command)


def _make_detached_command(*words: str) -> str:
    """Return a command that continues if the connection breaks."""
    start = ("systemd-run", "--quiet", "--pipe", "--wait", "--collect", "-p", "IgnoreSIGPIPE=yes", "--")
    return " ".join(map(quote, (*start, *words)))


def _join_camera_groups(facts: Facts) -> str:
    return ",".join(group for group in CAMERA_GROUPS if group in facts.groups)


def _make_environment_steps(release: Release, archive: Path, uid: int) -> Iterator[Step]:
    label = f"environment {release.environment}"
    video = " with PyAV for H.264" if release.video == "h264" else ""
    step_names = f"{label}{video}, {archive.stat().st_size / 1e6:.0f} MB", f"{label} unpacked and compiled"
    yield from _make_archive_steps(step_names, "environments", release.environment, archive, uid)


def _make_release_steps(release: Release, archive: Path, uid: int) -> Iterator[Step]:
    label = f"release {release.id}"
    yield from _make_archive_steps((label, f"{label} unpacked"), "releases", release.id, archive, uid)


def _make_archive_steps(names: tuple[str, str], kind: str, name: str, archive: Path, uid: int) -> Iterator[Step]:
    """Send an archive. Root checks its hash, unpacks it in a staging folder and moves the result to its place."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    yield Upload(names[0], f"{BASE_FOLDER}/uploads/{uid}/{name}.tar", archive)
    yield _make_root_step(names[1], "unpack", BASE_FOLDER, kind, name, str(uid), digest, timeout_s=1800)


def _make_own_file_steps(facts: Facts, name: str) -> Iterator[RootCommand]:
    for path, content in render_own_files(facts, name).items():
        if facts.files.get(path) != hashlib.sha256(content.encode()).hexdigest():
            yield _make_file_step(path, path, "755" if path == HELPER_PATH else "644", content)


def _make_file_step(name: str, path: str, mode: str, content: str) -> RootCommand:
    """Write a small file of root. It is never incomplete, and only root can read it until its mode is set."""
    # The folders of these files belong to root: the one of systemd, ours in /etc and ours in /usr/local/lib.
    new = quote(f"{path}.new")
    folder = quote(str(Path(path).parent))
    folder_mode = "700" if path in (SECRETS_PATH, SECRETS_HASH_PATH) else "755"
    command = (
        f"umask 077 && install -d -m {folder_mode} {folder} && rm -f {new} && cat > {new} && chmod {mode} {new} && "
        f"sync {new} && mv -T {new} {quote(path)} && sync -f {quote(path)}"
    )
    return RootCommand(name, command, stdin=content)
