"""The command `edgepose run`: find people in images, folders and videos."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ..decode import DecoderOptions
from ..errors import EdgePoseError, InputError, ModelError, OutputError
from ..estimator import PoseEstimator
from ..io import atomic, formats, images
from ..io.images import Video
from ..io.inputs import Input, describe_skipped_files, find_inputs, import_live_input, read_input
from ..io.messages import show_note, show_progress, show_traceback, show_warning
from ..io.record_file import RecordFile, RecordWriteError
from ..model import isolated_load, registry
from ..skeleton import Skeleton
from ..types import EstimateResult, Frame, Timings
from ..visualize.writer import DrawingWriter
from .command import Argument, Choice, Command, InputName, Number, Option, PathName
from .model_options import make_accuracy_options, make_model_options
from .signals import get_exit_code


@dataclass(frozen=True)
class RunOptions:
    """Values of the command line of `edgepose run`."""

    inputs: tuple[str, ...]
    model: str | None
    sha256: str | None
    json: str
    format: formats.Format
    draw: Path | None
    allow_untrained: bool
    min_score: float | None
    max_pixels: int
    seconds: float | None
    threads: int | None
    augment: bool
    scales: tuple[float, ...] | None


def run(options: RunOptions) -> int:
    """Run the model over all inputs. If the driver of a camera does not return then, the process ends at once.

    Returns:
        As `_run`.
    """
    inputs = [item for name in options.inputs for item in _find_inputs(name)]
    is_live = any(item.is_live for item in inputs)
    try:
        code = _run(options, inputs)
    except KeyboardInterrupt as end:
        if is_live:
            _end_with_drivers(get_exit_code(end))
        raise
    if is_live:
        _end_with_drivers(code)
    return code


def _end_with_drivers(code: int) -> None:
    """End the process if a camera driver does not return: a normal exit of Python would crash it."""
    live_input = import_live_input()
    if live_input.list_remaining_threads():
        live_input.end_process(code)


def _run(options: RunOptions, inputs: list[Input]) -> int:
    """Run the model over all inputs.

    If an input fails, it is reported by name, and the others are processed.

    Returns:
        0 done; 1 some inputs could not be read; 2 none could.
    """
    if options.format == "openpose" and Path(options.json).suffix.lower() in (".json", ".jsonl"):
        raise InputError(f"--json {options.json}: expected a folder; --format openpose writes one file per frame")
    failures: list[str] = []
    _refuse_overwriting(options, inputs)
    for line in describe_skipped_files(inputs):
        show_note(line)
    summary = _Summary()
    if len([item for item in inputs if item.address in ("-", "/dev/stdin")]) > 1:
        raise InputError("-: standard input is given twice")
    if all(item.error for item in inputs):
        failures = [item.error for item in inputs]
    else:
        _process(options, inputs, failures, summary)
    for message in failures:
        show_warning(message)
    if not failures:
        return 0
    if summary.frames:
        failed = min(len(failures), len(inputs))  # an input can fail twice: in drawing and in reading
        show_warning(f"{failed} of {_count_words(len(inputs), 'input', 'inputs')} failed")
    return 1 if summary.frames else 2


def _find_inputs(name: str) -> list[Input]:
    """Return the inputs of one argument. A missing input keeps its position: later inputs keep their numbers."""
    try:
        return find_inputs(name)
    except InputError as error:
        return [Input(name, None, error=str(error))]
    except (OSError, ValueError) as error:
        return [Input(name, None, error=_describe(repr(name), error))]


def _refuse_overwriting(options: RunOptions, inputs: list[Input]) -> None:
    """Raise InputError if an output file is also an input."""
    for item in inputs:
        if item.path is None:
            continue
        targets = [Path(options.json)] if options.json != "-" else []
        if options.draw is not None:
            targets += [options.draw / f"{item.path.stem}{suffix}" for suffix in (".jpg", ".png", ".mp4")]
        for target in targets:
            atomic.refuse_overwriting(target, item.path)


def _process(options: RunOptions, inputs: list[Input], failures: list[str], summary: _Summary) -> None:
    decoder_options = None if options.min_score is None else DecoderOptions(min_score=options.min_score)
    path = registry.find_model_file(options.model)
    sha256 = isolated_load.check_model(path, options.sha256)
    estimator = PoseEstimator(
        path, threads=options.threads, options=decoder_options, sha256=sha256,
        augment=options.augment, scales=options.scales or (1.0,),
    )  # fmt: skip
    if estimator.manifest.untrained and not options.allow_untrained:
        raise ModelError(
            f"{path}: the weights are random, made with --untrained to measure speed; "
            "use a trained model, or add --allow-untrained"
        )
    skeleton = estimator.manifest.skeleton_table
    if options.format == "coco":
        formats.check_coco_order(skeleton)
    with ExitStack() as stack:
        drawings = stack.enter_context(DrawingWriter(options.draw, skeleton)) if options.draw else None
        _write(options, inputs, _estimate_all(inputs, estimator, options, failures, summary, drawings),
               skeleton, summary)  # fmt: skip
    if summary.frames:
        show_note(summary.describe(estimator))


def _write(
    options: RunOptions,
    inputs: list[Input],
    results: Iterator[tuple[Frame, EstimateResult]],
    skeleton: Skeleton,
    summary: _Summary,
) -> None:
    """Write the results. Results before an error are kept."""
    kind: formats.Format = options.format
    to_folder = kind == "openpose" and options.json != "-"
    numbered = list(enumerate(inputs)) if kind == "coco" or to_folder else []
    names = {item.name: number for number, item in reversed(numbered) if _is_single(item)}
    ids = formats.CocoImageIds(reversed(names))
    if kind == "coco" and ids.warning:
        show_warning(ids.warning)
    if to_folder:
        folder = formats.OpenPoseFolder(Path(options.json), names)
        for frame, estimate in results:
            folder.write(frame, estimate)
        return
    if options.json == "-":
        is_live = any(item.is_live for item in inputs)
        write = _write_at_once if is_live else sys.stdout.write
        formats.write_results(kind, results, skeleton, write, ids)
        return
    stopped: BaseException | None = None
    with suppress(_NothingToWriteError), atomic.replace_file(Path(options.json)) as temporary:
        with RecordFile(temporary) as file:
            try:
                formats.write_results(kind, results, skeleton, file.write, ids)
            except (Exception, KeyboardInterrupt) as error:
                stopped = error
        if not summary.frames:
            raise _NothingToWriteError
    if isinstance(stopped, RecordWriteError):
        raise OutputError(f"{options.json}: {stopped}; the results before are in it")
    if stopped is not None:
        raise stopped


def _write_at_once(text: str) -> None:
    """Write to stdout without a delay: the reader of a camera wants each result when it is there."""
    sys.stdout.write(text)
    sys.stdout.flush()


class _NothingToWriteError(Exception):
    """Raised to discard the output file: no frame could be read."""


def _is_single(item: Input) -> bool:
    """Return True for a single image, and for an unreadable input whose suffix allows only one frame."""
    try:
        return item.kind == "image"
    except InputError:
        return not item.may_have_many_frames


def _estimate_all(
    inputs: list[Input],
    estimator: PoseEstimator,
    options: RunOptions,
    failures: list[str],
    summary: _Summary,
    drawings: DrawingWriter | None,
) -> Iterator[tuple[Frame, EstimateResult]]:
    total = _count_frames(inputs)
    with show_progress(total, "finding people", "frame") as progress:
        for source in inputs:
            drawn = drawings
            try:
                for frame in read_input(source, options.max_pixels, options.seconds):
                    estimate = estimator.estimate(frame.image, frame.channel_order)
                    summary.add(estimate)
                    yield frame, estimate
                    progress.update()
                    if drawn is not None and (problem := _draw_frame(drawn, source, frame, estimate)):
                        failures.append(problem)
                        drawn = None  # the poses of its other frames are still wanted
            except OutputError:  # from _draw_frame: the folder cannot be written
                raise
            except InputError as error:
                show_traceback()
                failures.append(str(error) if source.error else _describe(source.name, error))
            except Exception as error:  # whatever one input raises stays with that input
                show_traceback()
                failures.append(_describe(source.name, error))


def _draw_frame(drawings: DrawingWriter, source: Input, frame: Frame, estimate: EstimateResult) -> str:
    """Draw one frame; returns why it cannot be drawn, or "". Raises OutputError if the folder cannot be written."""
    try:
        drawings.add(frame, estimate, video=source.is_video, live=source.is_live)
    except OutputError:
        raise
    except Exception as error:
        return _describe(source.name, error)
    return ""


def _describe(name: str, error: Exception) -> str:
    """Format an error as one line with the name of the input."""
    text = " ".join(str(getattr(error, "err", "") or error).split())
    if isinstance(error, MemoryError):
        return f"{name}: not enough memory"
    if isinstance(error, EdgePoseError) and name in text:
        return text
    if isinstance(error, (EdgePoseError, ValueError)):
        return f"{name}: {text}"
    return f"{name}: {type(error).__name__}: {text}" if text else f"{name}: {type(error).__name__}"


def _count_frames(inputs: list[Input]) -> int | None:
    """Count the frames of all inputs; None if a video does not give its length."""
    total = 0
    for source in inputs:
        if source.is_live:
            return None
        if not source.may_have_many_frames or not source.is_video or source.path is None:
            total += 1
            continue
        try:
            with Video(source.path) as video:
                if not video.frame_count:
                    return None
                total += video.frame_count
        except InputError:
            return None
    return total


class _Summary:
    """People and stage times over all frames."""

    def __init__(self) -> None:
        self.people = 0
        self.timings: list[Timings] = []

    @property
    def frames(self) -> int:
        return len(self.timings)

    def add(self, estimate: EstimateResult) -> None:
        self.people += len(estimate)
        self.timings.append(estimate.timings_ms)

    def describe(self, estimator: PoseEstimator) -> str:
        medians = Timings(*(statistics.median(stage) for stage in zip(*self.timings, strict=True)))
        stages = ", ".join(f"{name} {value:.2f}" for name, value in medians._asdict().items())
        if estimator.passes > 1:
            stages = (
                f"{estimator.passes} inferences with preprocessing {medians.inference:.2f}, decode {medians.decode:.2f}"
            )
        return (
            f"{_count_words(self.people, 'person', 'people')} in {_count_words(self.frames, 'frame', 'frames')}; "
            f"median {medians.total:.1f} ms per frame ({stages}), {estimator.interpreter_name}"
        )


def _count_words(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


command = Command(
    "run",
    RunOptions,
    run,
    description="""\
Find people in images, folders of images, videos, cameras, or a synthetic scene (synthetic:5).
A camera is read until Ctrl-C, or for --seconds. For a service that runs for days use `edgepose camera`.
Writes one JSON line per image or frame to stdout. docs/reference/message.md describes the line,
docs/reference/output.md the other formats.""",
    exit_codes={
        1: "some inputs could not be read; the results of the others are written",
        2: "wrong arguments, no input could be read, or the output cannot be written",
        130: "interrupted by Ctrl-C; the results so far are written",
    },
    examples="""\
  edgepose run photo.jpg --draw out/
  edgepose run -m pose.tflite holiday/ clip.mp4 --json poses.jsonl --draw out/
  edgepose run photo.jpg --augment --scales 1,1.3 --draw out/
  edgepose run 0 --seconds 60 --draw out/
  rpicam-vid -t 0 --codec mjpeg -o - | edgepose run -
  edgepose run -m pose.tflite synthetic:5 --draw out/ --format openpose""",
    parameters=[
        Argument("inputs", "image, folder, video, camera (0, /dev/video0, picamera2, rtsp://, http://), "
                 "- (JPEG images from stdin), or synthetic[:PEOPLE]", nargs=-1, required=True, type=InputName(),
                 metavar="INPUT..."),
        *make_model_options(),
        *make_accuracy_options(),
        Option("--allow-untrained", is_flag=True, section="Model",
               help="allow models with random (untrained) weights"),
        Option("--min-score", type=Number(float, 0, 1), metavar="S", section="Model",
               help="minimum pose score, 0 to 1 (default: stored in the model)"),
        Option("--json", default="-", type=InputName(), metavar="FILE", section="Output",
               help="output file (default: -, stdout); with --format openpose a folder, one file per frame"),
        Option("--format", default="edgepose", type=Choice(get_args(formats.Format)), section="Output",
               help="output format (default: edgepose)"),
        Option("--draw", type=PathName("dir"), metavar="DIR", section="Output",
               help="write images and videos with the skeletons drawn"),
        Option("--seconds", type=Number(float, 0.001, 1e9), metavar="S", section="Input",
               help="stop reading a camera, a stream or stdin after this time (default: Ctrl-C)"),
        Option("--max-pixels", default=images.MAX_PIXELS, type=Number(int, 1, images.OPENCV_MAX_PIXELS), metavar="N",
               section="Input",
               help=f"refuse larger images and video frames before decoding (default: {images.MAX_PIXELS})"),
    ],
)  # fmt: skip
