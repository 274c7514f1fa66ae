"""Quantization pipeline: equalize the float graph, choose quantization parameters, fit the weights layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from ...runtime.errors import ModelError
from ...runtime.io.messages import show_progress
from ..exporters import tensorflow
from ..ir import graph as g
from . import layerwise
from .calibrate import FloatArray, ImageBatch, choose_map_params, collect_statistics
from .cross_layer_equalization import equalize
from .offset_absorption import absorb_offsets
from .plan import QuantizationPlan, list_stored_maps

_FIT_IMAGES = 24
"""Images that the weights are fitted to: those with the largest area of people."""
_HELD_OUT_IMAGES = 12
"""Images that decide between two plans."""
_MIN_RANGE_RATIOS = (1.0, 0.5)
"""Values of `min_ratio` of `MapStatistics.compute_channel_ranges` that are tried; int16 only uses the first."""
_MAX_EQUALIZATION_CHANGE = 5e-4
"""Largest allowed change of the float network's maps by equalization, relative to their largest value."""
_MIN_PRESENCE = 0.4
"""Smallest value of a heatmap or PAF that counts as a person."""
_BACKGROUND_WEIGHT = 0.3
"""Weight of a position without a person; a position with a person has 1.3."""


@dataclass(frozen=True)
class CalibrationSet:
    """Calibration images as input of the network, and where the float network finds people in them.

    Attributes:
        images: (n, height, width, 3), uint8, in the channel order of the network.
        presence: Largest value of the keypoint heatmaps and PAFs in each cell, (n, rows, columns), 0 to 1.
        keypoint_count: Number of heatmaps without the background.
    """

    images: ImageBatch
    presence: FloatArray
    keypoint_count: int

    @property
    def images_with_people(self) -> int:
        """Number of images that show people."""
        return int((self.presence.max(axis=(1, 2)) > _MIN_PRESENCE).sum())

    def select_held_out_images(self, count: int = _HELD_OUT_IMAGES) -> ImageBatch:
        """Select images that the weights are not fitted to; if there are none, images that they are fitted to."""
        order = np.argsort(-self.presence.sum(axis=(1, 2)), kind="stable")
        return self.images[order[_FIT_IMAGES:][:count] if len(order) > _FIT_IMAGES else order[:count]]

    def select_fit_images(self, count: int = _FIT_IMAGES) -> tuple[ImageBatch, FloatArray]:
        """Select the images with the largest area of people.

        Returns:
            The images, and the importance of each cell, (n, rows, columns): 1.3 on people and next to them, else 0.3.
        """
        order = np.argsort(-self.presence.sum(axis=(1, 2)), kind="stable")[:count]
        neighborhood = np.ones((3, 3), np.uint8)
        weight = [
            _BACKGROUND_WEIGHT + cv2.dilate((self.presence[i] > 0.1).astype(np.float32), neighborhood) for i in order
        ]
        return self.images[order], np.stack(weight).astype(np.float32)


@dataclass(frozen=True)
class FittedNetwork:
    """Result of `fit_network`.

    Attributes:
        graph: Equalized float graph.
        max_change: Largest change of the float maps by equalization, relative to their largest value.
        calibration_set: Calibration images.
        plan: Integers of all weights and maps.
    """

    graph: g.Graph
    max_change: float
    calibration_set: CalibrationSet
    plan: QuantizationPlan


def fit_network(
    graph: g.Graph, images: ImageBatch, dtype: Literal["int8", "int16"], keypoint_count: int
) -> FittedNetwork:
    """Quantize a folded graph.

    It depends on the network whether channels should be equalized by their largest or by their typical values (see
    `MapStatistics.compute_channel_ranges`). For int8 both are tried. The plan with the smaller error on
    held-out images is returned.

    Args:
        graph: Folded float graph.
        images: Calibration images (n, height, width, 3), uint8.
        dtype: Integer type of the maps. Weights are always int8.
        keypoint_count: Number of heatmaps without the background.

    Raises:
        ModelError: Equalization changed the float maps by more than 5e-4 of their largest value.
    """
    with show_progress(len(images), "measuring ranges", "image") as progress:
        statistics = collect_statistics(graph, images, progress.update)
    shifted, statistics = absorb_offsets(graph, statistics)
    calibration = _measure_presence(graph, images, keypoint_count)
    held_out = calibration.select_held_out_images()
    float_maps = _run_float(graph, held_out)
    best, best_error = None, np.inf
    ratios = _MIN_RANGE_RATIOS if dtype == "int8" else _MIN_RANGE_RATIOS[:1]
    for number, min_ratio in enumerate(ratios, 1):
        prepared = equalize(shifted, statistics, min_ratio)
        change = _check_equalization(graph, prepared, images[:2])
        plan = _make_plan(prepared, calibration, dtype, f"plan {number} of {len(ratios)}, fitting weights")
        error = _compute_error(plan, held_out, float_maps)
        if best is None or error < best_error:
            best, best_error = FittedNetwork(prepared, change, calibration, plan), error
    assert best is not None
    return best


def _compute_error(plan: QuantizationPlan, images: ImageBatch, float_maps: tuple[FloatArray, FloatArray]) -> float:
    """Compute the noise power by the signal power, the sum of heatmaps and PAFs."""
    results = layerwise.run_quantized_network(plan, images)
    return sum(
        float(np.mean(np.square(results[name] - target)) / np.mean(np.square(target)))
        for name, target in zip((plan.graph.heatmaps, plan.graph.pafs), float_maps, strict=True)
    )


def _check_equalization(graph: g.Graph, prepared: g.Graph, images: ImageBatch) -> float:
    """Return the largest change of the outputs relative to their largest value; ModelError if it is too large."""
    pairs = zip(_run_float(graph, images), _run_float(prepared, images), strict=True)
    change = max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)
    if not change < _MAX_EQUALIZATION_CHANGE:
        raise ModelError(
            f"equalization changed the maps by {change:.1e} of their range; {_MAX_EQUALIZATION_CHANGE:.0e} is allowed"
        )
    return change


def _make_plan(
    graph: g.Graph, calibration: CalibrationSet, dtype: Literal["int8", "int16"], step: str
) -> QuantizationPlan:
    """Quantize an equalized graph. With int16, operators that TFLite has no 16-bit form of stay in float32."""
    images, sample_weight = calibration.select_fit_images()
    maps = choose_map_params(graph, collect_statistics(graph, calibration.images), dtype)
    float_maps = frozenset(name for name in list_stored_maps(graph) if _has_no_int16_form(graph, name))
    plan = QuantizationPlan(graph, maps, {}, float_maps if dtype == "int16" else frozenset())
    count = sum(isinstance(node, g.Conv) for node in graph.nodes.values())
    with show_progress(count, step, "layer") as progress:
        return layerwise.fit_layers(plan, images, sample_weight, lambda name: progress.update())


def _measure_presence(graph: g.Graph, images: ImageBatch, keypoint_count: int) -> CalibrationSet:
    """Run the float network over the images to find where people are."""
    parts = [_compute_presence(graph, images[i : i + 8], keypoint_count) for i in range(0, len(images), 8)]
    return CalibrationSet(images, np.concatenate(parts), keypoint_count)


def _compute_presence(graph: g.Graph, images: ImageBatch, keypoint_count: int) -> FloatArray:
    heatmaps, pafs = _run_float(graph, images)
    keypoints = heatmaps[..., :keypoint_count]
    presence = np.maximum(np.clip(keypoints, 0, 1).max(-1), np.clip(np.abs(pafs), 0, 1).max(-1))
    return np.asarray(presence, np.float32)


def _run_float(graph: g.Graph, images: ImageBatch) -> tuple[FloatArray, FloatArray]:
    """Run the float network and return heatmaps and PAFs."""
    results = tensorflow.run_graph(graph, images.astype(np.float32))
    return np.asarray(results[graph.heatmaps]), np.asarray(results[graph.pafs])


def _has_no_int16_form(graph: g.Graph, name: str) -> bool:
    node = graph.nodes[name]
    return isinstance(node, g.DepthToSpace) or (isinstance(node, g.Activation) and not node.is_fusable)
