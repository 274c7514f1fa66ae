"""Arguments of the commands that connect to boards."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import click

from ...runtime.cli.command import Argument, Option, PathName
from ...runtime.errors import InputError
from ..deploy import fleet, host_keys
from ..deploy.privileges import Password, ask_password, read_password_file

_SECTION = "Connection"


@dataclass(frozen=True)
class BoardAccess:
    """Values of the arguments that all commands for boards have."""

    boards: tuple[str, ...]
    identity: Path | None
    ssh_config: Path | None
    accept_new: bool


@dataclass(frozen=True)
class RootAccess(BoardAccess):
    """Values of the arguments that all commands with root steps have."""

    ask_sudo_password: bool
    sudo_password_file: Path | None


def make_board_argument(*, required: bool = True) -> click.Parameter:
    """Build the argument with the boards."""
    return Argument(
        "boards",
        "user@host[:port], a name from ~/.ssh/config, or @FILE with one board per line: HOST or HOST name=NAME",
        nargs=-1,
        required=required,
        metavar="HOST..." if required else "[HOST...]",
    )


def make_ssh_options() -> list[click.Parameter]:
    """Build the options that ssh itself has."""
    return [
        Option("-i", "--identity", type=PathName(), metavar="KEY", section=_SECTION,
               help="private key (default: as ssh)"),
        Option("-F", "--ssh-config", type=PathName(), metavar="FILE", section=_SECTION,
               help="configuration of ssh (default: ~/.ssh/config)"),
    ]  # fmt: skip


def make_access_options() -> list[click.Parameter]:
    """Build the options of the commands that connect through pyinfra."""
    return [
        *make_ssh_options(),
        Option("--accept-new", is_flag=True, section=_SECTION, help="trust boards whose host key is not known yet"),
    ]


def make_sudo_options() -> list[click.Parameter]:
    """Build the options for the sudo password."""
    return [
        Option("--ask-sudo-password", is_flag=True, section=_SECTION,
               help="ask once for the password that sudo needs on the boards"),
        Option("--sudo-password-file", type=PathName(), metavar="FILE", section=_SECTION,
               help="read this password from the first line of a file that only you can read"),
    ]  # fmt: skip


def make_root_access_options() -> list[click.Parameter]:
    """Build the options of the commands that connect through pyinfra and need sudo."""
    return [*make_access_options(), *make_sudo_options()]


def get_sudo_password(*, ask: bool, file: Path | None) -> Password | None:
    """Ask for the sudo password, or read it from a file; None if the user wants neither.

    Raises:
        InputError: Both are wanted, or the password cannot be read.
    """
    if ask and file is not None:
        raise InputError("--ask-sudo-password and --sudo-password-file: use one of them")
    if file is not None:
        return read_password_file(file)
    return ask_password() if ask else None


def check_identity(path: Path) -> None:
    """Check that the private key of `-i` can be read.

    Raises:
        InputError: It cannot be read, or is a public key.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise InputError(f"-i {path}: the private key cannot be read: {error.strerror}") from None
    if start.startswith((b"ssh-", b"ecdsa-")):
        raise InputError(f"-i {path}: this is a public key; expected the private key, usually {path.with_suffix('')}")


def get_access(options: BoardAccess) -> fleet.Access:
    """Return how boards are reached. Asks for the sudo password if the user wants that.

    The user is asked about unknown host keys if standard input is a terminal.

    Raises:
        InputError: The sudo password or the private key cannot be read.
    """
    if options.identity is not None:
        check_identity(options.identity)
    password = (
        get_sudo_password(ask=options.ask_sudo_password, file=options.sudo_password_file)
        if isinstance(options, RootAccess)
        else None
    )
    ask = host_keys.ask_user if sys.stdin.isatty() else None
    return fleet.Access(options.identity, options.ssh_config, options.accept_new, ask, password)
