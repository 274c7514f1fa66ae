"""Commands as root: the sudo password reaches sudo, and nothing else."""

from __future__ import annotations

import io
import logging
import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgepose.device.cli.board_access import get_sudo_password
from edgepose.device.deploy import fleet
from edgepose.device.deploy.privileges import Password, RootShell, classify_sudo_error, read_password_file
from edgepose.runtime.errors import InputError

from ..conftest import call_edgepose
from .test_deploy import make_board

pytestmark = pytest.mark.once

SECRET = 'it\'s a "sécret" $HOME'
# Stands for sudo: it takes a line of its input as sudo does (byte by byte), or none, and runs the rest of its words.
FAKE_SUDO = """\
#!{python} -S
import os, sys
words = sys.argv[1:]
command = words[words.index("--") + 1 :]
line = b""
if {asks}:
    while (byte := os.read(0, 1)) not in (b"\\n", b""):
        line += byte
os.write(2, b"got " + line)
os.execvp(command[0], command)
"""


@pytest.fixture(params=[True, False], ids=["asks", "does not ask"])
def asks(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    sudo = tmp_path / "bin/sudo"
    sudo.parent.mkdir()
    sudo.write_text(FAKE_SUDO.format(python=sys.executable, asks=request.param))
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sudo.parent}:{os.environ['PATH']}")
    return bool(request.param)


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("content", ["", "one\ntwo", SECRET, "\n\n", "x" * 100_000])
def test_the_command_gets_its_own_input_only(asks: bool, content: str, shell: str) -> None:
    """Also if sudo needs no password, and does not read the line with it."""
    root = RootShell("accepted", Password(SECRET))
    command = root.wrap("cat; echo \"line='$line'\"")
    assert SECRET not in command
    stdin = root.make_stdin(content)
    done = subprocess.run([shell, "-c", command], input=stdin, capture_output=True, text=True, check=True)
    assert done.stdout == f"{content}line=''\n"
    assert done.stderr == (f"got {SECRET}" if asks else "got ")


def test_without_a_password_the_command_is_not_changed() -> None:
    assert RootShell("root").wrap("cat x") == "sh -c 'cat x'"
    assert RootShell("root", Password("x")).make_stdin("input") == "input"
    assert RootShell("ok").wrap("cat 'a b'") == """env LC_ALL=C.UTF-8 sudo -n -H -- sh -c 'cat '"'"'a b'"'"''"""
    assert RootShell("ok").make_stdin(None) is None


def test_nothing_shows_the_password() -> None:
    password = Password(SECRET)
    access = fleet.Access(sudo_password=password)
    shell = RootShell("accepted", password)
    stream = io.StringIO()
    logger = logging.getLogger("test-privileges")
    logger.addHandler(logging.StreamHandler(stream))
    try:
        raise InputError(f"{access} {shell} {password} {[password]!r}")
    except InputError:
        logger.exception("%s", access)
        text = traceback.format_exc() + stream.getvalue()
    assert "sécret" not in text
    assert "hidden" in text
    for value in (password, access, shell):
        with pytest.raises(TypeError):
            pickle.dumps(value)


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"secret\n", 0o644, "other users can read this file; run chmod 600"),
        (b"secret\n", 0o640, "other users can read this file"),
        (b"", 0o600, "is empty"), (b"\n", 0o600, "is empty"),
        (b"one\ntwo\n", 0o600, "expected one line"),
        (b"se\x00cret\n", 0o600, "control character"), (b"se\x1b[1mcret\n", 0o600, "control character"),
        (b"\xff\xfe\n", 0o600, "not UTF-8"), (b"x" * 5000, 0o600, "longer than 1024"),
    ],
)  # fmt: skip
def test_password_files_that_are_refused(tmp_path: Path, content: bytes, mode: int, message: str) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(InputError, match=message) as caught:
        read_password_file(path)
    assert "cret" not in str(caught.value).replace(str(path), "")


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_private_password_file(tmp_path: Path, end: str) -> None:
    path = tmp_path / "password"
    path.write_bytes((SECRET + end).encode())
    path.chmod(0o600)
    assert read_password_file(path).reveal() == SECRET
    with pytest.raises(InputError, match="cannot be read"):
        read_password_file(tmp_path / "missing")
    with pytest.raises(InputError, match="cannot be read"):
        read_password_file(tmp_path)
    with pytest.raises(InputError, match="use one of them"):
        get_sudo_password(ask=True, file=path)


def test_a_password_from_a_pipe() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"secret\n")
    os.close(writer)
    assert read_password_file(Path(f"/dev/fd/{reader}")).reveal() == "secret"
    os.close(reader)


def test_a_password_file_that_is_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "password", 0o600)
    with pytest.raises(InputError, match="expected a regular file"):
        read_password_file(tmp_path / "password")
    with pytest.raises(InputError, match="expected a regular file"):
        read_password_file(Path("/dev/zero"))


def test_a_board_that_sends_the_password_back_does_not_get_it_into_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """For example a login shell that records its input. Messages are printed, and in the report for an issue."""
    boards = object.__new__(fleet.Fleet)
    boards._sudo_password, boards._root_shells = Password(SECRET), {}
    answer = {"door": (False, "", f"line 1: {SECRET}: command not found")}
    monkeypatch.setattr(fleet.Fleet, "run", lambda *_, **__: answer)
    checked = boards._check_sudo({"door": make_board(sudo="password")})["door"]
    assert checked.sudo_message == "line 1: ***: command not found"
    operation = SimpleNamespace(is_complete=lambda: True, stdout_lines=[SECRET], stderr_lines=[f"got {SECRET}"])
    assert boards._describe_failure("door", operation) == "***; got ***"


@pytest.mark.parametrize("command", ["deploy", "rollback", "doctor", "logs"])
def test_a_world_readable_file_is_one_line(command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "password"
    path.write_text("secret\n")
    path.chmod(0o604)
    done = call_edgepose(capfd, command, "pi@board.invalid", "--sudo-password-file", path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"run chmod 600 {path}" in done.stderr


@pytest.mark.parametrize(
    ("message", "state"),
    [
        ("sudo: a password is required", "password"),
        ("sudo-rs: interactive authentication is required", "password"),
        ("Sorry, try again.\nsudo: no password was provided\nsudo: 1 incorrect password attempt", "wrong"),
        ("sudo-rs: Incorrect authentication attempts", "wrong"),
        ("guest is not in the sudoers file.", "denied"),
        ("Sorry, user guest is not allowed to execute '/usr/bin/sh' as root on pi.", "denied"),
        ("Sorry, user guest may not run sudo on pi.", "denied"),
        ("sudo-rs: I'm sorry guest. I'm afraid I can't do that", "denied"),
        ("sh: 1: sudo: not found", "missing"),
        ("sudo: sorry, you must have a tty to run sudo", "failed"),
    ],
)
def test_messages_of_sudo_and_sudo_rs(message: str, state: str) -> None:
    assert classify_sudo_error(message) == state
