"""Arguments of the commands that connect to boards."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import click

from ...runtime.cli.command import Argument, Option, PathName
from ..deploy import fleet, host_keys

_SECTION = "Connection"


@dataclass(frozen=True)
class BoardAccess:
    """Values of the arguments that all commands for boards have."""

    boards: tuple[str, ...]
    identity: Path | None
    ssh_config: Path | None
    accept_new: bool


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


def get_access(options: BoardAccess) -> fleet.Access:
    """Return how boards are reached; asks about unknown host keys if standard input is a terminal."""
    ask = host_keys.ask_user if sys.stdin.isatty() else None
    return fleet.Access(options.identity, options.ssh_config, options.accept_new, ask)
