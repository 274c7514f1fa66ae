"""Integer precisions (int8, int16x8, auto): from a folded graph and calibration images to a plan and a flatbuffer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

import numpy as np

from ...runtime.errors import ModelError
from ...runtime.model.interpreter import Network
from ...runtime.model.manifest import Precision
from ..ir import graph as g
from .calibration_images import CalibrationImages
from .pipeline import CalibrationSet, FittedNetwork, fit_network
from .plan import QuantizationPlan
from .sensitivity import MixedPrecision, search_mixed_precision
from .write import write_flatbuffer

INTEGER_PRECISIONS: tuple[Precision, ...] = ("int8", "int16x8", "auto")
_MAX_IMAGES = 64
"""Images that are used of a larger folder: more images do not change the result but need memory."""
_TIMED_RUNS = 9


@dataclass(frozen=True)
class QuantizedNetwork:
    """A quantized network.

    Attributes:
        plan: Integers of all weights and maps.
        flatbuffer: TFLite file of the plan, without a manifest.
        recipe: What was done, one sentence per entry, for the manifest.
        calibration_images: Calibration images in their original size.
        calibration_set: Calibration images as input of the network, and where the float network finds people in them.
    """

    plan: QuantizationPlan
    flatbuffer: bytes
    recipe: tuple[str, ...]
    calibration_images: CalibrationImages
    calibration_set: CalibrationSet


@dataclass(frozen=True)
class Budget:
    """Accuracy that `--precision auto` may lose.

    Attributes:
        max_loss: Largest allowed loss, in `unit`.
        unit: Unit of the loss for messages, such as "points of AP".
        measure_loss: Measures the loss of a flatbuffer, in `unit`.
    """

    max_loss: float
    unit: str
    measure_loss: Callable[[bytes], float]


def quantize_graph(
    graph: g.Graph,
    calibration: CalibrationImages,
    precision: Precision,
    channel_order: Literal["bgr", "rgb"],
    budget: Budget | None,
    note: Callable[[str], None],
    keypoint_count: int,
) -> QuantizedNetwork:
    """Quantize a folded and simplified graph.

    Args:
        graph: Float graph, for images in `channel_order`.
        calibration: Calibration images; at most 64 of them are used.
        precision: One of `INTEGER_PRECISIONS`.
        channel_order: Channel order of the network's input.
        budget: Accuracy that "auto" may lose; not used by other precisions.
        note: Called with messages for the user.
        keypoint_count: Number of heatmaps without the background.

    Raises:
        ModelError: An operator has no integer form, or equalization changed the float network too much.
        ValueError: The precision is "auto" and there is no budget.
    """
    images = calibration.prepare_images(_MAX_IMAGES)
    if channel_order == "rgb":
        images = np.ascontiguousarray(images[..., ::-1])
    width, height = calibration.spec.width, calibration.spec.height
    fitted = fit_network(graph, images, "int16" if precision == "int16x8" else "int8", keypoint_count)
    seen, plan = fitted.calibration_set, fitted.plan
    recipe = [f"channels equalized (the float maps change by {fitted.max_change:.0e} of their range)"]
    if not seen.images_with_people:
        note(
            "warning: no people found in the calibration images: the measured ranges are those of images without "
            "people; add images that show people"
        )
    about = f"{len(images)} calibration images, {seen.images_with_people} of them with people"
    if precision == "auto":
        if budget is None:
            raise ValueError("--precision auto needs a budget")
        plan, steps = _fit_mixed_precision(fitted, (width, height), budget, note)
        recipe += steps
    else:
        recipe += [f"computed in float32, no 16-bit form: {name}" for name in sorted(plan.float_maps)]
    flatbuffer, operators = write_flatbuffer(plan, width, height)
    recipe.append(f"ranges and weights of {precision} fitted layer by layer to {about}")
    recipe.append("operators: " + ", ".join(f"{count} {name}" for name, count in sorted(operators.items())))
    return QuantizedNetwork(plan, flatbuffer, tuple(recipe), calibration, seen)


def _fit_mixed_precision(
    start: FittedNetwork, size: tuple[int, int], budget: Budget, note: Callable[[str], None]
) -> tuple[QuantizationPlan, list[str]]:
    """Find the cheapest plan within the budget, and describe the cost of its float layers for the recipe."""

    def assess(plan: QuantizationPlan) -> MixedPrecision:
        flatbuffer, _ = write_flatbuffer(plan, *size)
        return MixedPrecision(plan, flatbuffer, budget.measure_loss(flatbuffer))

    int8 = assess(start.plan)
    mixed = search_mixed_precision(int8, start.calibration_set, size, assess, budget.max_loss, note)
    note(f"loss of {mixed.loss:.4f} {budget.unit} with {len(mixed.blocks)} blocks in float")
    if not mixed.blocks:
        return mixed.plan, [f"nothing kept in float: int8 loses {mixed.loss:.4f} {budget.unit}"]
    int8_ms, mixed_ms = _measure_inference_ms([int8.flatbuffer, mixed.flatbuffer])
    added_kb = (len(mixed.flatbuffer) - len(int8.flatbuffer)) / 1e3
    cost = f"{added_kb:+.0f} kB, {int8_ms:.1f} -> {mixed_ms:.1f} ms on one thread of this computer"
    kept = ", ".join(f"{block[0]} to {block[-1]}" for block in mixed.blocks)
    loss = f"loses {mixed.loss:.4f} {budget.unit}, all in int8 {int8.loss:.4f}; {mixed.measured_blocks} blocks measured"
    return mixed.plan, [f"kept in float32 ({loss}; {cost}): {kept}"]


def _measure_inference_ms(flatbuffers: Sequence[bytes]) -> list[float]:
    """Measure the median inference time of several networks on one thread; the networks take turns."""
    with tempfile.TemporaryDirectory() as folder:
        networks = []
        for number, flatbuffer in enumerate(flatbuffers):
            path = Path(folder) / f"{number}.tflite"
            path.write_bytes(flatbuffer)
            networks.append(Network(path, threads=1))
        times_ms: list[list[float]] = [[] for _ in networks]
        for _ in range(_TIMED_RUNS):
            for network, measured in zip(networks, times_ms, strict=True):
                start = perf_counter()
                network.invoke()
                measured.append((perf_counter() - start) * 1e3)
        del networks, network
    return [float(np.median(measured)) for measured in times_ms]


def check_options(precision: Precision, calibration: Path | None, report: Path | None) -> None:
    """Check that an integer precision has calibration images, and that a report is only requested for one.

    Raises:
        ModelError: The options do not fit together.
    """
    if precision in INTEGER_PRECISIONS and calibration is None:
        raise ModelError(
            f"--precision {precision} needs calibration images to measure value ranges; add --calibration DIR or VIDEO "
            "with about 50 ordinary images that show people"
        )
    if report is not None and precision not in INTEGER_PRECISIONS:
        raise ModelError(
            f"--report is only available for integer precisions ({', '.join(INTEGER_PRECISIONS)}): "
            f"got --precision {precision}"
        )
