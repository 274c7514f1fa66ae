"""Quantization error of every layer: signal-to-quantization-noise ratio (SQNR) along the network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..ir import graph as g
from ..ir import stages
from ..quantize import layerwise
from ..quantize.calibrate import FloatArray
from ..quantize.integer import QuantizedNetwork
from ..quantize.plan import QuantParams

_MEASURED_IMAGES = 6
_WORST_COUNT = 5


class MapError(NamedTuple):
    """SQNR of a stored map in decibels; higher is better.

    Attributes:
        name: Name of the map.
        sqnr_db: SQNR with the errors of all operators up to this one.
        isolated_db: SQNR with the error of this operator alone.
        params: Quantization parameters of the map.
    """

    name: str
    sqnr_db: float
    isolated_db: float
    params: QuantParams


def measure_layer_errors(quantized: QuantizedNetwork, keypoint_count: int) -> list[MapError]:
    """Measure the error of every stored map on the calibration images with the largest area of people.

    The background channel of the heatmaps is left out: its values are so large that they would hide the keypoints.

    Args:
        quantized: Result of the quantization.
        keypoint_count: Number of heatmap channels without the background.
    """
    images, _ = quantized.calibration_set.select_fit_images(_MEASURED_IMAGES)
    heatmaps = {stage.heatmaps for stage in stages.find(quantized.plan.graph)}
    errors = []
    for comparison in layerwise.compare_layers(quantized.plan, images):
        name = comparison.node.name
        channels = slice(0, keypoint_count if name in heatmaps else None)
        float_map, quantized_map, isolated_map = (
            maps[..., channels] for maps in (comparison.float_map, comparison.quantized_map, comparison.isolated_map)
        )
        accumulated_db = _compute_sqnr_db(float_map, quantized_map)
        isolated_db = _compute_sqnr_db(float_map, isolated_map)
        errors.append(MapError(name, accumulated_db, isolated_db, quantized.plan.map_params[name]))
    return errors


def describe_worst_layers(errors: list[MapError]) -> str:
    """List the five operators with the largest error of their own, as text: "conv1 (12 dB), ..."."""
    lowest = sorted(errors, key=lambda error: error.isolated_db)[:_WORST_COUNT]
    return ", ".join(f"{error.name} ({error.isolated_db:.0f} dB)" for error in lowest)


def describe_stages(graph: g.Graph, errors: list[MapError]) -> str:
    """List the SQNR of the heatmaps and PAFs of every stage, as text."""
    sqnr_by_name = {error.name: error.sqnr_db for error in errors}
    found = stages.find(graph)
    heatmaps, pafs = (" ".join(f"{sqnr_by_name[stage[output]]:.1f}" for stage in found) for output in (0, 1))
    return f"signal-to-noise ratio by stage: heatmaps {heatmaps} dB, PAFs {pafs} dB"


def _compute_sqnr_db(float_map: FloatArray, quantized_map: FloatArray) -> float:
    """Compute signal power divided by noise power in decibels, at most 100 (no noise)."""
    noise = float(np.mean(np.square(float_map - quantized_map, dtype=np.float64)))
    signal = float(np.mean(np.square(float_map, dtype=np.float64)))
    return min(100.0, 10 * float(np.log10(signal / max(noise, 1e-30))))
