"""The command `edgepose camera`: run the headless camera loop."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from ...runtime.cli.command import Choice, Command, InputName, ModelName, Option, PathName
from ...runtime.cli.model_options import make_model_options
from ...runtime.errors import EdgePoseError
from ...runtime.io.atomic import expand_home
from ...runtime.io.messages import Verbosity, get_verbosity
from .. import config
from ..camera.build_group import build_group
from ..camera.build_loop import build_loop
from ..camera.group import CameraGroup
from ..camera.loop import Loop
from ..camera.malloc import limit_arenas
from ..camera.shutdown import Shutdown, end_process
from ..config import CameraConfig, Config
from ..monitor.log_filter import RepeatFilter
from ..monitor.stats import Stats
from ..sinks.base import LOG
from ..sinks.privacy import Privacy
from ..sources.factory import SOURCE_EXAMPLES
from ..sources.names import has_name

_LOG_LEVELS = {
    Verbosity.QUIET: logging.WARNING,
    Verbosity.NORMAL: logging.INFO,
    Verbosity.VERBOSE: logging.DEBUG,
}


@dataclass(frozen=True)
class CameraOptions:
    """Values of the command line of `edgepose camera`; None and () leave the setting of the configuration file."""

    model: str | None
    when_hot: tuple[str, ...]
    sha256: str | None
    threads: int | None
    source: tuple[str, ...]
    fps: float | None
    every_nth: int | None
    no_track: bool
    sink: tuple[str, ...]
    privacy: Privacy | None
    record: str | None
    clips: str | None
    name: str | None
    insecure: bool
    config: Path | None
    print_config: bool
    seconds: float | None


def run(options: CameraOptions) -> int:
    """Run the camera loop until it is stopped.

    Returns:
        0 done; 1 some image files could not be read; 2 the loop failed.
    """
    if options.print_config:
        print(config.EXAMPLE, end="")
        return 0
    settings = _merge_settings(options)
    if not settings.has_output:
        raise ValueError("no output: expected at least one --sink (- is stdout), or --record, or --clips")
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RepeatFilter())
    logging.basicConfig(level=_LOG_LEVELS[get_verbosity()], format="edgepose: %(message)s", handlers=[handler])
    limit_arenas()
    with config.name_lines(options.config):
        if settings.camera.sources:
            group = build_group(settings)
            loop: Loop | CameraGroup = group
            stats = {member.name: member.stats for member in group.members}
        else:
            loop, own = build_loop(settings)
            stats = {"": own}
    return _run(loop, stats, options.seconds)


def _run(loop: Loop | CameraGroup, stats: dict[str, Stats], seconds: float | None) -> int:
    """Run a loop, or those of several cameras, until they end; return the exit code."""
    code = 0
    with Shutdown(loop.stop):
        try:
            loop.run(seconds)
        except EdgePoseError as error:
            if not loop.list_remaining_threads():
                raise
            LOG.error("%s", " ".join(str(error).split()))
            code = 2
    for name, snapshot in ((name, one.take_snapshot()) for name, one in stats.items()):
        LOG.info(
            "%s%d frames, %d dropped, %d skipped, %d camera losses", f"{name}: " if name else "", snapshot.processed,
            snapshot.dropped, snapshot.skipped, snapshot.camera_losses,
        )  # fmt: skip
    if loop.unreadable_count:
        LOG.error("%d of the files could not be read (see above)", loop.unreadable_count)
        code = code or 1
    if loop.list_remaining_threads():
        end_process(code)
    return code


def _merge_settings(options: CameraOptions) -> Config:
    """Merge configuration file and command line, which overrides it. Raises ValueError for invalid settings."""
    settings = config.read(Path(expand_home(str(options.config)))) if options.config else Config()
    if options.seconds is not None and not options.seconds > 0:
        raise ValueError(f"--seconds: expected more than 0, got {options.seconds:g}")
    model, camera, loop, output = settings.model, settings.camera, settings.loop, settings.output
    settings = Config(
        replace(
            model,
            path=expand_home(options.model or model.path),
            threads=options.threads or model.threads,
            sha256=options.sha256 or model.sha256,
            when_hot=tuple(expand_home(path) for path in options.when_hot or model.when_hot),
        ),
        _merge_sources(camera, options.source),
        replace(
            loop,
            max_fps=options.fps if options.fps is not None else loop.max_fps,
            every_nth=options.every_nth if options.every_nth is not None else loop.every_nth,
            track=loop.track and not options.no_track,
            smooth=loop.smooth and not options.no_track,
        ),
        replace(
            output,
            name=options.name or output.name,
            sinks=tuple(options.sink or output.sinks),
            privacy=options.privacy or output.privacy,
            record=options.record or output.record,
            insecure=options.insecure or output.insecure,
        ),
        settings.events,
        replace(settings.clips, folder=options.clips or settings.clips.folder),
    )
    settings.check()
    return settings


def _merge_sources(camera: CameraConfig, sources: tuple[str, ...]) -> CameraConfig:
    """Use the sources of the command line if there are any; one source without a name is a single camera."""
    if len(sources) > 1 or (sources and has_name(sources[0])):
        return replace(camera, sources=sources)
    if sources:
        return replace(camera, source=expand_home(sources[0]), sources=())
    return replace(camera, source=expand_home(camera.source))


command = Command(
    "camera",
    CameraOptions,
    run,
    description="""\
Run the headless camera loop: find people in the frames of a camera until the process is stopped,
and send the poses to any number of sinks. A slow or unreachable sink does not slow down the loop.
docs/guides/camera.md describes sources, sinks and settings.""",
    examples="""\
  edgepose camera --source v4l2:0 --sink -
  edgepose camera -m small-int8.tflite --sink http://127.0.0.1:8080 --privacy blur
  edgepose camera -m small-int8.tflite --source v4l2:0 --sink mqtts://user@broker
  edgepose camera --source door=rtsp://10.0.0.9/1 --source yard=v4l2:0 --sink -
  edgepose camera --print-config > camera.toml; edgepose camera --config camera.toml""",
    exit_codes={1: "some images of a folder could not be read", 2: "wrong arguments, or the camera or a sink failed"},
    parameters=[
        *make_model_options(),
        Option("--when-hot", multiple=True, type=ModelName(), metavar="MODEL", section="Model",
               help="a faster model to use while the board is too hot; repeatable"),
        Option("--source", multiple=True, type=InputName(), metavar="[NAME=]SOURCE", section="Camera",
               help=f"{', '.join(SOURCE_EXAMPLES)} (default: picamera2); repeatable: several cameras in one process, "
                    "NAME is in every message"),
        Option("--fps", type=float, metavar="F", section="Camera", help="maximum FPS (default: no limit)"),
        Option("--every-nth", type=int, metavar="N", section="Camera",
               help="process only every N-th frame (default: 1)"),
        Option("--no-track", is_flag=True, section="Camera", help="no person tracking and no keypoint smoothing"),
        Option("--sink", multiple=True, type=InputName(), metavar="SINK", section="Output",
               help="-, jsonl:FILE, mqtt://, mqtts://, udp://, http://, webhook:URL, exec:PROGRAM; repeatable"),
        Option("--privacy", type=Choice(get_args(Privacy)), section="Output",
               help="how images that leave the process are changed; required for http, --record and --clips"),
        Option("--record", type=InputName(), metavar="VIDEO", section="Output",
               help="also write videos with the skeletons drawn: FILE.mp4?minutes=10&size=200MB&limit=2GB"),
        Option("--clips", type=InputName(), metavar="FOLDER", section="Output",
               help="write a video, snapshots and a JSON file per event of the rules ([clips] in the configuration)"),
        Option("--name", metavar="NAME", section="Output",
               help="name of this device in messages (default: EDGEPOSE_NAME, else the host name)"),
        Option("--insecure", is_flag=True, section="Output",
               help="allow a web page without a token that other machines can open"),
        Option("--config", type=PathName(), metavar="FILE.toml", section="Settings",
               help="configuration file; command-line options override it"),
        Option("--print-config", is_flag=True, section="Settings",
               help="print a commented configuration file and exit"),
        Option("--seconds", type=float, metavar="S", section="Settings",
               help="stop after this time, including the start of the loop (default: never)"),
    ],
)  # fmt: skip
