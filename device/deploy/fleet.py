"""Boards over ssh, through pyinfra: connect, look, do; all of a batch at once, each for itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepose.runtime.errors import InputError, MissingExtraError

from . import facts, host_keys
from .facts import Facts
from .host_keys import Connection
from .hosts import Target
from .plan import Packages, Put, Run, Step
from .units import BASE, USER

_CONNECT_S = 15
_PROBE_S = 120


def prepare() -> None:
    """Called once, by the command, before anything opens a connection: pyinfra works on many boards with gevent."""
    try:
        from gevent import monkey
    except ModuleNotFoundError as error:
        raise MissingExtraError("deploying", "deploy", error) from None
    monkey.patch_all()
    # Its words are for its own command line; ours says what failed.
    for name in ("pyinfra", "paramiko"):
        logging.getLogger(name).propagate = False
        logging.getLogger(name).addHandler(logging.NullHandler())
    import gevent
    from pyinfra.api.exceptions import PyinfraError

    gevent.get_hub().NOT_ERROR += (PyinfraError,)


@dataclass(frozen=True)
class Access:
    """How boards are reached."""

    identity: Path | None = None
    """A private key, beyond those that ssh would take."""
    ssh_config: Path | None = None
    """In place of ~/.ssh/config."""
    accept_new: bool = False
    ask: Callable[[str], bool] | None = None

    def admitted(self, targets: Sequence[Target]) -> tuple[dict[str, Connection], dict[str, str]]:
        """See `host_keys.admitted`."""
        return host_keys.admitted(targets, self.ssh_config, accept_new=self.accept_new, ask=self.ask)


class Fleet:
    """Connections to boards. `problems`: for every board that fell out, why."""

    def __init__(self, links: Mapping[str, Connection], access: Access) -> None:
        """`links`: the boards by the names the user gave them."""
        from pyinfra.api import Config, Inventory, State

        from .watching import Watcher

        self.problems: dict[str, str] = {}
        hosts = [
            (name, {
                "ssh_hostname": link.alias, "ssh_port": link.port, "ssh_user": link.user,
                "ssh_known_hosts_file": str(link.known_hosts),
                "ssh_strict_host_key_checking": "yes" if link.checks else "no",
                **({"ssh_key": str(access.identity)} if access.identity else {}),
                **({"ssh_config_file": str(access.ssh_config)} if access.ssh_config else {}),
            })
            for name, link in links.items()
        ]  # fmt: skip
        self._state = State(check_for_changes=False)
        self._state.init(Inventory((hosts, {})), Config(CONNECT_TIMEOUT=_CONNECT_S))
        self._watcher = Watcher(self.problems)
        self._state.add_callback_handler(self._watcher)

    @classmethod
    def of(cls, targets: Sequence[Target], access: Access) -> Fleet:
        """Connected to all that can be."""
        links, problems = access.admitted(targets)
        fleet = cls(links, access)
        fleet.problems.update(problems)
        fleet.connect()
        return fleet

    def connect(self) -> None:
        """Connects to all at once; `problems` tells of those that did not answer."""
        from pyinfra.api.connect import connect_all
        from pyinfra.api.exceptions import PyinfraError

        if not len(self._state.inventory):
            return
        try:
            connect_all(self._state)
        except PyinfraError:
            # Nobody left; `problems` says why.
            return

    def close(self) -> None:
        """Ends the connections."""
        from pyinfra.api.connect import disconnect_all

        disconnect_all(self._state)

    @property
    def names(self) -> list[str]:
        """Boards that are still with us, in the user's order."""
        return [host.name for host in self._state.inventory if host in self._state.active_hosts]

    def look(self, *, deep: bool = False) -> dict[str, Facts]:
        """Facts of all boards; one that gives none falls out."""
        words = f"python3 - {BASE}{' deep' if deep else ''}"
        found: dict[str, Facts] = {}
        for name, (done, out, err) in self.run(words, stdin=facts.script()).items():
            try:
                if not done:
                    raise InputError(f"python3 does not run there: {(err or out)[-200:]}")
                found[name] = facts.read(out)
            except InputError as error:
                self.drop(name, str(error))
        return found

    def run(self, command: str, stdin: str | None = None) -> dict[str, tuple[bool, str, str]]:
        """A command on all boards at once: whether it succeeded, what it printed, and on stderr."""
        from pyinfra.api.command import StringCommand

        state = self._state
        hosts = [host for host in state.inventory if host in state.active_hosts]

        def call(host: Any) -> tuple[bool, str, str]:
            try:
                done, output = host.run_shell_command(StringCommand(command), _stdin=stdin, _timeout=_PROBE_S)
            except Exception as error:  # whatever a broken connection makes of itself
                return False, "", f"{type(error).__name__}: {error}"
            return bool(done), output.stdout, output.stderr

        jobs = {host.name: state.pool.spawn(call, host) for host in hosts}
        return {name: job.get() for name, job in jobs.items()}

    def drop(self, name: str, why: str) -> None:
        """A board falls out."""
        from pyinfra.api.exceptions import PyinfraError

        self.problems[name] = why
        host = self._state.inventory.get_host(name)
        try:
            self._state.fail_hosts({host})
        except PyinfraError:
            return

    def do(self, work: Mapping[str, Sequence[Step]], note: Callable[[str, str], None]) -> None:
        """The steps of every board, in order, boards side by side; one that fails ends that board's, and is a problem.

        `note` is told a board's name and the step that begins.
        """
        from pyinfra.api.exceptions import PyinfraError
        from pyinfra.api.operations import run_ops

        done: dict[str, list[tuple[Step, Any]]] = {}
        self._watcher.note = note
        for name, steps in work.items():
            host = self._state.inventory.get_host(name)
            done[name] = [(step, self._add(host, step)) for step in steps]
        with suppress(PyinfraError):
            run_ops(self._state, no_wait=True)
        for name, pairs in done.items():
            for step, operation in pairs:
                if not (operation.is_complete() and operation.did_succeed()):
                    self.problems[name] = f"{step.name}: {self._said(name, operation)}"
                    break

    def _add(self, host: Any, step: Step) -> Any:
        from pyinfra.api.operation import add_op
        from pyinfra.operations import apt, server
        from pyinfra.operations import files as remote

        function: Any
        match step:
            case Packages():
                function = apt.packages
                more: dict[str, Any] = {
                    "packages": list(step.packages),
                    "update": True,
                    "no_recommends": True,
                    "_timeout": 1800,
                }
            case Put():
                function = remote.put
                more = {
                    "src": str(step.source),
                    "dest": step.path,
                    "user": USER,
                    "group": USER,
                    "create_remote_dir": False,
                    "force": True,
                }
            case Run():
                function = server.shell
                more = {
                    "commands": [step.command],
                    "_sudo_user": step.user,
                    "_stdin": step.stdin,
                    "_timeout": step.timeout_s,
                }
        return add_op(self._state, function, name=step.name, host=host, _sudo=True, **more)[host]

    def _said(self, name: str, operation: Any) -> str:
        """The last lines of a failed step."""
        lines = []
        if operation.is_complete():
            lines = [line.strip() for line in (*operation.stdout_lines, *operation.stderr_lines) if line.strip()]
        lines = lines or self._watcher.errors.get(name, [])
        return "; ".join(lines[-6:])[:1000] or "the connection broke"
