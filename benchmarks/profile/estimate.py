"""Estimated inference time on boards that are not available, from published measurements. Marked as an estimate.

The time of an operator follows from its multiply-accumulates; an operator without any takes the time that its bytes
need through memory. The rate of a Raspberry Pi 4 comes from four published runs of this family of networks. Other
boards are scaled by the ratio of the times that ncnn needs for the same networks. docs/guides/profile.md has the
sources and the errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean

from ...runtime.errors import EdgePoseError, ModelError
from ...runtime.model import container
from ...runtime.model.interpreter import Network
from ...runtime.model.isolated_load import load_in_child_process
from ...runtime.model.manifest import ModelManifest
from .macs import OperatorCost, compute_operator_costs
from .results import Accuracy, Latency, Row


@dataclass(frozen=True)
class Published:
    """Published inference time of an int8 network on a Raspberry Pi 4 with four threads, and its MACs."""

    macs: float
    ms: float


PINTO = (
    Published(1.077e9, 57.0),  # width 0.5, 256x256
    Published(2.612e9, 146.0),  # width 0.5, 432x368
    Published(1.370e9, 73.0),  # width 1.0, 256x256
    Published(3.323e9, 204.0),  # width 1.0, 432x368
)
"""Inference times of PINTO0309's MobileNetV2 pose networks (refinement of width 1.0) in TensorFlow Lite."""

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
"""Milliseconds of mobilenet, squeezenet and resnet18 with four threads and with one thread.

Source: Tencent/ncnn, benchmark/README.md.
"""
_FP16_SPEEDUP = 2.0
"""On a Pi 5 ncnn computes float networks in float16, which is twice as fast; XNNPACK does not."""
_MEMORY_GB_PER_S = {"pi4": 4.0, "pi5": 12.0, "zero2w": 1.6}
"""Memory bandwidth, order of magnitude. Only used for operators without multiply-accumulates."""

BOARDS = {"pi4": "Raspberry Pi 4", "pi5": "Raspberry Pi 5", "zero2w": "Raspberry Pi Zero 2 W"}


def estimate_row(model: str, path: Path, threads: int, board: str) -> Row:
    """Estimate the row of a model. If the file cannot be loaded, the row has an `error`.

    Args:
        model: Name of the model, as the user gave it.
        path: Path of the model.
        threads: Number of interpreter threads.
        board: Name of the board: a value of `BOARDS`.
    """
    try:
        manifest = _read_manifest(path)
        tensors = load_in_child_process(path)
        if tensors.is_resized:
            raise ModelError(f"{path}: an estimate needs a network with a fixed input size and a batch of 1")
        network = Network(path, 1)
        ms = estimate_inference_ms(
            compute_operator_costs(network), next(key for key, value in BOARDS.items() if value == board), threads
        )
        return _fill_row(Row(model, threads), path, network, ms, board, manifest)
    except EdgePoseError as error:
        return Row(model, threads, error=" ".join(str(error).split()))


def _read_manifest(path: Path) -> ModelManifest | None:
    try:
        return container.read(path)
    except EdgePoseError:
        return None


def estimate_inference_ms(described: Sequence[OperatorCost], board: str, threads: int) -> float:
    """Estimate the time of one inference in milliseconds.

    Args:
        described: Operators of the network.
        board: A key of `BOARDS`.
        threads: Number of interpreter threads.
    """
    total = 0.0
    for operator in described:
        kind = "int8" if operator.integer else "float"
        compute_ms = operator.macs / estimate_macs_per_ms(board, kind, threads)
        memory_ms = operator.bytes / (_MEMORY_GB_PER_S[board] * 1e6)
        total += max(compute_ms, memory_ms if not operator.macs else 0.0)
    return total


def estimate_macs_per_ms(board: str, kind: str, threads: int) -> float:
    """Estimate the multiply-accumulates per millisecond of a board. `kind`: `int8` or `float`."""
    pi4 = fit_macs_per_ms(PINTO)
    if kind == "float":
        pi4 *= _compute_speedup(NCNN_MS["pi4"]["int8"][0], NCNN_MS["pi4"]["float"][0])
    ratio = _compute_speedup(NCNN_MS["pi4"][kind][0], NCNN_MS[board][kind][0])
    if (board, kind) == ("pi5", "float"):
        ratio /= _FP16_SPEEDUP
    return pi4 * ratio * _scale_to_threads(board, kind, threads)


def fit_macs_per_ms(published: Sequence[Published]) -> float:
    """Fit the multiply-accumulates per millisecond to published runs (least squares of the relative errors)."""
    # Minimizes the sum of (macs / rate / ms - 1)^2, which is linear in 1 / rate.
    ratios = [run.macs / run.ms for run in published]
    return sum(ratio * ratio for ratio in ratios) / sum(ratios)


def _compute_speedup(before: Sequence[float], after: Sequence[float]) -> float:
    return geometric_mean(a / b for a, b in zip(before, after, strict=True))


def _scale_to_threads(board: str, kind: str, threads: int) -> float:
    """Return the speed as a fraction of the speed with four threads.

    Uses Amdahl's law, with the serial part from the published times with one and with four threads.
    """
    four, one = NCNN_MS[board][kind]
    speedup = _compute_speedup(one, four)
    serial = (4 / speedup - 1) / 3
    used = min(threads, 4)
    return (used / (1 + serial * (used - 1))) / speedup


def _fill_row(row: Row, path: Path, network: Network, ms: float, board: str, manifest: ModelManifest | None) -> Row:
    max_error = max(
        abs(run.macs / fit_macs_per_ms([other for other in PINTO if other is not run]) / run.ms - 1) for run in PINTO
    )
    described = compute_operator_costs(network)
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
        warnings=(
            f"estimate for a {board}: inference only; leave-one-out error up to {max_error:.0%} on published runs",
        ),
    )
    if manifest is None:
        return row
    accuracy = Accuracy(manifest.accuracy.ap, manifest.accuracy.images) if manifest.accuracy else None
    size = (manifest.input.width, manifest.input.height)
    return replace(row, network=manifest.network, precision=manifest.precision, input_size=size, accuracy=accuracy)
