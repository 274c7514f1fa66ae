"""What `edgepose doctor` says about boards that it cannot reach: real sockets, and a real SSH server (paramiko)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

pytest.importorskip("pyinfra", reason="pyinfra is not installed (extra `deploy`)")
import paramiko

from edgepose.device.deploy import connection_errors, fleet
from edgepose.device.deploy.host_keys import SshConnection

from ..conftest import call_edgepose

pytestmark = pytest.mark.once


class _NoLogin(paramiko.ServerInterface):
    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.common.AUTH_FAILED


class SshServer:
    """SSH server on a free port of 127.0.0.1 that refuses every login."""

    def __init__(self) -> None:
        self.key = paramiko.ECDSAKey.generate()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self._transports: list[paramiko.Transport] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            transport = paramiko.Transport(client)
            transport.add_server_key(self.key)
            self._transports.append(transport)
            try:
                transport.start_server(event=threading.Event(), server=_NoLogin())
            except paramiko.SSHException:
                continue

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for transport in self._transports:
            transport.close()


@pytest.fixture
def server() -> Iterator[SshServer]:
    with closing(SshServer()) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, server: SshServer) -> Path:
    """Return a home folder with a private key and the host key of the server."""
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / ".ssh/config").write_text(f"UserKnownHostsFile {tmp_path}/.ssh/known_hosts\n")
    paramiko.ECDSAKey.generate().write_private_key_file(str(tmp_path / ".ssh/id_ecdsa"))
    write_known_host(tmp_path, server.port, server.key)
    return tmp_path


def write_known_host(home: Path, port: int, key: paramiko.PKey) -> None:
    (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")


def ask_doctor(home: Path, board: str, *words: str) -> str:
    """Return the problem that `edgepose doctor` reports. A process of its own, because of gevent."""
    environment = {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"}
    done = subprocess.run(
        [sys.executable, "-m", "edgepose.runtime.cli", "doctor", board, "-F", home / ".ssh/config", "--json",
         *words],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**environment, "HOME": str(home)}, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    problem = json.loads(done.stdout)["problems"][board]
    assert "\n" not in problem
    return str(problem)


def test_a_key_that_the_board_does_not_know(home: Path, server: SshServer) -> None:
    problem = ask_doctor(home, f"maker@127.0.0.1:{server.port}")
    assert problem.startswith("login refused for the user maker: the board does not have your SSH key, or no such user")
    assert f"ssh-copy-id -p {server.port} maker@127.0.0.1" in problem


def test_a_machine_without_a_key(home: Path, server: SshServer) -> None:
    (home / ".ssh/id_ecdsa").unlink()
    problem = ask_doctor(home, f"maker@127.0.0.1:{server.port}")
    assert problem.startswith("there is no SSH key on this machine; run ssh-keygen -t ed25519, then ssh-copy-id")


def test_a_user_that_was_not_given(home: Path, server: SshServer) -> None:
    problem = ask_doctor(home, f"127.0.0.1:{server.port}")
    assert "which is your user name here; name the user of the board, such as pi@127.0.0.1" in problem


def test_a_changed_host_key(home: Path, server: SshServer) -> None:
    write_known_host(home, server.port, paramiko.ECDSAKey.generate())
    problem = ask_doctor(home, f"maker@127.0.0.1:{server.port}")
    assert problem.startswith("its host key has changed")
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}' -f {home}/.ssh/known_hosts" in problem or (
        f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in problem
    )


def test_a_key_with_a_passphrase(home: Path, server: SshServer) -> None:
    key = home / ".ssh/id_ecdsa"
    key.unlink()
    paramiko.ECDSAKey.generate().write_private_key_file(str(key), password="secret")
    assert "has a passphrase; run ssh-add" in ask_doctor(home, f"maker@127.0.0.1:{server.port}")


def test_a_private_key_that_cannot_be_used(home: Path, server: SshServer, capfd: pytest.CaptureFixture[str]) -> None:
    board = f"maker@127.0.0.1:{server.port}"
    done = call_edgepose(capfd, "doctor", board, "-i", home / "missing")
    assert (done.returncode, "the private key cannot be read: No such file" in done.stderr) == (2, True)
    (home / "key.pub").write_text("ssh-ed25519 AAAA ann\n")
    done = call_edgepose(capfd, "doctor", board, "-i", home / "key.pub")
    assert f"this is a public key; expected the private key, usually {home}/key" in done.stderr
    (home / ".ssh/id_ecdsa").write_text("no key\n")
    assert "nvalid" in ask_doctor(home, board, "-i", str(home / ".ssh/id_ecdsa")), (
        "pyinfra does not report it by itself"
    )


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("WARNING: Your password has expired.\nPassword change required but no TTY available.\n", "set a new one"),
        ("This account is currently not available.\n", "no login shell"),
        ("sh: 1: /usr/bin/python3: not found\n", "expected Raspberry Pi OS or Debian with python3"),
    ],
)
def test_a_login_that_runs_nothing(message: str, text: str) -> None:
    explained = fleet._explain_failed_login(message)
    assert text in explained
    assert "\n" not in explained


@pytest.mark.parametrize("known", [False, True])
def test_a_board_that_does_not_exist(home: Path, server: SshServer, known: bool) -> None:
    """The answer is the same whether its host key is known or not."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        free_port = other.getsockname()[1]
    if known:
        write_known_host(home, free_port, server.key)
    problem = ask_doctor(home, f"pi@127.0.0.1:{free_port}")
    assert problem.startswith(f"cannot be reached: connection refused on port {free_port}; turn on SSH")


@pytest.mark.parametrize("known", [False, True])
def test_a_name_that_is_not_known(home: Path, server: SshServer, known: bool) -> None:
    if known:
        key = server.key
        (home / ".ssh/known_hosts").write_text(f"nowhere.invalid {key.get_name()} {key.get_base64()}\n")
    problem = ask_doctor(home, "pi@nowhere.invalid")
    assert problem.startswith("cannot be reached: the name nowhere.invalid is not known (DNS); check the spelling")


def test_a_port_without_an_ssh_server(home: Path) -> None:
    def answer(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                server.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=answer, args=[other], daemon=True).start()
        problem = ask_doctor(home, f"pi@127.0.0.1:{other.getsockname()[1]}")
    assert "answers, but not as an SSH server" in problem


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError(), "no answer"), (OSError(113, "No route to host"), "no route"),
        (ValueError("x"), "x"), (KeyError(), "KeyError"),
    ],
)  # fmt: skip
def test_other_errors(error: Exception, text: str) -> None:
    link = SshConnection("pi.local", "pi.local", 22, "pi", Path("known_hosts"), True)
    assert text in connection_errors.explain(error, link)
