"""`python -m edgepose.convert.distill`: a network and pictures make a better network; `make train-default`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from edgepose.runtime import files
from edgepose.runtime.errors import MissingExtraError, ModelError
from edgepose.runtime.manifest import InputSpec

from .. import fold, sources, statistics
from .. import graph as g
from ..calibration import CalibrationPictures
from ..convert import Options, convert
from ..convert_command import note
from ..simplify import simplify
from ..sources import Wanted


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, or goes on training, and writes `student.keras`, which `edgepose convert` takes."""
    arguments = _parser().parse_args(argv)
    try:
        from . import curves, train
    except ModuleNotFoundError as error:
        raise MissingExtraError("training", "train", error) from None
    from .pictures import read_samples

    output: Path = arguments.output
    files.make_folder(output)
    teacher = _teacher(arguments, output)
    start = _student(arguments)
    schedule = train.Schedule(arguments.views, arguments.batch, arguments.rate, quantised=arguments.quantised)
    training, checkpoint = train.Training(start, schedule), output / "checkpoint.pt"
    if checkpoint.is_file():
        training.load(checkpoint)
        note(f"going on at view {training.seen} of {schedule.views}")
    elif arguments.begin_with:
        note(f"{training.begin_with(arguments.begin_with)} layers taken from {arguments.begin_with}")
    train.limit_threads(arguments.threads)
    samples = read_samples(arguments.images, arguments.labels, arguments.ids)
    note(f"{len(samples)} pictures, {sum(len(sample.people) for sample in samples)} people annotated")
    train.train(training, samples, teacher, checkpoint, note, arguments.workers, arguments.seconds)
    curves.plot(training.losses, output / "loss.png")
    from ..keras_model import to_keras

    with files.atomic(output / "student.keras") as temporary:
        whole = temporary.with_suffix(".keras")
        to_keras(training.average.to_graph()).save(whole)
        whole.replace(temporary)
    note(f"{output / 'student.keras'}: after {training.seen} views")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edgepose.convert.distill", description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures, searched through")
    parser.add_argument("--labels", type=Path, required=True, help="folder of YOLO-pose rows, a text a picture")
    parser.add_argument("--ids", type=Path, help="numbers of the pictures that may be used")
    parser.add_argument("--calibration", type=Path, required=True, help="some 50 other pictures")
    parser.add_argument("--teacher", default="human-pose-estimation-0001", help="what `edgepose convert` takes")
    parser.add_argument("--student", default="mobilenet_v2_small", help="what `edgepose convert` takes")
    parser.add_argument("--begin-with", type=Path, help="checkpoint of another training, for the layers both have")
    parser.add_argument("--stages", type=int, default=2, help="of the student")
    parser.add_argument("--size", type=int, default=288, help="of a view, in pixels: a multiple of 16")
    parser.add_argument("--views", type=int, default=40_000, help="to be looked at in all")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3, help="of learning, at its highest")
    parser.add_argument(
        "--quantised", type=float, default=0.25, help="share of views with simulated integers, at the end"
    )
    parser.add_argument("--seconds", type=float, help="end after so long; the next call goes on")
    parser.add_argument("--threads", type=int, help="of the student")
    parser.add_argument("--workers", type=int, default=1, help="processes that make lessons")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for checkpoint, curve and result")
    return parser


def _teacher(arguments: argparse.Namespace, output: Path) -> Path:
    """The teacher for square views, in integers: a quarter of the time for half a point of AP."""
    path = output / f"teacher-{arguments.size}.tflite"
    if not path.is_file():
        size = (arguments.size, arguments.size)
        options = Options(precision="int8", input_size=size, calibration=arguments.calibration)
        convert(sources.find(arguments.teacher), path, options, note)
    return path


def _student(arguments: argparse.Namespace) -> g.Graph:
    """Where training starts: published weights, repaired and folded."""
    source = sources.find(arguments.student)
    graph = source.load(Wanted(stages=arguments.stages)).graph
    if statistics.training_layers(graph):
        pictures = CalibrationPictures(arguments.calibration, InputSpec("", *source.default_size))
        graph = statistics.fix(graph, pictures.batches("measuring batch statistics"))
    graph = simplify(fold.fold(graph))
    if unknown := [node.name for node in graph.nodes.values() if isinstance(node, g.Affine | g.BatchNorm | g.MaxPool)]:
        raise ModelError(f"{arguments.student}: cannot be trained here: {unknown[0]}")
    return graph


if __name__ == "__main__":
    raise SystemExit(main())
