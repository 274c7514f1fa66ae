"""Boards over ssh, through pyinfra: connect, look, do; all of a batch at once, each for itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from time import monotonic
from typing import Any

from ...runtime.errors import InputError, MissingExtraError
from ...runtime.io.printable import printable
from . import facts, host_keys, plan, untrusted
from .facts import Facts
from .host_keys import Connection
from .hosts import Target
from .plan import Packages, Put, Run, Step
from .units import BASE

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

        from .pyinfra_callbacks import Watcher

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
        """Facts of all boards; one that gives none falls out.

        The probe runs as the user who logs in, with the system's own Python and nothing of that user's on its path.
        """
        words = f"/usr/bin/python3 -I - {BASE}{' deep' if deep else ''}"
        found: dict[str, Facts] = {}
        for name, (done, out, err) in self.run(words, stdin=facts.script()).items():
            try:
                if not done:
                    raise InputError(f"/usr/bin/python3 does not run there: {(err or out)[-200:]}")
                found[name] = facts.read(out)
            except Exception as error:  # one bad board is no reason to leave the others alone
                self.drop(name, str(error))
        return found

    def look_at_imports(self, found: Mapping[str, Facts]) -> dict[str, Facts]:
        """Facts with what the current release can import, tried as the service user in the service's sandbox."""
        scripts = plan.install_script()
        seen = dict(found)
        for name, board in found.items():
            # Only what is root's: the Python of the old layout belongs to the service user.
            if board.current is None or not board.folders or not board.release_owned:
                continue
            done, out, _ = self.run(plan.import_check(board), scripts, sudo=True, only=name)[name]
            try:
                seen[name] = replace(board, imports=facts.read_imports(out if done else "{}"))
            except InputError as error:
                seen[name] = replace(board, imports={"edgepose.runtime": f"the import check failed: {error}"})
        return seen

    def read_as_root(self, name: str, path: str) -> str:
        """The beginning of a small file of root's; empty if it is not there."""
        done, out, _ = self.run(f"head -c 4096 {quote(path)} 2>/dev/null", sudo=True, only=name)[name]
        return out if done else ""

    def run(
        self, command: str, stdin: str | None = None, *, sudo: bool = False, only: str = ""
    ) -> dict[str, tuple[bool, str, str]]:
        """A command on all boards at once: whether it succeeded, what it printed, and on stderr.

        Without `sudo` no more than `untrusted.MAX_ANSWER_BYTES` are read of either. `only`: the one board.
        """
        from pyinfra.api.command import StringCommand

        state = self._state
        hosts = [host for host in state.inventory if host in state.active_hosts and only in ("", host.name)]

        def call(host: Any) -> tuple[bool, str, str]:
            try:
                if not sudo:
                    return _run_limited(host.connector.client, command, stdin)
                done, output = host.run_shell_command(
                    StringCommand(command), _stdin=stdin, _timeout=_PROBE_S, _sudo=True
                )
            except Exception as error:  # whatever a broken connection makes of itself
                return False, "", f"{type(error).__name__}: {error}"
            return bool(done), output.stdout, output.stderr

        jobs = {host.name: state.pool.spawn(call, host) for host in hosts}
        return {name: job.get() for name, job in jobs.items()}

    def drop(self, name: str, why: str) -> None:
        """A board falls out."""
        from pyinfra.api.exceptions import PyinfraError

        self.problems[name] = printable(why)
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
                    self.problems[name] = printable(f"{step.name}: {self._said(name, operation)}")
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
                    "create_remote_dir": False,
                    "force": True,
                }
            case Run():
                function = server.shell
                more = {
                    "commands": [step.command],
                    "_stdin": step.stdin,
                    "_timeout": step.timeout_s,
                }
        return add_op(self._state, function, name=step.name, host=host, _sudo=not isinstance(step, Put), **more)[host]

    def _said(self, name: str, operation: Any) -> str:
        """The last lines of a failed step."""
        lines = []
        if operation.is_complete():
            lines = [line.strip() for line in (*operation.stdout_lines, *operation.stderr_lines) if line.strip()]
        lines = lines or self._watcher.errors.get(name, [])
        return "; ".join(lines[-6:])[:1000] or "the connection broke"


def _run_limited(client: Any, command: str, stdin: str | None) -> tuple[bool, str, str]:
    """Run a command as the user who logged in; the board is not waited for forever, nor is all read that it sends."""
    channel = client.get_transport().open_session(timeout=_CONNECT_S)
    try:
        channel.settimeout(_PROBE_S)
        channel.exec_command(command)
        if stdin:
            channel.sendall(stdin.encode())
        channel.shutdown_write()
        out = _read_limited(channel.recv)
        err = _read_limited(channel.recv_stderr)
        if not channel.status_event.wait(_PROBE_S):
            raise TimeoutError("no exit status")
        return channel.recv_exit_status() == 0, out, err
    finally:
        channel.close()


def _read_limited(receive: Callable[[int], bytes]) -> str:
    blocks, size, end = [], 0, monotonic() + _PROBE_S
    while block := receive(65536):
        blocks.append(block)
        size += len(block)
        if size > untrusted.MAX_ANSWER_BYTES:
            raise InputError(f"expected an answer of at most {untrusted.MAX_ANSWER_BYTES} bytes")
        if monotonic() > end:
            raise InputError(f"expected an answer within {_PROBE_S} s")
    return b"".join(blocks).decode(errors="replace")
