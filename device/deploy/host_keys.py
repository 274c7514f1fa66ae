"""Whether a board is the one it says it is: OpenSSH's own list of known hosts, and a question where it is new."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import EdgePoseError, InputError
from ...runtime.io.printable import printable
from .hosts import Target

_TIMEOUT_S = 10


@dataclass(frozen=True)
class Connection:
    """How OpenSSH would connect to a board (`ssh -G`): the user's configuration, applied."""

    alias: str
    """As the user named the host."""
    hostname: str
    port: int
    user: str
    known_hosts: Path
    checks: bool
    """Whether OpenSSH checks this host's key at all (StrictHostKeyChecking)."""

    @property
    def listed_as(self) -> str:
        """The board's name in the list of known hosts."""
        return self.hostname if self.port == 22 else f"[{self.hostname}]:{self.port}"


def connection(target: Target, config: Path | None = None) -> Connection:
    """`config`: in place of ~/.ssh/config. Raises InputError where OpenSSH is missing or its configuration is wrong."""
    done = _run(["ssh", "-G", *target.options(config), target.host])
    if done.returncode:
        raise InputError(f"{target.name}: ssh cannot use it: {done.stderr.strip()}")
    known: dict[str, str] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        known.setdefault(key, value)
    file = known.get("userknownhostsfile", "~/.ssh/known_hosts").split()[0]
    return Connection(
        target.host, known["hostname"], int(known["port"]), known["user"], Path(file).expanduser(),
        known.get("stricthostkeychecking") not in ("no", "off", "false"),
    )  # fmt: skip


def admitted(
    targets: Sequence[Target], config: Path | None, *, accept_new: bool, ask: Callable[[str], bool] | None
) -> tuple[dict[str, Connection], dict[str, str]]:
    """How to reach each board whose key is known by now, and for the others why not; asked before any work begins."""
    links, problems = {}, {}
    for target in targets:
        try:
            link = connection(target, config)
            problem = admit(target, link, accept_new=accept_new, ask=ask)
        except (EdgePoseError, OSError, ValueError, KeyError) as error:
            problems[target.name] = printable(error)
            continue
        if problem:
            problems[target.name] = problem
        else:
            links[target.name] = link
    return links, problems


def admit(target: Target, link: Connection, *, accept_new: bool, ask: Callable[[str], bool] | None) -> str:
    """Makes sure that the board's key is known, by asking or because new ones are accepted.

    Gives what is wrong in one line, empty where all is well: a host that cannot be reached is no error for the others.
    """
    if not link.checks or _run(["ssh-keygen", "-F", link.listed_as, "-f", str(link.known_hosts)]).returncode == 0:
        return ""
    scanned = _run(["ssh-keyscan", "-T", str(_TIMEOUT_S), "-p", str(link.port), link.hostname])
    keys = [line for line in scanned.stdout.splitlines() if line and not line.startswith("#")]
    if not keys:
        return "cannot be reached"
    prints = _run(["ssh-keygen", "-l", "-f", "-"], stdin="\n".join(keys) + "\n").stdout.strip()
    question = f"{target.name} is not known yet. Its keys:\n{prints}\nIs this your board?"
    if not accept_new and (ask is None or not ask(question)):
        return "its host key is not known; look at it with ssh once, or give --accept-new"
    link.known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with link.known_hosts.open("a", encoding="utf-8") as file:
        file.write("\n".join(keys) + "\n")
    return ""


def ask_user(question: str) -> bool:
    """A question on the terminal."""
    print(printable(question, keep="\n"), file=sys.stderr)
    return input("yes or no? ").strip().lower() in ("y", "yes")


def _run(words: list[str], stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, capture_output=True, text=True, input=stdin, timeout=3 * _TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise InputError(f"{words[0]} is not installed: sudo apt install openssh-client") from None
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", "no answer")
