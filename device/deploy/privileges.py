"""Commands as root on a board: as root itself, with sudo without a password, or with a sudo password.

The password goes through the standard input of ssh to sudo. It is on no command line and in no environment variable of
this machine or of the board, and in no file of the board. Therefore pyinfra's own sudo is not used: it puts the
password into the command line of the board, where every user can read it with ps.
"""

from __future__ import annotations

import os
import secrets
import stat
import warnings
from dataclasses import dataclass, field
from getpass import GetPassWarning, getpass
from pathlib import Path
from shlex import quote
from typing import Literal

from ...runtime.errors import InputError
from ...runtime.io.atomic import is_descriptor

SudoState = Literal["root", "ok", "password", "accepted", "wrong", "denied", "missing", "failed"]
"""`root`: the login user is root; `ok`: sudo needs no password; `password`: it needs one, and none was given;
`accepted`, `wrong`: the given password; `denied`: sudo is not allowed for this user; `missing`: sudo is not installed;
`failed`: another error."""
_MAX_PASSWORD_BYTES = 1024
# Untranslated messages of sudo, and UTF-8 for the command.
_SUDO = "env LC_ALL=C.UTF-8 sudo"


class Password:
    """A password that is in no message, log or traceback: only `reveal` returns it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Check the password.

        Raises:
            InputError: It is empty, too long, or has control characters. The message does not contain it.
        """
        if not text:
            raise InputError("the sudo password is empty")
        if len(text.encode(errors="surrogateescape")) > _MAX_PASSWORD_BYTES:
            raise InputError(f"the sudo password is longer than {_MAX_PASSWORD_BYTES} bytes")
        if not text.isprintable():
            raise InputError("the sudo password contains a control character, or is not UTF-8")
        self._text = text

    def reveal(self) -> str:
        """Return the password, to send it to sudo."""
        return self._text

    def hide_in(self, text: str) -> str:
        """Return `text`, which comes from a board, without the password: a board may send back what it has received."""
        return text.replace(self._text, "***")

    def __repr__(self) -> str:
        return "Password(hidden)"

    def __reduce__(self) -> str:
        raise TypeError("a password is not stored")


def ask_password() -> Password:
    """Ask for the sudo password on the terminal, without echo.

    Raises:
        InputError: There is no terminal, or nothing was typed.
    """
    try:
        with warnings.catch_warnings():
            # Without a terminal, getpass would read standard input and show what is typed.
            warnings.simplefilter("error", GetPassWarning)
            return Password(getpass("sudo password for all boards: "))
    except (GetPassWarning, EOFError, OSError):
        raise InputError("--ask-sudo-password needs a terminal; without one, use --sudo-password-file FILE") from None


def read_password_file(path: Path) -> Password:
    """Read the sudo password from the first line of a file.

    Raises:
        InputError: The file cannot be read, other users can read it, or it has no password in one line.
    """
    option = f"--sudo-password-file {path}"
    try:
        # Opening a FIFO without a writer must not block.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if stat.S_ISFIFO(status.st_mode) and is_descriptor(path):
                os.set_blocking(handle, True)
            elif not stat.S_ISREG(status.st_mode):
                raise InputError(f"{option}: expected a regular file, or <(COMMAND)")
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
                raise InputError(f"{option}: other users can read this file; run chmod 600 {quote(str(path))}")
            content = file.read(_MAX_PASSWORD_BYTES + 3)
    except OSError as error:
        raise InputError(f"{option}: cannot be read: {error.strerror}") from None
    line, _, rest = content.partition(b"\n")
    if rest.strip():
        raise InputError(f"{option}: expected one line with the password, got more")
    try:
        return Password(line.removesuffix(b"\r").decode())
    except UnicodeDecodeError:
        raise InputError(f"{option}: the password is not UTF-8") from None
    except InputError as error:
        raise InputError(f"{option}: {error}") from None


@dataclass(frozen=True)
class RootShell:
    """The way to run a command as root on one board."""

    state: SudoState
    password: Password | None = None
    """Sent to sudo if `state` is `accepted`, or to find out if it is accepted."""
    _mark: str = field(default_factory=lambda: f"edgepose-{secrets.token_hex(16)}", repr=False)

    def wrap(self, command: str) -> str:
        """Return a command for the login shell of the user, which may not be sh, that runs `command` as root.

        Args:
            command: Command for sh.
        """
        if self.state == "root":
            return f"sh -c {quote(command)}"
        if self.password is None:
            return f"{_SUDO} -n -H -- sh -c {quote(command)}"
        # A sudo that needs no password does not read the line with it. The command skips all lines up to the mark, so
        # that it never takes the password for its input. `read` of sh reads byte by byte, as sudo does.
        skip = f'while IFS= read -r line && [ "$line" != {self._mark} ]; do :; done; unset line; '
        return f"{_SUDO} -S -k -H -p '' -- sh -c {quote(skip + command)}"

    def make_stdin(self, stdin: str | None) -> str | None:
        """Return the input of the wrapped command: the password for sudo, then the input of the command itself."""
        if self.state == "root" or self.password is None:
            return stdin
        return f"{self.password.reveal()}\n{self._mark}\n{stdin or ''}"


def classify_sudo_error(message: str) -> SudoState:
    """Return the state that an English error message of sudo or sudo-rs means."""
    text = message.lower()
    if "password is required" in text or "authentication is required" in text:
        return "password"
    if "incorrect" in text or "try again" in text or "no password was provided" in text:
        return "wrong"
    if "not in the sudoers" in text or "not allowed" in text or "may not run" in text or "i'm sorry" in text:
        return "denied"
    if "not found" in text:
        return "missing"
    return "failed"
