"""Check of SSH host keys against the known hosts of OpenSSH. For a new board the user is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import EdgePoseError, InputError
from ...runtime.io.printable import make_printable
from .hosts import Target

_TIMEOUT_S = 10


@dataclass(frozen=True)
class SshConnection:
    """SSH settings of a board after applying the user's OpenSSH configuration (`ssh -G`)."""

    alias: str
    """Host name as given by the user."""
    hostname: str
    port: int
    user: str
    known_hosts: Path
    checks_host_key: bool
    """False if StrictHostKeyChecking is off for this host, so that OpenSSH does not check its key."""

    @property
    def listed_as(self) -> str:
        """Name of the board in the known hosts file."""
        return self.hostname if self.port == 22 else f"[{self.hostname}]:{self.port}"


def read_ssh_settings(target: Target, config: Path | None = None) -> SshConnection:
    """Read the SSH settings of a board with `ssh -G`.

    Args:
        target: Address of the board.
        config: Configuration file that replaces ~/.ssh/config.

    Raises:
        InputError: OpenSSH is not installed, or its configuration is not valid.
    """
    done = _run(["ssh", "-G", *target.make_ssh_options(config), target.host])
    if done.returncode:
        raise InputError(f"{target.name}: ssh refuses this address or its configuration: {done.stderr.strip()}")
    options: dict[str, str] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        options.setdefault(key, value)
    file = options.get("userknownhostsfile", "~/.ssh/known_hosts").split()[0]
    return SshConnection(
        target.host, options["hostname"], int(options["port"]), options["user"], Path(file).expanduser(),
        options.get("stricthostkeychecking") not in ("no", "off", "false"),
    )  # fmt: skip


def check_host_keys(
    targets: Sequence[Target], config: Path | None, *, accept_new: bool, ask: Callable[[str], bool] | None
) -> tuple[dict[str, SshConnection], dict[str, str]]:
    """Check the host keys of all boards before any work begins.

    Args:
        targets: Addresses of the boards.
        config: Configuration file that replaces ~/.ssh/config.
        accept_new: If True, add the keys of new boards without a question.
        ask: Function that asks the user a yes-or-no question; None refuses new boards.

    Returns:
        The connections of the boards whose key is known now, by target name, and the problems of the others.
    """
    connections, problems = {}, {}
    for target in targets:
        try:
            link = read_ssh_settings(target, config)
            problem = check_host_key(target, link, accept_new=accept_new, ask=ask)
        except (EdgePoseError, OSError, ValueError, KeyError) as error:
            problems[target.name] = make_printable(error)
            continue
        if problem:
            problems[target.name] = problem
        else:
            connections[target.name] = link
    return connections, problems


def check_host_key(target: Target, link: SshConnection, *, accept_new: bool, ask: Callable[[str], bool] | None) -> str:
    """Check that the key of a board is known; add the key of a new board if the user agrees or `accept_new` is True.

    Returns:
        The problem in one line; empty if the key is known now. It is not raised, so that the other boards continue.
    """
    if (
        not link.checks_host_key
        or _run(["ssh-keygen", "-F", link.listed_as, "-f", str(link.known_hosts)]).returncode == 0
    ):
        return ""
    scanned = _run(["ssh-keyscan", "-T", str(_TIMEOUT_S), "-p", str(link.port), link.hostname])
    keys = [line for line in scanned.stdout.splitlines() if line and not line.startswith("#")]
    if not keys:
        # Imported here, because that module needs the types of this one.
        from .connection_errors import diagnose_port

        return diagnose_port(link)
    fingerprints = _run(["ssh-keygen", "-l", "-f", "-"], stdin="\n".join(keys) + "\n").stdout.strip()
    question = f"{target.name} is not known yet. Its keys:\n{fingerprints}\nIs this your board?"
    if not accept_new and (ask is None or not ask(question)):
        return "its host key is not known; connect with ssh once to check it, or use --accept-new"
    link.known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with link.known_hosts.open("a", encoding="utf-8") as file:
        file.write("\n".join(keys) + "\n")
    return ""


def ask_user(question: str) -> bool:
    """Ask a yes-or-no question on the terminal."""
    print(make_printable(question, keep="\n"), file=sys.stderr)
    return input("yes or no? ").strip().lower() in ("y", "yes")


def _run(words: list[str], stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, capture_output=True, text=True, input=stdin, timeout=3 * _TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise InputError(f"{words[0]} is not installed: sudo apt install openssh-client") from None
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", "no answer")
