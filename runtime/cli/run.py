"""`edgepose run`: poses out of images, folders and videos."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from ..decode import DecoderOptions
from ..errors import EdgePoseError, InputError, ModelError, OutputError
from ..estimator import PoseEstimator
from ..io import atomic, formats, images
from ..io.images import Video
from ..io.inputs import Input, describe_left_out, expand, frames
from ..io.record_file import RecordFile, RecordWriteError
from ..model import container, isolated_load, registry
from ..skeleton import Skeleton
from ..types import EstimateResult, Frame, Timings
from ..visualize.writer import Drawings
from .main import Parser


def parser() -> argparse.ArgumentParser:
    """The subcommand's arguments."""
    parser = Parser(
        "run",
        "Find people in images, folders of images, videos, or a synthetic scene (synthetic:5).\n"
        "Writes one JSON line per image or frame to stdout; docs/output.md has the schema.\n"
        "Exit codes: 0 done; 1 some inputs could not be read; 2 wrong use, or no input could be read.",
        "  edgepose run -m pose.tflite photo.jpg\n"
        "  edgepose run -m pose.tflite holiday/ clip.mp4 --json poses.jsonl --draw drawn/\n"
        "  edgepose run -m pose.tflite synthetic:5 --draw drawn/ --format openpose",
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image, folder, video, or synthetic[:PEOPLE]")
    parser.add_argument("-m", "--model", help="a .tflite, or the name of a model (default: edgepose-tiny)")
    parser.add_argument("--sha256", type=container.check_sha256, metavar="HASH", help="SHA-256 the network must have")
    parser.add_argument(
        "--json",
        default="-",
        metavar="FILE",
        help="output file; - is stdout (default). With --format openpose a folder, one file per frame",
    )
    parser.add_argument("--format", choices=get_args(formats.Format), default="edgepose", help="output format")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="write images and videos with the skeletons drawn")
    parser.add_argument("--allow-untrained", action="store_true", help="allow models with random (untrained) weights")
    parser.add_argument(
        "--min-score", type=float, metavar="S", help="drop people below this pose score (default: the model's own)"
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=images.MAX_PIXELS,
        metavar="N",
        help="refuse larger images and video frames before decoding (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="of the interpreter (default: cores, at most four)")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the model over all inputs.

    Whatever goes wrong with one input is reported with its name, and the others are done.

    Returns:
        0 done; 1 some inputs could not be read; 2 none could.
    """
    if not 0 < arguments.max_pixels <= images.MAX_PIXELS_OPENCV:
        raise InputError(f"--max-pixels {arguments.max_pixels}: expected 1 to {images.MAX_PIXELS_OPENCV}")
    if arguments.format == "openpose" and Path(arguments.json).suffix.lower() in (".json", ".jsonl"):
        raise InputError(f"--json {arguments.json}: expected a folder; --format openpose writes one file per frame")
    failures: list[str] = []
    inputs = [item for name in arguments.inputs for item in _expand(name)]
    _refuse_overwriting(arguments, inputs)
    for line in describe_left_out(inputs):
        print(f"edgepose: {line}", file=sys.stderr)
    summary = _Summary()
    if all(item.error for item in inputs):
        failures = [item.error for item in inputs]
    else:
        _process(arguments, inputs, failures, summary)
    for message in failures:
        print(f"edgepose: {message}", file=sys.stderr)
    if not failures:
        return 0
    if summary.frames:
        failed = min(len(failures), len(inputs))  # an input can fail twice: in drawing and in reading
        print(f"edgepose: {failed} of {_counted(len(inputs), 'input', 'inputs')} failed", file=sys.stderr)
    return 1 if summary.frames else 2


def _expand(name: str) -> list[Input]:
    """The inputs behind one argument. One that is not there keeps its place: those after it keep their numbers."""
    try:
        return expand(name)
    except InputError as error:
        return [Input(name, None, error=str(error))]
    except (OSError, ValueError) as error:
        return [Input(name, None, error=_describe(repr(name), error))]


def _refuse_overwriting(arguments: argparse.Namespace, inputs: list[Input]) -> None:
    """Raise InputError where an output file is one of the inputs."""
    for item in inputs:
        if item.path is None:
            continue
        targets = [Path(arguments.json)] if arguments.json != "-" else []
        if arguments.draw is not None:
            targets += [arguments.draw / f"{item.path.stem}{suffix}" for suffix in (".jpg", ".png", ".mp4")]
        for target in targets:
            atomic.refuse_overwriting(target, item.path)


def _process(arguments: argparse.Namespace, inputs: list[Input], failures: list[str], summary: _Summary) -> None:
    options = None if arguments.min_score is None else DecoderOptions(min_score=arguments.min_score)
    path = registry.find_tflite(arguments.model)
    sha256 = isolated_load.check_model(path, arguments.sha256)
    estimator = PoseEstimator(path, threads=arguments.threads, options=options, sha256=sha256)
    if estimator.manifest.untrained and not arguments.allow_untrained:
        raise ModelError(
            f"{arguments.model}: its weights are random, made with --untrained for measuring speed; it finds nobody. "
            "Run it all the same with --allow-untrained"
        )
    with ExitStack() as stack:
        skeleton = estimator.manifest.skeleton_table
        drawings = stack.enter_context(Drawings(arguments.draw, skeleton)) if arguments.draw else None
        _write(arguments, inputs, _estimates(inputs, estimator, arguments.max_pixels, failures, summary, drawings),
               skeleton, summary)  # fmt: skip
    if summary.frames:
        print(summary.text(estimator), file=sys.stderr)


def _write(
    arguments: argparse.Namespace,
    inputs: list[Input],
    results: Iterator[tuple[Frame, EstimateResult]],
    skeleton: Skeleton,
    summary: _Summary,
) -> None:
    """Write the results. Those that came before an error are kept."""
    kind: formats.Format = arguments.format
    to_folder = kind == "openpose" and arguments.json != "-"
    numbered = list(enumerate(inputs)) if kind == "coco" or to_folder else []
    names = {item.name: number for number, item in reversed(numbered) if _is_single(item)}
    ids = formats.CocoImageIds(reversed(names))
    if kind == "coco" and ids.warning:
        print(f"edgepose: {ids.warning}", file=sys.stderr)
    if to_folder:
        folder = formats.OpenPoseFolder(Path(arguments.json), names)
        for frame, estimate in results:
            folder.write(frame, estimate)
        return
    if arguments.json == "-":
        formats.document(kind, results, skeleton, sys.stdout.write, ids)
        return
    stopped: BaseException | None = None
    with suppress(_NothingToWriteError), atomic.atomic(Path(arguments.json)) as temporary:
        with RecordFile(temporary) as file:
            try:
                formats.document(kind, results, skeleton, file.write, ids)
            except (Exception, KeyboardInterrupt) as error:
                stopped = error
        if not summary.frames:
            raise _NothingToWriteError
    if isinstance(stopped, RecordWriteError):
        raise OutputError(f"{arguments.json}: {stopped}; the results before are in it")
    if stopped is not None:
        raise stopped


class _NothingToWriteError(Exception):
    """No frame could be read: no file is written."""


def _is_single(item: Input) -> bool:
    """Whether an input is one image; one that cannot be read is taken for one."""
    try:
        return item.kind == "image"
    except InputError:
        return not item.may_have_many_frames


def _estimates(
    inputs: list[Input],
    estimator: PoseEstimator,
    max_pixels: int,
    failures: list[str],
    summary: _Summary,
    drawings: Drawings | None,
) -> Iterator[tuple[Frame, EstimateResult]]:
    total = _count(inputs)
    with tqdm(total=total, unit="frame", disable=None if total is None or total > 3 else True) as progress:
        for source in inputs:
            drawn = drawings
            try:
                for frame in frames(source, max_pixels):
                    estimate = estimator.estimate(frame.image, frame.channel_order)
                    summary.add(estimate)
                    yield frame, estimate
                    progress.update()
                    if drawn is not None and (problem := _draw(drawn, source, frame, estimate)):
                        failures.append(problem)
                        drawn = None  # the poses of its other frames are still wanted
            except OutputError:  # from _draw: the folder cannot be written
                raise
            except InputError as error:
                failures.append(str(error) if source.error else _describe(source.name, error))
            except Exception as error:  # whatever one input raises stays with that input
                failures.append(_describe(source.name, error))


def _draw(drawings: Drawings, source: Input, frame: Frame, estimate: EstimateResult) -> str:
    """Draw one frame; returns why it cannot be drawn, or "". Raises OutputError if the folder cannot be written."""
    try:
        drawings.add(frame, estimate, video=source.is_video)
    except OutputError:
        raise
    except Exception as error:
        return _describe(source.name, error)
    return ""


def _describe(name: str, error: Exception) -> str:
    """One line with the name of the input."""
    text = " ".join(str(getattr(error, "err", "") or error).split())
    if isinstance(error, MemoryError):
        return f"{name}: not enough memory"
    if isinstance(error, EdgePoseError) and name in text:
        return text
    if isinstance(error, (EdgePoseError, ValueError)):
        return f"{name}: {text}"
    return f"{name}: {type(error).__name__}: {text}" if text else f"{name}: {type(error).__name__}"


def _count(inputs: list[Input]) -> int | None:
    """Frames to come, None if a video does not say."""
    total = 0
    for source in inputs:
        if not source.may_have_many_frames or not source.is_video or source.path is None:
            total += 1
            continue
        try:
            with Video(source.path) as video:
                if not video.count:
                    return None
                total += video.count
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

    def text(self, estimator: PoseEstimator) -> str:
        medians = Timings(*(statistics.median(stage) for stage in zip(*self.timings, strict=True)))
        stages = ", ".join(f"{name} {value:.2f}" for name, value in medians._asdict().items())
        return (
            f"{_counted(self.people, 'person', 'people')} in {_counted(self.frames, 'frame', 'frames')}; "
            f"median {medians.total:.1f} ms a frame ({stages}), {estimator.interpreter_name}"
        )


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
