"""`edgepose camera`: the headless camera loop."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

from ...runtime.cli.main import Parser
from ...runtime.errors import EdgePoseError
from ...runtime.io.atomic import expand_home
from ...runtime.model import container
from .. import config
from ..camera.build_loop import build_loop
from ..camera.malloc import limit_arenas
from ..camera.shutdown import Shutdown, end_process
from ..config import Config
from ..monitor.log_filter import RepeatFilter
from ..sinks.base import LOG
from ..sinks.privacy import Privacy
from ..sources.factory import KINDS


def parser() -> argparse.ArgumentParser:
    """The subcommand's arguments."""
    parser = Parser(
        "camera",
        "Finds people in what a camera sees, without a screen, until it is told to stop. Poses go to any number of\n"
        "sinks; a slow or dead one never slows the loop. docs/camera.md has the details.",
        "  edgepose camera -m small-int8.tflite --sink -\n"
        "  edgepose camera -m small-int8.tflite --sink http://127.0.0.1:8080 --privacy blur\n"
        "  edgepose camera -m small-int8.tflite --source v4l2:0 --sink mqtts://user@broker\n"
        "  edgepose camera --print-config > camera.toml; edgepose camera --config camera.toml",
    )
    parser.add_argument("-m", "--model", help="a .tflite, or the name of a model (default: edgepose-tiny)")
    parser.add_argument(
        "--when-hot", action="append", metavar="MODEL", help="a cheaper model for when the board is too hot; repeatable"
    )
    parser.add_argument(
        "--sha256", type=container.check_sha256, metavar="HASH", help="SHA-256 the network of --model must have"
    )
    parser.add_argument("--source", metavar="SOURCE", help=f"{', '.join(KINDS)} (default: picamera2)")
    parser.add_argument(
        "--sink", action="append", metavar="SINK", help="-, jsonl:FILE, mqtt://, mqtts://, udp://, http://"
    )
    parser.add_argument("--name", help="name of this device in messages (default: EDGEPOSE_NAME, else the host name)")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings; command-line options override them")
    parser.add_argument("--print-config", action="store_true", help="print a commented file of settings and end")
    parser.add_argument("--threads", type=int, metavar="N", help="of the interpreter (default: cores, at most four)")
    parser.add_argument("--fps", type=float, metavar="F", help="maximum FPS")
    parser.add_argument("--every-nth", type=int, metavar="N", help="look at every N-th frame only")
    parser.add_argument("--no-track", action="store_true", help="neither number people across frames nor smooth them")
    parser.add_argument("--privacy", choices=get_args(Privacy), help="of images that leave the process")
    parser.add_argument("--record", metavar="VIDEO", help="also write a video with the skeletons")
    parser.add_argument("--insecure", action="store_true", help="a page that others can reach without a token")
    parser.add_argument("--seconds", type=float, metavar="S", help="end after so long (default: never)")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Runs the loop; 0 at its end."""
    if arguments.print_config:
        print(config.EXAMPLE, end="")
        return 0
    settings = _settings(arguments)
    if not settings.output.sinks and not settings.output.record:
        raise ValueError("expected at least one --sink (- for stdout), or --record")
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RepeatFilter())
    logging.basicConfig(level=logging.INFO, format="edgepose: %(message)s", handlers=[handler])
    limit_arenas()
    loop, stats = build_loop(settings)
    code = 0
    with Shutdown(loop.stop):
        try:
            loop.run(arguments.seconds)
        except EdgePoseError as error:
            if not loop.remaining_threads():
                raise
            LOG.error("%s", " ".join(str(error).split()))
            code = 2
    snapshot = stats.snapshot()
    LOG.info(
        "%d frames, %d dropped, %d skipped, %d camera losses", snapshot.processed, snapshot.dropped, snapshot.skipped,
        snapshot.camera_losses,
    )  # fmt: skip
    if loop.unreadable:
        LOG.error("%d of the files could not be read (see above)", loop.unreadable)
        code = code or 1
    if loop.remaining_threads():
        end_process(code)
    return code


def _settings(arguments: argparse.Namespace) -> Config:
    """The file's settings with the command line's over them. Raises ValueError where they make no sense."""
    settings = config.read(Path(expand_home(str(arguments.config)))) if arguments.config else Config()
    if arguments.seconds is not None and not arguments.seconds > 0:
        raise ValueError(f"--seconds: expected more than 0, got {arguments.seconds:g}")
    model, camera, loop, output = settings.model, settings.camera, settings.loop, settings.output
    settings = Config(
        replace(
            model,
            path=expand_home(arguments.model or model.path),
            threads=arguments.threads or model.threads,
            sha256=arguments.sha256 or model.sha256,
            when_hot=tuple(expand_home(path) for path in arguments.when_hot or model.when_hot),
        ),
        replace(camera, source=expand_home(camera.source if arguments.source is None else arguments.source)),
        replace(
            loop,
            max_fps=arguments.fps if arguments.fps is not None else loop.max_fps,
            every_nth=arguments.every_nth if arguments.every_nth is not None else loop.every_nth,
            track=loop.track and not arguments.no_track,
            smooth=loop.smooth and not arguments.no_track,
        ),
        replace(
            output,
            name=arguments.name or output.name,
            sinks=tuple(arguments.sink or output.sinks),
            privacy=arguments.privacy or output.privacy,
            record=arguments.record or output.record,
            insecure=arguments.insecure or output.insecure,
        ),
    )
    settings.check()
    return settings
