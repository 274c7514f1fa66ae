"""One release to many boards: a canary first, then batches; no board depends on another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import time

from ...runtime.errors import EdgePoseError, InputError
from ...runtime.io.printable import printable
from ..config import Config
from . import environment, plan, wheelhouse
from .checks import blocking_error, run_checks, upstream
from .facts import Facts, can_be_linked
from .fleet import Access, Fleet
from .hosts import Target
from .plan import Wanted
from .staging import ReleaseBundle, hash_secrets
from .units import SECRETS_HASH


@dataclass(frozen=True)
class Settings:
    """What may be chosen beside what is deployed."""

    wheels: tuple[Path, ...]
    """Folders with edgepose's own wheels."""
    cache: Path
    offline: bool = False
    dry_run: bool = False
    health_s: int = 20
    keep: int = 3
    batch: int = 10


@dataclass
class Outcome:
    """What became of the boards, a line each."""

    done: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def roll_out(
    targets: Sequence[Target], content: ReleaseBundle, access: Access, settings: Settings, note: Callable[[str], None]
) -> Outcome:
    """Deploys. One that does not answer is passed over; where the first that answers fails, the others stay as is."""
    links, problems = access.admitted(targets)
    names = BoardNames({target.name: target.device for target in targets}, note)
    outcome, waiting, proven = Outcome(problems=problems), list(links), settings.dry_run
    while waiting:
        count = settings.batch if proven else 1
        batch, waiting = waiting[:count], waiting[count:]
        fleet = Fleet({name: links[name] for name in batch}, access)
        try:
            fleet.connect()
            reached = fleet.names
            _deploy(fleet, content, settings, outcome, names, note)
        finally:
            fleet.close()
            outcome.problems.update(fleet.problems)
        if not proven and reached:
            proven = reached[0] in outcome.done
            if not proven:
                outcome.problems.update(dict.fromkeys(waiting, f"not touched: {reached[0]} failed first"))
                break
    return outcome


class BoardNames:
    """What boards are called; says so if two of a rollout have the same name."""

    def __init__(self, given: Mapping[str, str], note: Callable[[str], None]) -> None:
        """`given`: names from the list of boards, by board; empty if there is none."""
        self._given = given
        self._note = note
        self._taken: dict[str, str] = {}

    def choose(self, board: str, facts: Facts, configured: str) -> str:
        """Return the name to set; empty: the board keeps the one it has. `configured`: that of the configuration."""
        given = self._given.get(board, "")
        name = configured or given or facts.name or facts.host
        other = self._taken.setdefault(name.casefold(), board)
        if other != board:
            self._note(
                f"{board}: warning: {other} is called {printable(name, limit=80)} too, and both are one device for"
                " MQTT and Home Assistant; give each board a name in the list of boards: HOST name=NAME"
            )
        return given


def configured_name(content: ReleaseBundle) -> str:
    """Return the fixed name of the configuration; empty if the board's own is used."""
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
    """One batch."""
    wanted: dict[str, Wanted] = {}
    work: dict[str, list[plan.Step]] = {}
    for name, facts in fleet.look().items():
        try:
            wanted[name] = _wanted(name, facts, content, settings, note)
            called = names.choose(name, facts, configured_name(content))
            wanted[name] = _with_secrets(fleet, name, facts, content, replace(wanted[name], name=called))
            work[name] = plan.steps(facts, wanted[name], settings.health_s, settings.keep)
        except EdgePoseError as error:
            fleet.drop(name, str(error))
            continue
        except Exception as error:  # what one board made of our own code stops no other
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
        fleet.do(work, lambda name, step: note(f"{name}: {step}"))
    for name, steps in work.items():
        if name not in fleet.problems:
            outcome.done[name] = f"{steps[-1].name.partition(',')[0].removeprefix('switch to ')}: healthy".replace(
                "release ", ""
            )


def _wanted(name: str, facts: Facts, content: ReleaseBundle, settings: Settings, note: Callable[[str], None]) -> Wanted:
    """The files for one board. Raises InputError where it cannot run them."""
    checks = run_checks(facts, time(), content.release)
    for check in checks:
        if check.verdict != "ok" and not check.blocks:
            note(f"{name}: warning: {check.name}: {check.seen}; {check.fix}")
    if blocking := [check for check in checks if check.blocks]:
        raise blocking_error(blocking)
    if not can_be_linked(facts.executable):
        raise InputError(f"expected Python at /usr/bin or /usr/local/bin, got {facts.executable!r}")
    place = place_of(facts)
    own = wheelhouse.own_wheel(settings.wheels, place.tag)
    cache = settings.cache / "wheels"
    wheels = wheelhouse.collect(place, own, cache, offline=settings.offline, note=note)
    packed = environment.archive(wheels, place, facts.executable, settings.cache / "environments")
    release = content.for_board(packed.name.partition(".")[0], facts.release)
    return Wanted(release, content.source, packed, content.folder, "")


def _with_secrets(fleet: Fleet, name: str, facts: Facts, content: ReleaseBundle, wanted: Wanted) -> Wanted:
    """With the secrets if they are not those that the board has, and with the archive of the release."""
    secrets = hashed = ""
    release = wanted.release
    if content.secrets:
        known = fleet.read_as_root(name, SECRETS_HASH) if facts.release is not None else ""
        identity, hashed = hash_secrets(content.secrets, known)
        release = replace(release, secrets=identity)
        if hashed != known or plan.same_release(facts, release) is None:
            secrets = content.secrets
    # Boards of a batch can have releases with the same id: made in the same second, of the same contents.
    folder = content.folder / hashlib.sha256(name.encode()).hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    archive = folder / f"{release.id}.tar"
    content.archive(release, archive)
    return replace(wanted, release=release, archive=archive, secrets=secrets, secrets_hash=hashed if secrets else "")


def place_of(facts: Facts) -> wheelhouse.Place:
    """What wheels are to be chosen for, and what stands in for what comes from apt."""
    versions = {**facts.candidates, **facts.packages}
    names = {"python3-numpy": "numpy"}
    if facts.tag.startswith("armv"):
        names["python3-opencv"] = "opencv-python-headless"
    from_apt = {index: upstream(versions[debian]) for debian, index in names.items() if debian in versions}
    return wheelhouse.Place(facts.tag, (facts.python[0], facts.python[1]), facts.codename, from_apt)


def lines(outcome: Outcome, targets: Sequence[Target]) -> Iterator[str]:
    """What became of each board, in the user's order."""
    for target in targets:
        if target.name in outcome.problems:
            yield f"{target.name}: FAILED: {printable(outcome.problems[target.name])}"
        elif target.name in outcome.done:
            yield printable(f"{target.name}: {outcome.done[target.name]}", keep="\n")
