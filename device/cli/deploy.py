"""The command `edgepose deploy`: install a release on one or many boards."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...runtime.cli.command import Command, ModelName, Number, Option, PathName
from ...runtime.io.messages import show_note
from ..deploy import fleet, hosts, rollout, staging
from .board_access import RootAccess, get_access, make_board_argument, make_root_access_options

_SOURCE = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class DeployOptions(RootAccess):
    """Values of the command line of `edgepose deploy`."""

    model: str | None
    config: Path | None
    secret: tuple[str, ...]
    dry_run: bool
    batch: int
    health_seconds: int
    keep: int
    wheels: Path | None
    offline: bool


def run(options: DeployOptions) -> int:
    """Deploy to all boards.

    Returns:
        0 done; 1 at least one board failed.
    """
    targets = hosts.parse(options.boards)
    access = get_access(options)
    fleet.prepare_gevent()
    import platformdirs

    settings = rollout.Settings(
        wheels=(options.wheels,) if options.wheels else (Path("dist"), _SOURCE / "dist"),
        cache=Path(platformdirs.user_cache_dir("edgepose")),
        offline=options.offline,
        dry_run=options.dry_run,
        health_s=options.health_seconds,
        kept_releases=options.keep,
        batch_size=options.batch,
    )
    with tempfile.TemporaryDirectory(prefix="edgepose-") as folder:
        content = staging.prepare_bundle(options.model, options.config, options.secret, Path(folder))
        outcome = rollout.roll_out(targets, content, access, settings, show_note)
    for line in rollout.format_results(outcome, targets):
        print(line)
    return 1 if outcome.problems else 0


command = Command(
    "deploy",
    DeployOptions,
    run,
    description="""\
Install model, settings and everything they need on boards over ssh, and start the camera loop at boot.
Safe to repeat: if nothing changed, nothing is done. If a release is not healthy, the board goes back to
the release before it. docs/getting-started/raspberry-pi.md starts with a new SD card.""",
    examples="""\
  edgepose deploy pi@raspberrypi.local -m small-int8.tflite
  edgepose deploy pi@raspberrypi.local -m small-int8.tflite \\
      --config camera.toml --secret EDGEPOSE_HTTP_TOKEN
  edgepose deploy @shop.txt --config camera.toml --dry-run
  edgepose deploy @shop.txt --ask-sudo-password""",
    exit_codes={1: "a board failed, or does not answer"},
    parameters=[
        make_board_argument(),
        Option("-m", "--model", type=ModelName(), metavar="MODEL", section="Release",
               help="a .tflite file, or the name of a model (default: edgepose-tiny)"),
        Option("--config", type=PathName(), metavar="FILE.toml", section="Release",
               help="configuration file of the loop, see `edgepose camera --print-config`"),
        Option("--secret", multiple=True, metavar="NAME", section="Release",
               help="an environment variable to pass to the loop, such as EDGEPOSE_HTTP_TOKEN; repeatable"),
        Option("--wheels", type=PathName("dir"), metavar="DIR", section="Release",
               help="folder with the wheels of edgepose (default: dist/, where `make wheels` writes them)"),
        Option("--offline", is_flag=True, section="Release", help="never download wheels"),
        Option("--dry-run", is_flag=True, section="Rollout", help="show what would be done, and change nothing"),
        Option("--batch", default=10, type=Number(int, 1, 100), metavar="N", section="Rollout",
               help="boards at a time, after the first one is healthy (default: 10)"),
        Option("--health-seconds", default=20, type=Number(int, 1, 600), metavar="S", section="Rollout",
               help="how long the release must run before it is kept (default: 20)"),
        Option("--keep", default=3, type=Number(int, 2, 100), metavar="N", section="Rollout",
               help="number of releases kept on a board (default: 3)"),
        *make_root_access_options(),
    ],
)  # fmt: skip
