"""Rollout of a release to many boards: one board first, then batches. A failing board does not stop the others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import time

from ...runtime.errors import EdgePoseError, InputError
from ...runtime.io.printable import make_printable
from ..camera.release import VideoCodec
from ..config import Config
from . import environment, plan, wheelhouse
from .board_settings import check_paths, choose_video_codec
from .checks import blocking_error, get_upstream_version, run_checks
from .facts import Facts, is_allowed_python
from .fleet import Access, Fleet
from .hosts import Target
from .plan import BoardRelease
from .staging import ReleaseBundle, hash_secrets
from .units import SECRETS_HASH_PATH


@dataclass(frozen=True)
class Settings:
    """Settings of a rollout."""

    wheels: tuple[Path, ...]
    """Folders with the wheels of edgepose."""
    cache: Path
    """Folder for downloaded wheels and environments."""
    offline: bool = False
    dry_run: bool = False
    health_s: int = 20
    """Time that a new release must run without an error."""
    kept_releases: int = 3
    """Number of releases that stay on a board."""
    batch_size: int = 10
    """Number of boards at the same time."""


@dataclass
class Outcome:
    """Results of a rollout: a message for each board that succeeded (`done`) or failed (`problems`)."""

    done: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def roll_out(
    targets: Sequence[Target], content: ReleaseBundle, access: Access, settings: Settings, note: Callable[[str], None]
) -> Outcome:
    """Deploy a release to boards.

    Boards that do not answer are skipped. The first board that answers is deployed alone. If it fails, the others are
    not changed.

    Args:
        targets: Addresses of the boards.
        content: Contents of the release.
        access: SSH settings.
        settings: Settings of the rollout.
        note: Function that prints a progress message.
    """
    connections, problems = access.check_host_keys(targets)
    names = BoardNames({target.name: target.display_name for target in targets}, note)
    outcome, remaining, first_succeeded = Outcome(problems=problems), list(connections), settings.dry_run
    while remaining:
        count = settings.batch_size if first_succeeded else 1
        batch, remaining = remaining[:count], remaining[count:]
        fleet = Fleet({name: connections[name] for name in batch}, access)
        try:
            fleet.connect()
            connected = fleet.names
            _deploy(fleet, content, settings, outcome, names, note)
        finally:
            fleet.close()
            outcome.problems.update(fleet.problems)
        if not first_succeeded and connected:
            first_succeeded = connected[0] in outcome.done
            if not first_succeeded:
                outcome.problems.update(dict.fromkeys(remaining, f"not changed: {connected[0]} failed first"))
                break
    return outcome


class BoardNames:
    """Display names of the boards of a rollout. Warns if two boards have the same name."""

    def __init__(self, listed_names: Mapping[str, str], note: Callable[[str], None]) -> None:
        """Start without names in use.

        Args:
            listed_names: Names from the list of boards, by target name; empty if there is none.
            note: Function that prints a message.
        """
        self._listed_names = listed_names
        self._note = note
        self._taken: dict[str, str] = {}

    def choose(self, board: str, facts: Facts, configured: str) -> str:
        """Choose the name that is set on a board.

        Args:
            board: Target name of the board.
            facts: Facts about the board.
            configured: Fixed name of the configuration; empty if there is none.

        Returns:
            The name from the list of boards; empty if the board keeps its present name.
        """
        listed_name = self._listed_names.get(board, "")
        name = configured or listed_name or facts.name or facts.host
        other = self._taken.setdefault(name.casefold(), board)
        if other != board:
            self._note(
                f"{board}: warning: {other} is called {make_printable(name, limit=80)} too; MQTT and Home Assistant"
                " cannot distinguish them; give each board a name in the list of boards: HOST name=NAME"
            )
        return listed_name


def _get_configured_name(content: ReleaseBundle) -> str:
    """Return the fixed device name of the configuration; empty if each board uses its own name."""
    name = getattr(content.settings.output, "name", "") or ""
    return "" if name == Config().output.name or "{" in name else name


def _deploy(
    fleet: Fleet,
    content: ReleaseBundle,
    settings: Settings,
    outcome: Outcome,
    names: BoardNames,
    note: Callable[[str], None],
) -> None:
    """Deploy to the boards of one batch."""
    wanted: dict[str, BoardRelease] = {}
    work: dict[str, list[plan.Step]] = {}
    for name, facts in fleet.read_facts(check_sudo=True).items():
        try:
            wanted[name] = _prepare_board_release(name, facts, content, settings, note)
            display_name = names.choose(name, facts, _get_configured_name(content))
            wanted[name] = _add_secrets_and_archive(
                fleet, name, facts, content, replace(wanted[name], name=display_name)
            )
            work[name] = plan.make_steps(facts, wanted[name], settings.health_s, settings.kept_releases)
        except EdgePoseError as error:
            fleet.drop(name, str(error))
            continue
        except Exception as error:  # an unexpected error of one board must not stop the others
            fleet.drop(name, f"{type(error).__name__}: {error}")
            continue
        if not work[name]:
            outcome.done[name] = f"nothing to change: release {facts.current} runs"
    work = {name: steps for name, steps in work.items() if steps}
    if settings.dry_run:
        for name, steps in work.items():
            outcome.done[name] = "".join(["would be changed:", *(f"\n  {step.name}" for step in steps)])
        return
    if work:
        fleet.run_steps(work, lambda name, step: note(f"{name}: {step}"))
    for name, steps in work.items():
        if name not in fleet.problems:
            outcome.done[name] = f"{steps[-1].name.partition(',')[0].removeprefix('switch to ')}: healthy".replace(
                "release ", ""
            )


def _prepare_board_release(
    name: str, facts: Facts, content: ReleaseBundle, settings: Settings, note: Callable[[str], None]
) -> BoardRelease:
    """Collect the files for one board. Raises InputError if the board cannot run them."""
    video = choose_video_codec(content.settings, facts.tag)
    checks = run_checks(facts, time(), replace(content.release, video=video))
    checks += check_paths(content.settings, facts)
    for check in checks:
        if check.verdict != "ok" and not check.blocks:
            note(f"{name}: warning: {check.name}: {check.seen}; {check.fix}")
    if blocking := [check for check in checks if check.blocks]:
        raise blocking_error(blocking)
    if not is_allowed_python(facts.executable):
        raise InputError(f"expected Python in /usr/bin or /usr/local/bin, got {facts.executable!r}")
    wheel_target = get_wheel_target(facts, video)
    own_wheel = wheelhouse.find_own_wheel(settings.wheels, wheel_target.tag)
    cache = settings.cache / "wheels"
    wheels = wheelhouse.collect(wheel_target, own_wheel, cache, offline=settings.offline, note=note)
    packed = environment.build_archive(wheels, wheel_target, facts.executable, settings.cache / "environments")
    release = content.create_release(packed.name.partition(".")[0], facts.release, video=video)
    return BoardRelease(release, content.source, packed, content.folder, "")


def _add_secrets_and_archive(
    fleet: Fleet, name: str, facts: Facts, content: ReleaseBundle, wanted: BoardRelease
) -> BoardRelease:
    """Add the archive of the release, and the secrets if they differ from those on the board."""
    secrets = secrets_hash = ""
    release = wanted.release
    if content.secrets:
        stored_hash = fleet.read_as_root(name, SECRETS_HASH_PATH) if facts.release is not None else ""
        secrets_id, secrets_hash = hash_secrets(content.secrets, stored_hash)
        release = replace(release, secrets=secrets_id)
        if secrets_hash != stored_hash or plan.find_same_release(facts, release) is None:
            secrets = content.secrets
    # Boards of a batch can have releases with the same id, if they have the same contents and the same second.
    folder = content.folder / hashlib.sha256(name.encode()).hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    archive = folder / f"{release.id}.tar"
    content.write_archive(release, archive)
    return replace(
        wanted, release=release, archive=archive, secrets=secrets, secrets_hash=secrets_hash if secrets else ""
    )


def get_wheel_target(facts: Facts, video: VideoCodec = "") -> wheelhouse.WheelTarget:
    """Return what the wheels are chosen for: machine, Python, system, packages that come from apt, codec of videos."""
    versions = {**facts.candidates, **facts.packages}
    names = {"python3-numpy": "numpy"}
    if facts.tag.startswith("armv"):
        names["python3-opencv"] = "opencv-python-headless"
    from_apt = {index: get_upstream_version(versions[debian]) for debian, index in names.items() if debian in versions}
    python = facts.python[0], facts.python[1]
    return wheelhouse.WheelTarget(facts.tag, python, facts.codename, from_apt, video == "h264")


def format_results(outcome: Outcome, targets: Sequence[Target]) -> Iterator[str]:
    """Yield a line for each board with its result, in the order of the targets."""
    for target in targets:
        if target.name in outcome.problems:
            yield f"{target.name}: FAILED: {make_printable(outcome.problems[target.name])}"
        elif target.name in outcome.done:
            yield make_printable(f"{target.name}: {outcome.done[target.name]}", keep="\n")
