"""The command `edgepose logs`: show the log of the camera loop on a board, through ssh."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from ...runtime.cli.command import Argument, Command, Number, Option
from ...runtime.errors import InputError
from ...runtime.io.printable import make_printable
from ..deploy import hosts
from ..deploy.privileges import RootShell
from .board_access import get_sudo_password, make_ssh_options, make_sudo_options

_MAX_LINE_BYTES = 16384
# Users of the group adm, such as the first user of Raspberry Pi OS, can read the journal without sudo.
_READ_JOURNAL = """\
for file in /run/log/journal/*/system.journal /var/log/journal/*/system.journal; do
    if [ -r "$file" ]; then exec {journal}; fi
done
{refuse}exec {as_root}"""
_REFUSE = """\
if [ "$(id -u)" != 0 ] && ! sudo -n true 2> /dev/null; then
    echo 'edgepose logs: sudo needs a password on this board; add --ask-sudo-password'
    exit 1
fi
"""


@dataclass(frozen=True)
class LogsOptions:
    """Values of the command line of `edgepose logs`."""

    board: str
    follow: bool
    lines: int
    identity: Path | None
    ssh_config: Path | None
    ask_sudo_password: bool
    sudo_password_file: Path | None


def run(options: LogsOptions) -> int:
    """Print the log.

    Returns:
        The exit code of ssh; 2 if it could not connect.
    """
    targets = hosts.parse([options.board])
    if len(targets) > 1:
        raise InputError(f"expected one board, {options.board} names {len(targets)}")
    target = targets[0]
    password = get_sudo_password(ask=options.ask_sudo_password, file=options.sudo_password_file)
    shell = RootShell("ok" if password is None else "accepted", password)
    words = ["ssh", *target.make_ssh_options(options.ssh_config, options.identity)]
    journal = ["journalctl", "-u", "edgepose", "-u", "edgepose-recover", "-n", str(options.lines), "--no-pager"]
    if options.follow:
        journal.append("-f")
    command = _READ_JOURNAL.format(
        journal=" ".join(map(quote, journal)),
        refuse="" if password else _REFUSE,
        as_root=shell.wrap("exec " + " ".join(map(quote, journal))),
    )
    stdin = shell.make_stdin(None)
    try:
        with subprocess.Popen(
            [*words, target.host, f"sh -c {quote(command)}"],
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as running:
            if stdin and running.stdin is not None:
                with suppress(BrokenPipeError), running.stdin:
                    running.stdin.write(stdin.encode())
            assert running.stdout is not None
            # The journal may hold control characters that must not reach this terminal.
            while line := running.stdout.readline(_MAX_LINE_BYTES):
                text = line.decode(errors="replace").rstrip("\n")
                print(make_printable(text, limit=_MAX_LINE_BYTES, keep="\t"), flush=True)
        code = running.returncode
    except FileNotFoundError:
        raise InputError("ssh is not installed: sudo apt install openssh-client") from None
    # 255: ssh itself failed, and has said why.
    return 2 if code == 255 else code


command = Command(
    "logs",
    LogsOptions,
    run,
    description="Show the log of the camera loop on a board (from the systemd journal).",
    examples="""\
  edgepose logs pi@raspberrypi.local
  edgepose logs pi@raspberrypi.local -f""",
    parameters=[
        Argument("board", "user@host[:port], or a name from ~/.ssh/config", metavar="HOST"),
        Option("-f", "--follow", is_flag=True, section="Output", help="show new lines until interrupted"),
        Option("-n", "--lines", default=50, type=Number(int, 0, 100_000), metavar="N", section="Output",
               help="show the last N lines (default: 50)"),
        *make_ssh_options(),
        *make_sudo_options(),
    ],
)  # fmt: skip
