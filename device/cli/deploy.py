"""`edgepose deploy`: a release to one or many boards."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from ...runtime.cli.main import Parser
from ...runtime.io.printable import printable
from ..deploy import fleet, host_keys, hosts, rollout, staging

_SOURCE = Path(__file__).resolve().parent.parent.parent


def add_access(parser: argparse.ArgumentParser) -> None:
    """Arguments of every command that talks to boards."""
    parser.add_argument(
        "boards",
        nargs="+",
        metavar="HOST",
        help="user@host[:port], a name of ~/.ssh/config, or @FILE with one a line, as HOST or HOST name=NAME",
    )
    add_ssh(parser)
    parser.add_argument("--accept-new", action="store_true", help="trust boards whose host key is not known yet")


def add_ssh(parser: argparse.ArgumentParser) -> None:
    """Arguments that ssh itself would take."""
    parser.add_argument("-i", "--identity", type=Path, metavar="KEY", help="private key (default: as ssh)")
    parser.add_argument("-F", "--ssh-config", type=Path, metavar="FILE", help="in place of ~/.ssh/config")


def access_of(arguments: argparse.Namespace) -> fleet.Access:
    """How boards are reached; asks about unknown ones where somebody can answer."""
    ask = host_keys.ask_user if sys.stdin.isatty() else None
    return fleet.Access(arguments.identity, arguments.ssh_config, arguments.accept_new, ask)


def parser() -> argparse.ArgumentParser:
    """The subcommand's arguments."""
    parser = Parser(
        "deploy",
        "Installs model, settings and everything they need on boards, over ssh, and starts the camera loop at boot.\n"
        "Safe to repeat: where nothing changed, nothing is done. A release that is not healthy gives way to the one\n"
        "before it. docs/raspberry-pi.md begins with a flashed card.",
        "  edgepose deploy pi@raspberrypi.local -m small-int8.tflite\n"
        "  edgepose deploy pi@raspberrypi.local -m small-int8.tflite \\\n"
        "      --config camera.toml --secret EDGEPOSE_HTTP_TOKEN\n"
        "  edgepose deploy @shop.txt --config camera.toml --dry-run",
    )
    add_access(parser)
    parser.add_argument("-m", "--model", help="a .tflite, or the name of a model (default: edgepose-tiny)")
    parser.add_argument(
        "--config", type=Path, metavar="FILE.toml", help="settings of the loop, see edgepose camera --print-config"
    )
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAME",
        help="a variable of this environment that the loop shall have, such as EDGEPOSE_HTTP_TOKEN",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument(
        "--batch", type=int, default=10, metavar="N", help="boards at a time, once the first is healthy (default: 10)"
    )
    parser.add_argument(
        "--health-seconds",
        type=int,
        default=20,
        metavar="S",
        help="how long a release must run to be kept (default: 20)",
    )
    parser.add_argument("--keep", type=int, default=3, metavar="N", help="releases kept on a board (default: 3)")
    parser.add_argument(
        "--wheels",
        type=Path,
        metavar="DIR",
        help="folder with edgepose's own wheels (default: dist/ where make wheels put them)",
    )
    parser.add_argument(
        "--offline", action="store_true", help="never ask the package index, not even where wheels are missing here"
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Deploys; 1 where any board failed."""
    for name, least, most in (("batch", 1, 100), ("health_seconds", 1, 600), ("keep", 2, 100)):
        if not least <= getattr(arguments, name) <= most:
            raise ValueError(f"--{name.replace('_', '-')}: expected {least} to {most}, got {getattr(arguments, name)}")
    targets = hosts.parse(arguments.boards)
    fleet.prepare()
    import platformdirs

    settings = rollout.Settings(
        wheels=(arguments.wheels,) if arguments.wheels else (Path("dist"), _SOURCE / "dist"),
        cache=Path(platformdirs.user_cache_dir("edgepose")),
        offline=arguments.offline,
        dry_run=arguments.dry_run,
        health_s=arguments.health_seconds,
        keep=arguments.keep,
        batch=arguments.batch,
    )
    with tempfile.TemporaryDirectory(prefix="edgepose-") as folder:
        content = staging.prepare(arguments.model, arguments.config, arguments.secret, Path(folder))
        outcome = rollout.roll_out(targets, content, access_of(arguments), settings, note)
    for line in rollout.lines(outcome, targets):
        print(line)
    return 1 if outcome.problems else 0


def note(message: str) -> None:
    """Tells the user what is being done; a board's words are in it."""
    print(f"edgepose: {printable(message)}", file=sys.stderr, flush=True)
