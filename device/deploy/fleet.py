"""Connections to boards over SSH with pyinfra: read facts and run steps on all boards of a batch in parallel.

pyinfra uses gevent: `Fleet.run` and `Fleet.run_steps` start a greenlet per board and wait for all of them. A board that
fails is removed from the batch and does not stop the others.
"""

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
from ...runtime.io.printable import make_printable
from . import connection_errors, facts, host_keys, plan, untrusted
from .facts import Facts
from .host_keys import SshConnection
from .hosts import Target
from .plan import RootCommand, Step, Upload
from .privileges import Password, RootShell, classify_sudo_error
from .units import BASE_FOLDER

_CONNECT_TIMEOUT_S = 15
_COMMAND_TIMEOUT_S = 120


def prepare_gevent() -> None:
    """Prepare the process for pyinfra, which handles many boards with gevent.

    Each command calls this once, before anything opens a connection, because it replaces sockets and threads of the
    standard library with those of gevent.

    Raises:
        MissingExtraError: pyinfra and gevent are not installed.
    """
    try:
        from gevent import monkey
    except ModuleNotFoundError as error:
        raise MissingExtraError("deploying", "deploy", error) from None
    monkey.patch_all()
    # The log messages are for the command line of pyinfra; our commands print what failed.
    for name in ("pyinfra", "paramiko"):
        logging.getLogger(name).propagate = False
        logging.getLogger(name).addHandler(logging.NullHandler())
    import gevent
    from pyinfra.api.exceptions import PyinfraError

    # gevent must not print a traceback for a board that failed: `Fleet.run_steps` reports it.
    gevent.get_hub().NOT_ERROR += (PyinfraError,)


@dataclass(frozen=True)
class Access:
    """SSH settings for reaching the boards."""

    identity: Path | None = None
    """Additional private key."""
    ssh_config: Path | None = None
    """Configuration file that replaces ~/.ssh/config."""
    accept_new: bool = False
    """If True, add the host keys of new boards without a question."""
    ask: Callable[[str], bool] | None = None
    """Function that asks the user a yes-or-no question; None refuses new boards."""
    sudo_password: Password | None = None
    """Sent to the boards on which sudo needs a password, and to no others."""

    def check_host_keys(self, targets: Sequence[Target]) -> tuple[dict[str, SshConnection], dict[str, str]]:
        """Check the host keys of all boards, see `host_keys.check_host_keys`."""
        return host_keys.check_host_keys(targets, self.ssh_config, accept_new=self.accept_new, ask=self.ask)


class Fleet:
    """Connections to the boards of a batch.

    Attributes:
        problems: Why a board failed, by name. A board that failed is not used any more.
    """

    def __init__(self, links: Mapping[str, SshConnection], access: Access) -> None:
        """Create the pyinfra state; nothing is connected yet.

        Args:
            links: Connections by the name that the user gave the board.
            access: SSH settings.
        """
        from pyinfra.api import Config, Inventory, State

        from .pyinfra_callbacks import PyinfraCallbacks

        self.problems: dict[str, str] = {}
        hosts = [
            (name, {
                "ssh_hostname": link.alias, "ssh_port": link.port, "ssh_user": link.user,
                "ssh_known_hosts_file": str(link.known_hosts),
                "ssh_strict_host_key_checking": "yes" if link.checks_host_key else "no",
                **({"ssh_key": str(access.identity)} if access.identity else {}),
                **({"ssh_config_file": str(access.ssh_config)} if access.ssh_config else {}),
            })
            for name, link in links.items()
        ]  # fmt: skip
        self._state = State(check_for_changes=False)
        self._state.init(Inventory((hosts, {})), Config(CONNECT_TIMEOUT=_CONNECT_TIMEOUT_S))
        self._watcher = PyinfraCallbacks(
            self.problems, lambda name, error: make_printable(connection_errors.explain(error, links[name]))
        )
        self._sudo_password = access.sudo_password
        self._root_shells: dict[str, RootShell] = {}
        self._state.add_callback_handler(self._watcher)

    @classmethod
    def open(cls, targets: Sequence[Target], access: Access) -> Fleet:
        """Check the host keys of the boards and connect to all that can be reached."""
        links, problems = access.check_host_keys(targets)
        fleet = cls(links, access)
        fleet.problems.update(problems)
        fleet.connect()
        return fleet

    def connect(self) -> None:
        """Connect to all boards in parallel. Boards that do not answer are added to `problems`."""
        from pyinfra.api.connect import connect_all
        from pyinfra.api.exceptions import PyinfraError

        if not len(self._state.inventory):
            return
        reason = "the connection failed"
        try:
            connect_all(self._state)
        except PyinfraError as error:
            # No board is left; `problems` has most reasons, but not those that pyinfra finds before it connects.
            reason = make_printable(error) or reason
        for host in self._state.inventory:
            if host not in self._state.active_hosts:
                self.problems.setdefault(host.name, reason)

    def close(self) -> None:
        """Close all connections."""
        from pyinfra.api.connect import disconnect_all

        try:
            disconnect_all(self._state)
        finally:
            self._watcher.close()

    @property
    def names(self) -> list[str]:
        """Names of the boards that have not failed, in the order of the user."""
        return [host.name for host in self._state.inventory if host in self._state.active_hosts]

    def read_facts(self, *, include_cameras: bool = False, check_sudo: bool = False) -> dict[str, Facts]:
        """Read the facts of all boards with the probe. A board without valid facts is dropped.

        The probe runs as the login user, with the Python of the system and without the import path of that user.

        Args:
            include_cameras: If True, also look for cameras, which takes seconds.
            check_sudo: If True, also find out if the login user can become root, which steps and other commands as root
                need.
        """
        words = [f"/usr/bin/python3 -I - {BASE_FOLDER}", *["deep"] * include_cameras, *["sudo"] * check_sudo]
        command_line = " ".join(words)
        found: dict[str, Facts] = {}
        for name, (done, out, err) in self.run(command_line, stdin=facts.read_probe_script()).items():
            try:
                if not done:
                    raise InputError(_explain_failed_login(err or out))
                found[name] = facts.parse(out)
            except Exception as error:  # an unexpected error of one board must not stop the others
                self.drop(name, str(error))
        return self._check_sudo(found) if check_sudo else found

    def _check_sudo(self, found: Mapping[str, Facts]) -> dict[str, Facts]:
        """Test the sudo password on the boards that need one, and store how each board runs commands as root.

        Returns:
            The facts with the final state of sudo.
        """
        checked = dict(found)
        for name, board in found.items():
            self._root_shells[name] = RootShell(board.sudo or "failed")
        if self._sudo_password is None:
            return checked
        tested = [name for name, board in found.items() if board.sudo == "password"]
        for name in tested:
            self._root_shells[name] = RootShell("password", self._sudo_password)
        for name, (done, _, message) in self.run("true", sudo=True, only=tested).items():
            state = "accepted" if done else classify_sudo_error(message)
            # With a password on its input, sudo asks for one again only if it was wrong.
            state = "wrong" if state == "password" else state
            self._root_shells[name] = replace(self._root_shells[name], state=state)
            checked[name] = replace(
                checked[name], sudo=state, sudo_message=make_printable(self._hide_password(message), limit=200)
            )
        return checked

    def check_imports(self, found: Mapping[str, Facts]) -> dict[str, Facts]:
        """Check what the current releases can import, as the service user in the sandbox of the service.

        Returns:
            The facts with `imports`; unchanged for boards without a release that belongs to root, and without sudo.
        """
        scripts = plan.build_install_script()
        checked = dict(found)
        for name, board in found.items():
            # Only releases of root are executed: in the old layout the Python environment belongs to the service user.
            if board.current is None or not board.folders or not board.release_owned or not board.can_become_root:
                continue
            done, out, _ = self.run(plan.make_import_check_command(board), scripts, sudo=True, only=[name])[name]
            try:
                checked[name] = replace(board, imports=facts.parse_imports(out if done else "{}"))
            except InputError as error:
                checked[name] = replace(board, imports={"edgepose.runtime": f"the import check failed: {error}"})
        return checked

    def read_as_root(self, name: str, path: str) -> str:
        """Read the first 4096 bytes of a file as root; empty if it does not exist."""
        done, out, _ = self.run(f"head -c 4096 {quote(path)} 2>/dev/null", sudo=True, only=[name])[name]
        return out if done else ""

    def run(
        self, command: str, stdin: str | None = None, *, sudo: bool = False, only: Sequence[str] | None = None
    ) -> dict[str, tuple[bool, str, str]]:
        """Run a command on all boards in parallel.

        Args:
            command: Shell command. At most `untrusted.MAX_ANSWER_BYTES` of its stdout and of its stderr are read; a
                longer output is an error.
            stdin: Input of the command.
            sudo: If True, run it as root; `read_facts` must have checked sudo before.
            only: Names of the boards; None runs it on all boards.

        Returns:
            Success, stdout and stderr by board name. An exception is a failure with its text as stderr.
        """
        state = self._state
        hosts = [host for host in state.inventory if host in state.active_hosts and (only is None or host.name in only)]

        def run_on_host(host: Any) -> tuple[bool, str, str]:
            try:
                if not sudo:
                    return _run_limited(host.connector.client, command, stdin)
                shell = self._root_shells[host.name]
                return _run_limited(host.connector.client, shell.wrap(command), shell.make_stdin(stdin))
            except Exception as error:  # a broken connection can raise any exception
                return False, "", f"{type(error).__name__}: {error}"

        greenlets = {host.name: state.pool.spawn(run_on_host, host) for host in hosts}
        return {name: job.get() for name, job in greenlets.items()}

    def drop(self, name: str, reason: str) -> None:
        """Remove a board from the batch and store the reason in `problems`."""
        from pyinfra.api.exceptions import PyinfraError

        self.problems[name] = make_printable(reason)
        host = self._state.inventory.get_host(name)
        try:
            self._state.fail_hosts({host})
        except PyinfraError:
            return

    def run_steps(self, work: Mapping[str, Sequence[Step]], note: Callable[[str, str], None]) -> None:
        """Run the steps of all boards: boards in parallel, the steps of a board in order.

        If a step fails, the remaining steps of the board are skipped, and the failure is added to `problems`.

        Args:
            work: Steps by board name.
            note: Function that is called with the name of the board and of the step when a step begins.
        """
        from pyinfra.api.exceptions import PyinfraError
        from pyinfra.api.operations import run_ops

        operations: dict[str, list[tuple[Step, Any]]] = {}
        self._watcher.note = note
        for name, steps in work.items():
            host = self._state.inventory.get_host(name)
            operations[name] = [(step, self._add_operation(host, step)) for step in steps]
        with suppress(PyinfraError):
            run_ops(self._state, no_wait=True)
        for name, pairs in operations.items():
            for step, operation in pairs:
                if not (operation.is_complete() and operation.did_succeed()):
                    self.problems[name] = make_printable(f"{step.name}: {self._describe_failure(name, operation)}")
                    break

    def _add_operation(self, host: Any, step: Step) -> Any:
        from pyinfra.api.operation import add_op
        from pyinfra.operations import files as remote
        from pyinfra.operations import server

        function: Any
        match step:
            case Upload():
                function = remote.put
                arguments: dict[str, Any] = {
                    "src": str(step.source),
                    "dest": step.path,
                    "create_remote_dir": False,
                    "force": True,
                }
            case RootCommand():
                shell = self._root_shells[host.name]
                function = server.shell
                arguments = {
                    "commands": [shell.wrap(step.command)],
                    "_stdin": shell.make_stdin(step.stdin),
                    "_timeout": step.timeout_s,
                }
        return add_op(self._state, function, name=step.name, host=host, _sudo=False, **arguments)[host]

    def _describe_failure(self, name: str, operation: Any) -> str:
        """Return the last lines of the output of a failed step, or what pyinfra logged about it."""
        lines = []
        if operation.is_complete():
            lines = [line.strip() for line in (*operation.stdout_lines, *operation.stderr_lines) if line.strip()]
        lines = lines or self._watcher.errors.get(name, [])
        return self._hide_password("; ".join(lines[-6:]))[:1000] or "the connection broke"

    def _hide_password(self, text: str) -> str:
        return text if self._sudo_password is None else self._sudo_password.hide_in(text)


def _explain_failed_login(message: str) -> str:
    """Return why the first command on a board did not run."""
    text = " ".join(message.split())[-200:]
    if "password has expired" in text or "password change required" in text.lower():
        return f"the password of this user has expired; log in with ssh once and set a new one ({text})"
    if "account is currently not available" in text:
        return f"this user has no login shell; log in as another user ({text})"
    return f"/usr/bin/python3 does not run on the board: {text}; expected Raspberry Pi OS or Debian with python3"


def _run_limited(client: Any, command: str, stdin: str | None) -> tuple[bool, str, str]:
    """Run a command as the login user, with limits for the time and for the size of the output.

    Raises:
        InputError: The output is too large, or takes too long.
        TimeoutError: The command does not end in time.
    """
    channel = client.get_transport().open_session(timeout=_CONNECT_TIMEOUT_S)
    try:
        channel.settimeout(_COMMAND_TIMEOUT_S)
        channel.exec_command(command)
        if stdin:
            channel.sendall(stdin.encode())
        channel.shutdown_write()
        out = _read_limited(channel.recv)
        err = _read_limited(channel.recv_stderr)
        if not channel.status_event.wait(_COMMAND_TIMEOUT_S):
            raise TimeoutError(f"expected an exit status within {_COMMAND_TIMEOUT_S} s")
        return channel.recv_exit_status() == 0, out, err
    finally:
        channel.close()


def _read_limited(receive: Callable[[int], bytes]) -> str:
    blocks, size, end = [], 0, monotonic() + _COMMAND_TIMEOUT_S
    while block := receive(65536):
        blocks.append(block)
        size += len(block)
        if size > untrusted.MAX_ANSWER_BYTES:
            raise InputError(f"expected an answer of at most {untrusted.MAX_ANSWER_BYTES} bytes")
        if monotonic() > end:
            raise InputError(f"expected an answer within {_COMMAND_TIMEOUT_S} s")
    return b"".join(blocks).decode(errors="replace")
