"""Where along a quantized network its error comes from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..ir import graph as g
from ..ir import stages
from ..ir.output_heads import HEATMAPS
from ..quantize import layerwise
from ..quantize.calibrate import Real
from ..quantize.integer import Quantized
from ..quantize.plan import QuantParams

_IMAGES = 6
_KEYPOINTS = HEATMAPS - 1
_NAMED = 5


class MapError(NamedTuple):
    """Signal to noise of a stored map, decibels: with all that happened before it, and by its own operator alone."""

    name: str
    sqnr_db: float
    alone_db: float
    code: QuantParams


def measure_layer_errors(integers: Quantized) -> list[MapError]:
    """The error of every stored map on the calibration images that show most of people.

    The background, which would hide all keypoints, does not count in the heatmaps.
    """
    images, _ = integers.seen.chosen(_IMAGES)
    heatmaps = {stage.heatmaps for stage in stages.find(integers.plan.graph)}
    found = []
    for step in layerwise.compare(integers.plan, images):
        name = step.node.name
        seen = slice(0, _KEYPOINTS if name in heatmaps else None)
        true, coded, alone = (maps[..., seen] for maps in (step.true, step.coded, step.alone))
        found.append(MapError(name, sqnr_db(true, coded), sqnr_db(true, alone), integers.plan.maps[name]))
    return found


def worst(errors: list[MapError]) -> str:
    """The operators that lose most by themselves, in words."""
    lowest = sorted(errors, key=lambda error: error.alone_db)[:_NAMED]
    return ", ".join(f"{error.name} ({error.alone_db:.0f} dB)" for error in lowest)


def by_stage(graph: g.Graph, errors: list[MapError]) -> str:
    """Signal to noise of the maps of every stage, in words."""
    found = {error.name: error.sqnr_db for error in errors}
    there = stages.find(graph)
    heatmaps, pafs = (" ".join(f"{found[stage[kind]]:.1f}" for stage in there) for kind in (0, 1))
    return f"signal to noise by stage: heatmaps {heatmaps} dB, PAFs {pafs} dB"


def sqnr_db(true: Real, coded: Real) -> float:
    """Signal power over noise power, decibels; 100 where there is no noise."""
    noise = float(np.mean(np.square(true - coded, dtype=np.float64)))
    return min(100.0, 10 * float(np.log10(float(np.mean(np.square(true, dtype=np.float64))) / max(noise, 1e-30))))
