"""`edgepose run`: poses out of pictures, folders and videos."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from . import files, formats, model_file, probe, registry
from .cli import Parser
from .decode import DecoderOptions
from .drawings import Drawings
from .errors import InputError, ModelError
from .estimator import PoseEstimator
from .images import Video
from .sources import Input, expand, frames
from .types import Estimate, Frame, Timings


def parser() -> argparse.ArgumentParser:
    """The subcommand's arguments."""
    parser = Parser(
        "run",
        "Finds the people in pictures, folders of pictures, videos, or a synthetic scene (synthetic:5).\n"
        "Writes one JSON line a picture or frame to stdout; docs/output.md has the schema.",
        "  edgepose run -m pose.tflite photo.jpg\n"
        "  edgepose run -m pose.tflite holiday/ clip.mp4 --json poses.jsonl --draw drawn/\n"
        "  edgepose run -m pose.tflite synthetic:5 --draw drawn/ --format openpose",
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="picture, folder, video, or synthetic[:PEOPLE]")
    parser.add_argument("-m", "--model", help="a .tflite, or the name of a model (default: edgepose-tiny)")
    parser.add_argument("--sha256", type=model_file.check_sha256, metavar="HASH", help="hash the network must have")
    parser.add_argument("--json", default="-", metavar="FILE", help="where the poses go; - is stdout (default)")
    parser.add_argument("--format", choices=get_args(formats.Format), default="edgepose", help="of the poses")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="write pictures and videos with the skeletons drawn")
    parser.add_argument("--allow-untrained", action="store_true", help="run a model with random weights all the same")
    parser.add_argument(
        "--min-score", type=float, metavar="S", help="drop people below this pose score (default: the model's own)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="of the interpreter (default: cores, at most four)")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Runs the model over all inputs. Inputs that cannot be read are named and left out; the exit code is then 2."""
    inputs = [found for name in arguments.inputs for found in expand(name)]
    options = None if arguments.min_score is None else DecoderOptions(min_score=arguments.min_score)
    path = registry.find_tflite(arguments.model)
    # With a hash that the user gave, the network is a trusted one.
    if arguments.sha256 is None:
        probe.check_first_load(path, model_file.load(path))
    estimator = PoseEstimator(path, threads=arguments.threads, options=options, sha256=arguments.sha256)
    if estimator.manifest.untrained and not arguments.allow_untrained:
        raise ModelError(
            f"{arguments.model}: its weights are random, made with --untrained for measuring speed; it finds nobody. "
            "Run it all the same with --allow-untrained"
        )
    skipped: list[str] = []
    summary = _Summary()
    with ExitStack() as stack:
        drawings = (
            stack.enter_context(Drawings(arguments.draw, estimator.manifest.skeleton_table)) if arguments.draw else None
        )
        results = _estimates(inputs, estimator, skipped)
        watched = _watched(results, summary, drawings)
        if arguments.json == "-":
            formats.document(arguments.format, watched, estimator.manifest.skeleton_table, sys.stdout.write)
        else:
            with files.atomic(Path(arguments.json)) as temporary, temporary.open("w", encoding="utf-8") as file:
                formats.document(arguments.format, watched, estimator.manifest.skeleton_table, file.write)
                if not summary.frames:
                    raise InputError(skipped[0])
    for message in skipped:
        print(f"edgepose: {message}", file=sys.stderr)
    if summary.frames:
        print(summary.text(estimator), file=sys.stderr)
    return 2 if skipped else 0


def _estimates(inputs: list[Input], estimator: PoseEstimator, skipped: list[str]) -> Iterator[tuple[Frame, Estimate]]:
    total = _count(inputs)
    with tqdm(total=total, unit="frame", disable=None if total is None or total > 3 else True) as progress:
        for source in inputs:
            try:
                for frame in frames(source):
                    yield frame, estimator.estimate(frame.image, frame.channel_order)
                    progress.update()
            except InputError as error:
                skipped.append(str(error))


def _count(inputs: list[Input]) -> int | None:
    """Frames to come, None where a video does not tell."""
    total = 0
    for source in inputs:
        if source.is_video and source.path is not None:
            try:
                with Video(source.path) as video:
                    if not video.count:
                        return None
                    total += video.count
            except InputError:
                continue
        else:
            total += 1
    return total


def _watched(
    results: Iterator[tuple[Frame, Estimate]], summary: _Summary, drawings: Drawings | None
) -> Iterator[tuple[Frame, Estimate]]:
    for frame, estimate in results:
        summary.add(estimate)
        if drawings is not None:
            drawings.add(frame, estimate)
        yield frame, estimate


class _Summary:
    """People and stage times over all frames."""

    def __init__(self) -> None:
        self.people = 0
        self.timings: list[Timings] = []

    @property
    def frames(self) -> int:
        return len(self.timings)

    def add(self, estimate: Estimate) -> None:
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
