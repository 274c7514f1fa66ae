"""Inference on a board that is not at hand, computed from what others have published. Always marked as an estimate.

Every operator costs its multiply-accumulates, but at least the time its bytes take through memory. The rates on a
Raspberry Pi 4 come from four published runs of this family of networks; other boards follow by the ratio at which one
program runs the same networks on them. docs/benchmarks.md names the sources and the errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean

from ...runtime.errors import EdgePoseError
from ...runtime.model import container
from ...runtime.model.interpreter import Network
from ...runtime.model.isolated_load import probe
from .macs import Described, operators
from .results import Accuracy, Latency, Row


@dataclass(frozen=True)
class Published:
    """Milliseconds of an int8 network on a Raspberry Pi 4 with four threads, and its multiply-accumulates."""

    macs: float
    ms: float


PINTO = (
    Published(1.077e9, 57.0),  # width 0.5, 256x256
    Published(2.612e9, 146.0),  # width 0.5, 432x368
    Published(1.370e9, 73.0),  # width 1.0, 256x256
    Published(3.323e9, 204.0),  # width 1.0, 432x368
)
"""PINTO0309's mobilenet v2 pose networks (refinement of width 1.0), TensorFlow Lite, network only."""

NCNN_MS: Mapping[str, Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "pi4": {
        "int8": ((34.37, 42.59, 83.92), (84.82, 69.42, 158.5)),
        "float": ((61.17, 46.65, 123.12), (124.32, 73.96, 191.1)),
    },
    "pi5": {"int8": ((8.74, 7.21, 16.74), (14.44, 11.82, 36.42)), "float": ((9.0, 7.38, 19.96), (20.3, 11.87, 29.68))},
    "zero2w": {
        "int8": ((91.03, 96.55, 195.51), (286.75, 212.94, 479.4)),
        "float": ((163.19, 119.93, 353.45), (393.94, 240.77, 654.69)),
    },
}  # fmt: skip
"""Milliseconds of mobilenet, squeezenet and resnet18 with four threads and with one: ncnn, benchmark/README.md."""
_FP16_GAIN = 2.0
"""On a Pi 5 ncnn computes float networks in 16 bits, twice as many at a time; XNNPACK does not."""
_CACHE_GB_PER_S = {"pi4": 4.0, "pi5": 12.0, "zero2w": 1.6}
"""What streams through memory: order of magnitude, decides only for operators that compute next to nothing."""

BOARDS = {"pi4": "Raspberry Pi 4", "pi5": "Raspberry Pi 5", "zero2w": "Raspberry Pi Zero 2 W"}


def row(model: str, path: Path, threads: int, name: str) -> Row:
    """The estimated row of a model; `name` is one of BOARDS' values. Errors are rows too."""
    try:
        probe(path)
        network = Network(path, 1)
        ms = inference_ms(operators(network), next(key for key, value in BOARDS.items() if value == name), threads)
        return _filled(Row(model, threads), path, network, ms, name)
    except EdgePoseError as error:
        return Row(model, threads, error=" ".join(str(error).split()))


def inference_ms(described: Sequence[Described], board: str, threads: int) -> float:
    """Milliseconds of one inference."""
    total = 0.0
    for operator in described:
        kind = "int8" if operator.integer else "float"
        computing = operator.macs / macs_per_ms(board, kind, threads)
        moving = operator.bytes / (_CACHE_GB_PER_S[board] * 1e6)
        total += max(computing, moving if not operator.macs else 0.0)
    return total


def macs_per_ms(board: str, kind: str, threads: int) -> float:
    """Multiply-accumulates a millisecond of a board, for int8 or float."""
    pi4 = rate(PINTO)
    if kind == "float":
        pi4 *= _faster(NCNN_MS["pi4"]["int8"][0], NCNN_MS["pi4"]["float"][0])
    ratio = _faster(NCNN_MS["pi4"][kind][0], NCNN_MS[board][kind][0])
    if (board, kind) == ("pi5", "float"):
        ratio /= _FP16_GAIN
    return pi4 * ratio * _share_of_four(board, kind, threads)


def rate(published: Sequence[Published]) -> float:
    """Multiply-accumulates a millisecond that fit the published runs best, each by its relative error."""
    # Least squares of (macs / rate / ms - 1): linear in 1 / rate.
    ratios = [run.macs / run.ms for run in published]
    return sum(ratio * ratio for ratio in ratios) / sum(ratios)


def _faster(before: Sequence[float], after: Sequence[float]) -> float:
    return geometric_mean(a / b for a, b in zip(before, after, strict=True))


def _share_of_four(board: str, kind: str, threads: int) -> float:
    """Speed with fewer threads as a share of that with four: Amdahl's law through the two published points."""
    four, one = NCNN_MS[board][kind]
    gain = _faster(one, four)
    serial = (4 / gain - 1) / 3
    used = min(threads, 4)
    return (used / (1 + serial * (used - 1))) / gain


def _filled(row: Row, path: Path, network: Network, ms: float, board: str) -> Row:
    worst = max(abs(run.macs / rate([other for other in PINTO if other is not run]) / run.ms - 1) for run in PINTO)
    described = operators(network)
    row = replace(
        row,
        model_mb=path.stat().st_size / 1e6,
        macs=sum(operator.macs for operator in described),
        fps=1e3 / ms,
        latency_ms=Latency(ms, ms, ms),
        stages_ms={"inference": ms},
        interpreter="estimate",
        precision="int8" if network.inputs[0].dtype != "float32" else "float32",
        estimate=board,
        warnings=(f"estimate for a {board}, inference alone; up to {worst:.0%} off on published runs left out of it",),
    )
    try:
        manifest = container.read(path)
    except EdgePoseError:
        return row
    accuracy = Accuracy(manifest.accuracy.ap, manifest.accuracy.images) if manifest.accuracy else None
    size = (manifest.input.width, manifest.input.height)
    return replace(row, network=manifest.network, precision=manifest.precision, input_size=size, accuracy=accuracy)
