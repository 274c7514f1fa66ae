"""`edgepose logs`: what the loop on a board says, through ssh itself."""

from __future__ import annotations

import argparse
import subprocess
from shlex import quote

from ...runtime.cli.main import Parser
from ...runtime.errors import InputError
from ...runtime.io.printable import printable
from ..deploy import hosts
from .deploy import add_ssh

_MAX_LINE_BYTES = 16384


def parser() -> argparse.ArgumentParser:
    """The subcommand's arguments."""
    parser = Parser(
        "logs", "Shows what the loop on a board said (systemd's journal).",
        "  edgepose logs pi@raspberrypi.local\n  edgepose logs pi@raspberrypi.local -f",
    )  # fmt: skip
    parser.add_argument("board", metavar="HOST", help="user@host[:port], or a name of ~/.ssh/config")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as more comes, until interrupted")
    parser.add_argument("-n", "--lines", type=int, default=50, metavar="N", help="the last N (default: 50)")
    add_ssh(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Gives ssh's exit code; 2 where it could not connect."""
    targets = hosts.parse([arguments.board])
    if len(targets) > 1:
        raise InputError(f"expected one board, {arguments.board} names {len(targets)}")
    if not 0 <= arguments.lines <= 100_000:
        raise ValueError(f"--lines: expected 0 to 100000, got {arguments.lines}")
    target = targets[0]
    words = ["ssh", *target.options(arguments.ssh_config, arguments.identity)]
    journal = [
        "sudo",
        "journalctl",
        "-u",
        "edgepose",
        "-u",
        "edgepose-recover",
        "-n",
        str(arguments.lines),
        "--no-pager",
    ]
    if arguments.follow:
        journal.append("-f")
    try:
        with subprocess.Popen(
            [*words, target.host, " ".join(map(quote, journal))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as running:
            assert running.stdout is not None
            # Whoever writes into the journal of a board does not write to this terminal.
            while line := running.stdout.readline(_MAX_LINE_BYTES):
                text = line.decode(errors="replace").rstrip("\n")
                print(printable(text, limit=_MAX_LINE_BYTES, keep="\t"), flush=True)
        code = running.returncode
    except FileNotFoundError:
        raise InputError("ssh is not installed: sudo apt install openssh-client") from None
    # 255 is ssh's own failure, which it has explained.
    return 2 if code == 255 else code
