"""The command `edgepose events test`: run the rules of a configuration over a video and print the events."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import get_args

from ...runtime.cli.command import Argument, Checked, Choice, Command, InputName, Number, Option, PathName
from ...runtime.cli.model_options import make_model_options
from ...runtime.errors import InputError, OutputError
from ...runtime.io.atomic import expand_home, refuse_overwriting
from ...runtime.io.messages import show_progress
from ...runtime.io.video_writer import WRITABLE_SUFFIXES
from ...runtime.skeleton_table import suggest_name
from ..camera.shutdown import end_process
from ..config import Config, name_lines
from ..event_test.replay import Outcome, count_frames, run_recorded_poses, run_source
from ..event_test.report import Report, ReportSettings, print_summary
from ..event_test.rule_files import list_rules, read_rules
from ..monitor.log_filter import RepeatFilter
from ..sinks.privacy import Privacy

_DEFAULT_IMAGE_FPS = 10.0


@dataclass(frozen=True)
class EventsTestOptions:
    """Values of the command line of `edgepose events test`."""

    source: str
    config: Path
    model: str | None
    sha256: str | None
    threads: int | None
    json: bool
    draw: Path | None
    privacy: Privacy | None
    start: float | None
    seconds: float | None
    fps: float
    camera: str


def run(options: EventsTestOptions) -> int:
    """Run the rules over the source; print the events and a summary.

    Returns:
        0 done; 1 the source could not be read to its end.
    """
    settings = _merge_settings(options)
    _check_drawing(options)
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RepeatFilter())
    logging.basicConfig(level=logging.WARNING, format="edgepose: %(message)s", handlers=[handler])
    with name_lines(options.config):
        outcome = _run(options, settings)
    print_summary(outcome.report.summary.describe(), as_json=options.json)
    if outcome.has_remaining_threads:
        end_process(outcome.code)
    return outcome.code


def _run(options: EventsTestOptions, settings: Config) -> Outcome:
    is_recorded = _is_recorded(options.source)
    is_live = not (Path(options.source).exists() or set("*?[") & set(options.source))
    report_settings = ReportSettings(
        as_json=options.json,
        names=tuple(rule.name for _, rule in list_rules(settings.events)),
        video=options.draw,
        privacy=options.privacy or settings.output.privacy or "none",
        start_s=options.start,
        is_file=not is_live and not is_recorded,
        seconds=options.seconds,
    )
    total = None if is_recorded or options.seconds is not None else count_frames(options.source)
    with show_progress(total, "testing rules", "frame") as progress:
        if is_recorded:
            return run_recorded_poses(
                Path(options.source), settings, lambda get_time_s: Report(report_settings, get_time_s, progress),
                image_fps=options.fps, start_s=options.start, camera=options.camera,
            )  # fmt: skip
        return run_source(
            settings, lambda get_time_s: Report(report_settings, get_time_s, progress), image_fps=options.fps,
            seconds=options.seconds if is_live else None, start_s=options.start, camera=options.camera,
        )  # fmt: skip


def _is_recorded(source: str) -> bool:
    """Return True for a file with JSON lines."""
    return Path(source).suffix.lower() in (".jsonl", ".ndjson", ".json")


def _merge_settings(options: EventsTestOptions) -> Config:
    """Return the settings of the file with the source and model of the command line, checked."""
    settings = read_rules(options.config)
    _check_camera(options, settings)
    settings = replace(
        settings,
        model=replace(
            settings.model,
            path=expand_home(options.model or settings.model.path),
            sha256=options.sha256 or ("" if options.model else settings.model.sha256),
            threads=options.threads or settings.model.threads,
            when_hot=(), when_hot_sha256=(),
        ),
        # Frames of a file are read as fast as they are processed; the synthetic scene is a camera.
        camera=replace(
            settings.camera, source=options.source, sources=(), loop=False,
            real_time=options.source.startswith("synthetic"),
        ),
    )  # fmt: skip
    settings.check()
    return settings


def _check_camera(options: EventsTestOptions, settings: Config) -> None:
    """Raise InputError if neither the sources nor the rules of the file name the camera. Without names, any is right.

    Rules need not name every camera, but a camera that only recorded poses have is checked when they are read.
    """
    names = list(settings.camera.list_names())
    if not names and not _is_recorded(options.source):
        names = sorted({name for _, rule in list_rules(settings.events) for name in rule.cameras})
    if options.camera and names and options.camera not in names:
        raise InputError(
            f"--camera: {options.config} has no camera {options.camera[:64]!r}; {suggest_name(options.camera, names)}"
        )


def _check_drawing(options: EventsTestOptions) -> None:
    """Raise an error if the drawn video cannot be written, before anything is computed."""
    if options.draw is None:
        return
    if options.draw.suffix.lower() not in WRITABLE_SUFFIXES:
        raise InputError(f"--draw: expected a video ({', '.join(WRITABLE_SUFFIXES)}), got {options.draw}")
    if not options.draw.parent.is_dir():
        raise OutputError(f"--draw: {options.draw}: there is no folder {options.draw.parent}")
    refuse_overwriting(options.draw, Path(options.source))
    refuse_overwriting(options.draw, options.config)


def parse_start(text: str) -> float:
    """Return the Unix time of a local time such as `2026-05-04T07:30`. Raises ValueError."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"expected a time such as 2026-05-04T07:30, got {text!r}") from None


command = Command(
    "test",
    EventsTestOptions,
    run,
    description="""\
Run the rules of a configuration file over a video and print the events, with the tracker, filter and
rules of `edgepose camera`. Times are those of the frames. Of the configuration file, [model], [loop],
[events] and the privacy are used; nothing is sent to its sinks. To try rules quickly, record the poses
once with `edgepose run`, and use the .jsonl file as SOURCE: no network is needed then.""",
    exit_codes={1: "the source could not be read to its end; the events so far are printed"},
    examples="""\
  edgepose events test clip.mp4 --config camera.toml
  edgepose events test clip.mp4 --config camera.toml --draw events.mp4
  edgepose events test clip.mp4 --config camera.toml --start 2026-05-04T22:15 --json > events.jsonl
  edgepose events test v4l2:0 --config camera.toml --seconds 60
  edgepose run clip.mp4 --json poses.jsonl; edgepose events test poses.jsonl --config camera.toml""",
    parameters=[
        Argument("source", "video, folder or pattern of images, camera, or a .jsonl file with recorded poses",
                 type=InputName(), metavar="SOURCE"),
        Option("--config", type=PathName(), metavar="FILE.toml", section="Rules", required=True,
               help="configuration file with the rules"),
        Option("--start", type=Checked(parse_start, "time"), metavar="TIME", section="Rules",
               help="local time of the first frame, such as 2026-05-04T07:30, for schedules (default: now)"),
        Option("--camera", default="", metavar="NAME", section="Rules",
               help="name of the camera, for rules with `cameras` and for a .jsonl file of several cameras"),
        *make_model_options(),
        Option("--json", is_flag=True, section="Output",
               help="print the events as JSON lines (docs/reference/message.md), and the summary to stderr"),
        Option("--draw", type=PathName(), metavar="VIDEO", section="Output",
               help="write a video with zones, lines, counts, states and skeletons"),
        Option("--privacy", type=Choice(get_args(Privacy)), section="Output",
               help="how images of the drawn video are changed (default: as in the configuration, else none)"),
        Option("--seconds", type=Number(float, 0.001, 1e9), metavar="S", section="Input",
               help="stop after this time of the source (default: at its end, or Ctrl-C)"),
        Option("--fps", type=Number(float, 0.001, 1000), default=_DEFAULT_IMAGE_FPS, metavar="F", section="Input",
               help=f"frame rate of a folder or list of images (default: {_DEFAULT_IMAGE_FPS:g})"),
    ],
)  # fmt: skip
