"""The integer precisions: from a folded graph and calibration images to a plan and what is to be said of it."""

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
from .pipeline import Calibration, Fitted, fit_network
from .plan import Plan
from .sensitivity import Mixed, search_mixed_precision
from .write import write

INTEGER: tuple[Precision, ...] = ("int8", "int16x8", "auto")
_LIMIT = 64
"""Images used of a larger folder: more change nothing and take memory."""
_RUNS = 9


@dataclass(frozen=True)
class Quantized:
    """A plan and the file it makes, what was done, and the images it was made with: as they are, and as seen."""

    plan: Plan
    flatbuffer: bytes
    recipe: tuple[str, ...]
    calibration: CalibrationImages
    seen: Calibration


@dataclass(frozen=True)
class Budget:
    """What `--precision auto` may lose, and how the loss of a file is measured (the same unit)."""

    max_loss: float
    unit: str
    loss: Callable[[bytes], float]


def quantize_graph(
    graph: g.Graph,
    calibration: CalibrationImages,
    precision: Precision,
    channel_order: Literal["bgr", "rgb"],
    budget: Budget | None,
    note: Callable[[str], None],
) -> Quantized:
    """The integer form of a folded and simplified graph. Raises ModelError where an operator has none."""
    images = calibration.prepared(_LIMIT)
    if channel_order == "rgb":
        images = np.ascontiguousarray(images[..., ::-1])
    width, height = calibration.spec.width, calibration.spec.height
    found = fit_network(graph, images, "int16" if precision == "int16x8" else "int8")
    seen, plan = found.seen, found.plan
    recipe = [f"channels equalized (the float maps change by {found.change:.0e} of their range)"]
    if not seen.people:
        note("warning: no people in the calibration images: the ranges of the maps will be those of empty images")
    about = f"{len(images)} calibration images, {seen.people} of them with people"
    if precision == "auto":
        if budget is None:
            raise ValueError("--precision auto needs a budget")
        plan, kept = _mixed(found, (width, height), budget, note)
        recipe += kept
    else:
        recipe += [f"computed in float32, having no 16-bit form: {name}" for name in sorted(plan.floats)]
    flatbuffer, operators = write(plan, width, height)
    recipe.append(f"ranges and weights of {precision} fitted layer by layer to {about}")
    recipe.append("operators: " + ", ".join(f"{count} {name}" for name, count in sorted(operators.items())))
    return Quantized(plan, flatbuffer, tuple(recipe), calibration, seen)


def _mixed(start: Fitted, size: tuple[int, int], budget: Budget, note: Callable[[str], None]) -> tuple[Plan, list[str]]:
    """The cheapest plan within the budget, and what its float layers cost."""

    def assess(plan: Plan) -> Mixed:
        flatbuffer, _ = write(plan, *size)
        return Mixed(plan, flatbuffer, budget.loss(flatbuffer))

    whole = assess(start.plan)
    found = search_mixed_precision(whole, start.seen, size, assess, budget.max_loss, note)
    note(f"loses {found.loss:.4f} {budget.unit} with {len(found.blocks)} blocks in float")
    if not found.blocks:
        return found.plan, [f"nothing kept in float: int8 loses {found.loss:.4f} {budget.unit}"]
    before, after = inference_ms([whole.flatbuffer, found.flatbuffer])
    more = (len(found.flatbuffer) - len(whole.flatbuffer)) / 1e3
    cost = f"{more:+.0f} kB, {before:.1f} -> {after:.1f} ms on one thread here"
    kept = ", ".join(f"{block[0]} to {block[-1]}" for block in found.blocks)
    loss = f"loses {found.loss:.4f} {budget.unit} and {whole.loss:.4f} without, of {found.measured} blocks measured"
    return found.plan, [f"kept in float32 ({loss}; {cost}): {kept}"]


def inference_ms(flatbuffers: Sequence[bytes]) -> list[float]:
    """Median inference on one thread of several networks, taken in turn."""
    with tempfile.TemporaryDirectory() as folder:
        networks = []
        for number, flatbuffer in enumerate(flatbuffers):
            path = Path(folder) / f"{number}.tflite"
            path.write_bytes(flatbuffer)
            networks.append(Network(path, threads=1))
        times: list[list[float]] = [[] for _ in networks]
        for _ in range(_RUNS):
            for network, taken in zip(networks, times, strict=True):
                start = perf_counter()
                network.invoke()
                taken.append((perf_counter() - start) * 1e3)
        del networks, network
    return [float(np.median(taken)) for taken in times]


def check(precision: Precision, calibration: Path | None, report: Path | None) -> None:
    """Raises ModelError where an integer precision lacks images, or another is asked for a report."""
    if precision in INTEGER and calibration is None:
        raise ModelError(
            f"--precision {precision} needs images to learn the ranges from: some 50 ordinary ones with people, "
            "--calibration DIR or VIDEO"
        )
    if report is not None and precision not in INTEGER:
        raise ModelError(f"--report is about integer precisions ({', '.join(INTEGER)}), not {precision}")
