"""`python -m edgepose.convert.distill prepare | train | export`: published networks and images make a better network.

`prepare` (needs TensorFlow) makes a kit: the images in one archive of some 45 MB, teacher and student as plain
weights. `train` needs PyTorch alone, takes a GPU where there is one, may be interrupted and goes on; `export` writes
what `edgepose convert` takes. `make train-default` does all three.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ...runtime.errors import EdgePoseError, MissingExtraError, ModelError
from ...runtime.io import atomic
from ...runtime.io.messages import show_note
from ...runtime.model.manifest import InputSpec
from ..convert import Options, convert
from ..importers import detect
from ..importers.detect import Wanted
from ..ir import graph as g
from ..ir import graph_file
from ..passes import bn_statistics, fold
from ..passes.simplify import simplify
from ..quantize.calibration_images import CalibrationImages
from .images import pack, read_samples, unpack


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one of the three; 2 and one line where something is missing."""
    arguments = _parser().parse_args(argv)
    try:
        {"prepare": _prepare, "train": _train, "export": _export}[arguments.action](arguments)
    except EdgePoseError as error:
        print(f"edgepose: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edgepose.convert.distill", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    prepare = actions.add_parser("prepare", help="make a kit")
    prepare.add_argument("--images", type=Path, required=True, help="folder of images, searched through")
    prepare.add_argument("--labels", type=Path, required=True, help="folder of YOLO-pose rows, a text an image")
    prepare.add_argument("--ids", type=Path, help="numbers of the images that may be used")
    prepare.add_argument("--calibration", type=Path, required=True, help="some 50 other images")
    prepare.add_argument("--teacher", default="human-pose-estimation-0001", help="what `edgepose convert` takes")
    prepare.add_argument("--student", default="mobilenet_v2_small", help="what `edgepose convert` takes")
    prepare.add_argument("--stages", type=int, default=2, help="of the student")
    prepare.add_argument("--size", type=int, default=288, help="of a view, in pixels: a multiple of 16")
    train = actions.add_parser("train", help="train, or go on training")
    train.add_argument("--begin-with", type=Path, help="checkpoint of another training, for the layers both have")
    train.add_argument("--size", type=int, default=288, help="of a view, as prepared")
    train.add_argument("--views", type=int, default=30_000, help="to be looked at in all")
    train.add_argument("--batch", type=int, default=8)
    train.add_argument("--rate", type=float, default=1e-3, help="of learning, at its highest")
    train.add_argument(
        "--quantized", type=float, default=0.0, help="share of views with simulated integers, at the end"
    )
    train.add_argument("--seconds", type=float, help="end after so long; the next call goes on")
    train.add_argument("--device", default="cpu", help="cpu or cuda; on a GPU the float teacher looks at whole batches")
    train.add_argument("--threads", type=int, help="of the student")
    train.add_argument("--workers", type=int, default=1, help="processes that make lessons")
    export = actions.add_parser("export", help="write student.keras")
    for action in (prepare, train, export):
        action.add_argument("kit", type=Path, help="the kit's folder; results lie in it too")
    return parser


def _prepare(arguments: argparse.Namespace) -> None:
    kit: Path = arguments.kit
    atomic.make_folder(kit)
    samples = read_samples(arguments.images, arguments.labels, arguments.ids)
    show_note(f"{len(samples)} images, {sum(len(sample.people) for sample in samples)} people annotated")
    pack(samples, kit / "images.zip")
    graph_file.save(_folded(arguments.teacher, None, arguments.calibration), kit / "teacher.npz")
    graph_file.save(_folded(arguments.student, arguments.stages, arguments.calibration), kit / "student.npz")
    # In integers, for processors: a quarter of the time for half a point of AP.
    size = (arguments.size, arguments.size)
    options = Options(precision="int8", input_size=size, calibration=arguments.calibration)
    convert(detect.find(arguments.teacher), kit / f"teacher-{arguments.size}.tflite", options, show_note)


def _train(arguments: argparse.Namespace) -> None:
    try:
        from . import curves, train
        from .targets import Lessons
    except ModuleNotFoundError as error:
        raise MissingExtraError("training", "train", error) from None
    kit: Path = arguments.kit
    on_gpu = arguments.device != "cpu"
    teacher = graph_file.load(kit / "teacher.npz") if on_gpu else None
    schedule = train.Schedule(arguments.views, arguments.batch, arguments.rate, quantized=arguments.quantized)
    training = train.Training(graph_file.load(kit / "student.npz"), schedule, teacher, arguments.device)
    checkpoint = kit / "checkpoint.pt"
    if checkpoint.is_file():
        training.load(checkpoint)
        show_note(f"going on at view {training.seen} of {schedule.views}")
    elif arguments.begin_with:
        show_note(f"{training.begin_with(arguments.begin_with)} layers taken from {arguments.begin_with}")
    train.limit_threads(arguments.threads)
    samples = unpack(kit / "images.zip", kit / "images")
    looking = None if on_gpu else kit / f"teacher-{arguments.size}.tflite"
    lessons = Lessons(samples, looking, arguments.size, seed=training.seen)
    train.train(training, lessons, checkpoint, show_note, arguments.workers, arguments.seconds)
    curves.plot(training.losses, kit / "loss.png")
    graph_file.save(training.average.to_graph(), kit / "trained.npz")
    show_note(f"{kit / 'trained.npz'}: after {training.seen} views")


def _export(arguments: argparse.Namespace) -> None:
    from ..exporters.keras import to_keras

    kit: Path = arguments.kit
    model = to_keras(graph_file.load(kit / "trained.npz"))
    part = kit / "part.keras"
    model.save(part)
    part.replace(kit / "student.keras")
    show_note(f"{kit / 'student.keras'}: now edgepose convert")


def _folded(name: str, stages: int | None, calibration: Path) -> g.Graph:
    """A published network, repaired and folded."""
    source = detect.find(name)
    graph = source.load(Wanted(stages=stages)).graph
    if bn_statistics.training_layers(graph):
        images = CalibrationImages(calibration, InputSpec("", *source.default_size))
        graph = bn_statistics.fix(graph, images.batches("measuring batch statistics"))
    graph = simplify(fold.fold(graph))
    if unknown := [node.name for node in graph.nodes.values() if isinstance(node, g.BatchNorm | g.MaxPool)]:
        raise ModelError(f"{name}: cannot be trained here: {unknown[0]}")
    return graph


if __name__ == "__main__":
    raise SystemExit(main())
