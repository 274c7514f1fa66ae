"""Compare models with each other and with networks of other projects, in one run on this machine.

    python -m edgepose.benchmarks.compare edgepose-tiny edgepose-small movenet.tflite@320x256
    python -m edgepose.benchmarks.compare *.tflite --images val2017/ --annotations val.json --plot compare.png
    python -m edgepose.benchmarks.compare mine.tflite --adapter mine.py:MyAdapter

A file with a manifest of edgepose is used as its manifest says. For other .tflite files, an adapter converts the
outputs to poses: the built-in one for MoveNet MultiPose, or one of yours. docs/explanation/comparison.md describes the
method and the interface of an adapter. Run untrusted files in a container: after a check in a child process, the
network runs in this process.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ...convert.validate.coco import CocoDataset
from ...device.monitor.board import read_board
from ...runtime.errors import EdgePoseError, InputError, OutputError
from ...runtime.io import atomic
from ...runtime.io.inputs import find_inputs, read_input
from ...runtime.io.messages import show_note, show_warning
from ...runtime.model.interpreter import MAX_THREADS
from ...runtime.synthetic import Scene
from ...runtime.types import Image
from ..profile.plots import import_pyplot
from . import plot, table
from .adapters import BUILT_IN, Adapter, load_adapter
from .measure import measure_times
from .networks import Estimator, ModelSource, describe_model, find_model, load_estimator
from .results import Accuracy, Comparison, Row

_MAX_IMAGES = 20
_PACKAGES = ("edgepose", "ai-edge-litert", "tflite-runtime", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class CompareOptions:
    """Values of the command line."""

    models: list[str]
    adapter: list[str]
    input: str
    threads: tuple[int, ...]
    rounds: int
    frames: int
    images: Path | None
    annotations: Path | None
    json: Path | None
    plot: Path | None
    page: Path | None


def run(options: CompareOptions) -> None:
    """Check everything, measure, and write the results.

    Raises:
        EdgePoseError: A model, image or annotation cannot be used, or a result cannot be written.
    """
    _check_outputs(options)
    adapters: list[Adapter] = [*map(load_adapter, options.adapter), *BUILT_IN]
    images = _read_images(options.input)
    dataset = None
    if options.images is not None and options.annotations is not None:
        dataset = CocoDataset(options.images, options.annotations)
        for note in dataset.notes:
            show_warning(f"{options.annotations}: {note}")
    measured = datetime.now(UTC).isoformat(timespec="seconds")
    sources = [find_model(text, adapters) for text in options.models]
    rows = [describe_model(source) for source in sources]
    estimators = [(count, load_estimator(source, count)) for source in sources for count in options.threads]
    machine = read_board()
    show_note(f"machine: {machine}")
    times = measure_times(
        estimators, images, options.rounds, options.frames,
        lambda number: show_note(f"round {number + 1} of {options.rounds}"),
    )  # fmt: skip
    per_row = len(options.threads)
    rows = [replace(row, times=tuple(times[i * per_row : (i + 1) * per_row])) for i, row in enumerate(rows)]
    if dataset is not None:
        first = [estimator for _, estimator in estimators[::per_row]]
        rows = [_add_accuracy(*entry, dataset) for entry in zip(rows, sources, first, strict=True)]
    comparison = Comparison(
        machine, measured, _find_versions(), options.input, options.rounds, options.frames,
        len(dataset.paths) - len(dataset.unreadable) if dataset is not None else 0, tuple(rows),
    )  # fmt: skip
    print(table.format_text(comparison))
    _write_outputs(options, comparison)


def _add_accuracy(row: Row, source: ModelSource, estimator: Estimator, dataset: CocoDataset) -> Row:
    score = dataset.score(lambda image: estimator.estimate(image), source.name)
    if dataset.unreadable:
        raise InputError(f"expected images that can be read: {dataset.unreadable[0]}")
    values = (score.ap, score.ap50, score.ap_medium, score.ap_large)
    return replace(row, accuracy=Accuracy(*(round(value, 4) for value in values)))


def _read_images(name: str) -> list[Image]:
    """Read up to 20 images. Synthetic scenes have 640x480 pixels, as in `edgepose profile`."""
    found: list[Image] = []
    for source in find_inputs(name):
        if source.path is None:
            scene = Scene(source.people, 640, 480)
            return [scene.render_frame(index).image for index in range(_MAX_IMAGES)]
        for frame in read_input(source):
            found.append(frame.image if frame.channel_order == "bgr" else frame.image[..., ::-1].copy())
            if len(found) == _MAX_IMAGES:
                return found
    if not found:
        raise InputError(f"--input {name}: the input contains no frames")
    return found


def _find_versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _check_outputs(options: CompareOptions) -> None:
    """Check the options that are used last: the measurement takes minutes."""
    if (options.images is None) != (options.annotations is None):
        raise InputError("expected both --images and --annotations, or neither")
    for target in (options.json, options.plot, options.page):
        if target is not None and not target.parent.is_dir():
            raise OutputError(f"{target}: there is no folder {target.parent}")
        if target is not None and target.is_dir():
            raise OutputError(f"{target}: expected a file to write, this is a folder")
    if options.plot is not None:
        if options.plot.suffix != ".png":
            raise InputError(f"--plot {options.plot}: expected an image that ends in .png")
        if options.images is None:
            raise InputError("--plot shows the accuracy: give --images and --annotations too")
        import_pyplot()
    if options.page is not None:
        table.read_page(options.page)


def _write_outputs(options: CompareOptions, comparison: Comparison) -> None:
    if options.json is not None:
        atomic.write_text(options.json, comparison.to_json() + "\n")
    if options.plot is not None:
        plot.write(options.plot, comparison)
    if options.page is not None:
        table.update_page(options.page, comparison)


def _parse_threads(text: str) -> tuple[int, ...]:
    counts = tuple(int(part) for part in text.split(",") if part.isdecimal())
    if len(counts) != len(text.split(",")) or not all(1 <= count <= MAX_THREADS for count in counts):
        raise argparse.ArgumentTypeError(f"expected numbers from 1 to {MAX_THREADS}, separated by commas: {text!r}")
    return counts


def _parse_count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 10_000):
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 10000, got {text!r}")
    return int(text)


def _parse_options(arguments: Sequence[str] | None) -> CompareOptions:
    parser = argparse.ArgumentParser(prog="python -m edgepose.benchmarks.compare", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("models", nargs="+", metavar="MODEL",
                        help="name of a model, FILE.tflite, or FILE.tflite@WxH for a network of any size")  # fmt: skip
    parser.add_argument("--adapter", action="append", default=[], metavar="FILE.py:CLASS",
                        help="adapter for other networks, tried before the built-in one; may be repeated")  # fmt: skip
    parser.add_argument(
        "--input",
        default="synthetic:5",
        metavar="INPUT",
        help="images that are timed: image, folder, video or synthetic:N (default: synthetic:5)",
    )
    parser.add_argument("--threads", type=_parse_threads, default=(1, 2), metavar="N[,N]",
                        help="threads of the interpreter; a column for each (default: 1,2)")  # fmt: skip
    parser.add_argument("--rounds", type=_parse_count, default=9, metavar="N", help="rounds (default: 9)")
    parser.add_argument("--frames", type=_parse_count, default=10, metavar="N",
                        help="frames per model and round (default: 10)")  # fmt: skip
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of annotated images, for the accuracy")
    parser.add_argument("--annotations", type=Path, metavar="JSON", help="their COCO keypoint annotations")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the comparison as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="plot accuracy against time and computation")
    parser.add_argument("--page", type=Path, metavar="FILE.md",
                        help=f"replace the table of a page between {table.BEGIN} and {table.END}")  # fmt: skip
    return CompareOptions(**vars(parser.parse_args(arguments)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0 done, 2 an error, 130 Ctrl-C."""
    options = _parse_options(arguments)
    try:
        run(options)
    except (EdgePoseError, ValueError, MemoryError) as error:
        print(f"compare: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
