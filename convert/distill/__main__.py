"""Train a small network with knowledge distillation: `python -m edgepose.convert.distill COMMAND`.

1. `prepare` makes a training kit: images in one archive (about 45 MB), teacher and student. Needs TensorFlow.
2. `prune` (optional) makes a smaller student by removing channels of the student. Needs TensorFlow.
3. `cache` (optional) computes more accurate maps of the teacher in advance. Can be interrupted and resumed.
4. `train` trains the student. Needs PyTorch only; runs on a CPU or GPU; can be interrupted and resumed.
5. `export` writes a Keras model for `edgepose convert`.
`make train-default` runs all of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from ...runtime.errors import EdgePoseError, InputError, MissingExtraError, ModelError
from ...runtime.io import atomic
from ...runtime.io.images import read_image
from ...runtime.io.messages import iterate_with_progress, show_note, show_warning
from ...runtime.model.manifest import InputSpec
from ..convert import ConversionOptions, convert
from ..exporters import tensorflow
from ..importers import detect
from ..importers.detect import ImportOptions
from ..ir import graph as g
from ..ir import graph_file
from ..passes import bn_statistics, fold
from ..passes.simplify import simplify
from ..quantize.calibration_images import CalibrationImages
from . import cached_teacher, prune
from .images import Sample, pack_samples, read_samples, unpack_samples
from .views import AUGMENTATIONS, LONG_SIDE_PX

_POSITIONS_PER_IMAGE = 350
"""Positions of each image that pruning measures."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 2 after an error, which is printed in one line."""
    arguments = _make_parser().parse_args(argv)
    try:
        {"prepare": _prepare, "prune": _prune, "cache": _cache, "train": _train, "export": _export}[arguments.action](
            arguments
        )
    except EdgePoseError as error:
        show_warning(str(error))
        return 2
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edgepose.convert.distill", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    prepare = actions.add_parser("prepare", help="make a training kit")
    prepare.add_argument("--images", type=Path, required=True, help="folder of JPEG images, with subfolders")
    prepare.add_argument(
        "--labels", type=Path, required=True, help="folder of YOLO pose labels, one text file per image"
    )
    prepare.add_argument("--ids", type=Path, help="file with the COCO ids of the images to use (default: all)")
    prepare.add_argument(
        "--calibration", type=Path, required=True, help="folder of about 50 other images, for calibration"
    )
    prepare.add_argument("--teacher", default="human-pose-estimation-0001",
                         help="teacher network: a source of `edgepose convert` (default: %(default)s)")  # fmt: skip
    prepare.add_argument("--student", default="mobilenet_v2_small",
                         help="student network: a source of `edgepose convert`, or a trained.npz of another kit "
                         "(default: %(default)s)")  # fmt: skip
    prepare.add_argument("--stages", type=int, default=2, help="stages of the student (default: %(default)s)")
    prepare.add_argument(
        "--size",
        type=int,
        default=288,
        help="width and height of a view in pixels, a multiple of 16 (default: %(default)s)",
    )
    prune_parser = actions.add_parser("prune", help="remove channels of the student, before training")
    prune_parser.add_argument("--keep", action="append", required=True, metavar="CONVOLUTION=CHANNELS",
                              help="number of input channels of a convolution to keep; can be repeated")  # fmt: skip
    prune_parser.add_argument(
        "--images", type=int, default=130, help="training images to measure (default: %(default)s)"
    )
    prepare.add_argument(
        "--image-size", type=int, default=320, help="longest side of the stored images in pixels (default: %(default)s)"
    )
    cache = actions.add_parser("cache", help="compute the maps of the teacher: four sizes and the mirror image")
    train = actions.add_parser("train", help="train the student, or resume training")
    train.add_argument(
        "--begin-with",
        type=Path,
        help="checkpoint of another training: start with its weights in all layers that both networks have",
    )
    train.add_argument(
        "--size", type=int, default=288, help="width and height of a view, as in prepare (default: %(default)s)"
    )
    train.add_argument("--views", type=int, default=30_000, help="number of views to train on (default: %(default)s)")
    train.add_argument("--batch", type=int, default=8, help="batch size (default: %(default)s)")
    train.add_argument("--rate", type=float, default=1e-3, help="highest learning rate (default: %(default)s)")
    train.add_argument("--warm-up", type=int, default=2000,
                       help="views during which the learning rate rises (default: %(default)s)")  # fmt: skip
    train.add_argument("--decay", choices=("cosine", "linear"), default="cosine",
                       help="how the learning rate falls to almost 0 (default: %(default)s)")  # fmt: skip
    train.add_argument("--early-weight", type=float, default=1.0,
                       help="weight of the stages before the last in the loss (default: %(default)s)")  # fmt: skip
    train.add_argument("--average", type=float, default=0.999,
                       help="decay of the moving average of the weights (default: %(default)s)")  # fmt: skip
    train.add_argument("--augmentation", choices=sorted(AUGMENTATIONS), default="strong",
                       help="strength of the augmentation (default: %(default)s)")  # fmt: skip
    train.add_argument("--zoom", type=float, nargs=2, metavar=("LOW", "HIGH"),
                       help="smallest and largest zoom of a view (default: that of --augmentation)")  # fmt: skip
    train.add_argument(
        "--quantized",
        type=float,
        default=0.0,
        help="share of the views, at the end, that are trained with simulated int8, 0 to 1 (default: %(default)s)",
    )
    train.add_argument("--seconds", type=float, help="stop after this time in seconds; the next call resumes")
    train.add_argument(
        "--device",
        default="cpu",
        help="cpu or cuda; on a GPU the float teacher processes whole batches (default: %(default)s)",
    )
    train.add_argument("--threads", type=int, help="CPU threads of the student (default: all cores)")
    train.add_argument(
        "--workers", type=int, default=1, help="processes that prepare training examples (default: %(default)s)"
    )
    export = actions.add_parser("export", help="write student.keras for `edgepose convert`")
    for action in (prepare, prune_parser, cache, train, export):
        action.add_argument("kit", type=Path, help="folder of the kit; the results are written into it")
    return parser


def _prepare(arguments: argparse.Namespace) -> None:
    kit: Path = arguments.kit
    atomic.make_folder(kit)
    samples = read_samples(arguments.images, arguments.labels, arguments.ids)
    show_note(f"{len(samples)} images with {sum(len(sample.people) for sample in samples)} annotated people")
    pack_samples(samples, kit / "images.zip", arguments.image_size)
    graph_file.save(_load_folded(arguments.teacher, None, arguments.calibration), kit / "teacher.npz")
    graph_file.save(_load_folded(arguments.student, arguments.stages, arguments.calibration), kit / "student.npz")
    # On a CPU the teacher runs in int8: it takes a quarter of the time and loses half a point of AP.
    size = (arguments.size, arguments.size)
    options = ConversionOptions(precision="int8", input_size=size, calibration=arguments.calibration)
    convert(detect.find_source(arguments.teacher), kit / f"teacher-{arguments.size}.tflite", options, show_note)


def _prune(arguments: argparse.Namespace) -> None:
    kit: Path = arguments.kit
    keep = dict(_read_count(text) for text in arguments.keep)
    graph = graph_file.load(kit / "student.npz")
    samples = unpack_samples(kit / "images.zip", kit / "images")
    moments = _measure_moments(graph, samples[:: max(1, len(samples) // arguments.images)], list(keep))
    pruned, lines = prune.prune_graph(graph, moments, keep)
    for line in lines:
        show_note(line)
    graph_file.save(pruned, kit / "student.npz")
    show_note(f"wrote {kit / 'student.npz'}: {graph.parameters:,} -> {pruned.parameters:,} parameters")


def _read_count(text: str) -> tuple[str, int]:
    name, _, count = text.rpartition("=")
    if not name or not count.isdecimal():
        raise InputError(f"--keep {text}: expected the name of a convolution, = and a number of channels")
    return name, int(count)


def _measure_moments(graph: g.Graph, samples: Sequence[Sample], names: Sequence[str]) -> dict[str, prune.Matrix]:
    """Measure the second moments of the inputs of some convolutions on images that are about 432 pixels long."""
    rng = np.random.default_rng(0)
    convs = [prune.get_prunable_convolution(graph, name) for name in names]
    wanted = {graph.heatmaps, *(conv.inputs[0] for conv in convs)}
    moments: dict[str, prune.Matrix] = {}
    for sample in iterate_with_progress(samples, "measuring channels", "image"):
        image = read_image(sample.path)
        zoom = LONG_SIDE_PX / max(image.shape[:2]) * np.exp(rng.uniform(-0.35, 0.35))
        height, width = (max(1, round(side * zoom / 16)) * 16 for side in image.shape[:2])
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        maps = tensorflow.run_graph(graph, image[None].astype(np.float32), wanted)
        heatmaps = np.asarray(maps[graph.heatmaps])[..., :-1]
        chosen = prune.choose_positions(heatmaps, rng, _POSITIONS_PER_IMAGE)
        for conv in convs:
            found = prune.compute_second_moments(conv, np.asarray(maps[conv.inputs[0]]), chosen)
            moments[conv.name] = moments.get(conv.name, 0) + found
    return moments


def _cache(arguments: argparse.Namespace) -> None:
    kit: Path = arguments.kit
    teachers = sorted(kit.glob("teacher-*.tflite"))
    if not teachers:
        raise InputError(f"{kit}: there is no teacher-SIZE.tflite in this kit; run prepare first")
    cached_teacher.cache_maps(teachers[0], unpack_samples(kit / "images.zip", kit / "images"), kit / "maps")
    show_note(f"wrote the maps of the teacher to {kit / 'maps'}; train uses them")


def _train(arguments: argparse.Namespace) -> None:
    try:
        from . import curves, train
        from .targets import TrainingDataset
    except ModuleNotFoundError as error:
        raise MissingExtraError("training", "train", error) from None
    kit: Path = arguments.kit
    on_gpu = arguments.device != "cpu"
    is_cached = (kit / "maps").is_dir()
    teacher = graph_file.load(kit / "teacher.npz") if on_gpu and not is_cached else None
    schedule = train.Schedule(
        arguments.views, arguments.batch, arguments.rate, arguments.warm_up, arguments.quantized,
        arguments.decay == "linear", arguments.early_weight, arguments.average,
    )  # fmt: skip
    training = train.Trainer(graph_file.load(kit / "student.npz"), schedule, teacher, arguments.device)
    checkpoint = kit / "checkpoint.pt"
    if checkpoint.is_file():
        training.load_checkpoint(checkpoint)
        show_note(f"resuming training at view {training.views_seen} of {schedule.views}")
    elif arguments.begin_with:
        show_note(
            f"weights of {training.load_common_weights(arguments.begin_with)} layers loaded from {arguments.begin_with}"
        )
    train.limit_threads(arguments.threads)
    samples = unpack_samples(kit / "images.zip", kit / "images")
    teacher_file = kit / "maps" if is_cached else None if on_gpu else kit / f"teacher-{arguments.size}.tflite"
    augmentation = AUGMENTATIONS[arguments.augmentation]
    if arguments.zoom:
        augmentation = replace(augmentation, zoom=tuple(arguments.zoom))
    lessons = TrainingDataset(samples, teacher_file, arguments.size, training.views_seen, augmentation)
    train.train(training, lessons, checkpoint, show_note, arguments.workers, arguments.seconds)
    curves.plot_loss(training.losses, kit / "loss.png")
    graph_file.save(training.average.to_graph(), kit / "trained.npz")
    show_note(f"wrote {kit / 'trained.npz'} after {training.views_seen} views")


def _export(arguments: argparse.Namespace) -> None:
    from ..exporters.keras import to_keras

    kit: Path = arguments.kit
    model = to_keras(graph_file.load(kit / "trained.npz"))
    temporary = kit / "part.keras"
    model.save(temporary)
    temporary.replace(kit / "student.keras")
    show_note(f"wrote {kit / 'student.keras'}; convert it with edgepose convert")


def _load_folded(name: str, stages: int | None, calibration: Path) -> g.Graph:
    """Load a published network or a graph of another kit, repair its batch normalization if needed, and fold it."""
    if name.endswith(".npz"):
        return graph_file.load(Path(name))
    source = detect.find_source(name)
    graph = source.load(ImportOptions(stages=stages)).graph
    if bn_statistics.find_training_layers(graph):
        images = CalibrationImages(calibration, InputSpec("", *source.default_size))
        graph = bn_statistics.set_measured_statistics(graph, images.iterate_batches("measuring batch statistics"))
    graph = simplify(fold.fold(graph))
    if unsupported := [node.name for node in graph.nodes.values() if isinstance(node, g.BatchNorm | g.MaxPool)]:
        raise ModelError(f"{name}: unsupported operator for training: {unsupported[0]}")
    return graph


if __name__ == "__main__":
    raise SystemExit(main())
