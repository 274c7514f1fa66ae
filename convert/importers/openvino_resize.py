"""Options of the Interpolate layers of an OpenVINO IR, versions 1, 4 and 11."""

from __future__ import annotations

import numpy as np

from .openvino_values import FeatureMap, Value, make_error
from .openvino_xml import Layer

_NEAREST_MODES = (
    ("asymmetric", "floor"), ("asymmetric", "simple"), ("half_pixel", "round_prefer_floor"),
    ("half_pixel", "round_prefer_ceil"), ("pytorch_half_pixel", "round_prefer_floor"),
    ("pytorch_half_pixel", "round_prefer_ceil"), ("tf_half_pixel_for_nn", "floor"), ("tf_half_pixel_for_nn", "simple"),
)  # fmt: skip
"""Coordinates and rounding for which nearest neighbor takes the same cells as in TensorFlow."""


def read_scales(layer: Layer, source: FeatureMap, scales: Value, axes: Value) -> tuple[float, float]:
    """Return the constant factors for height and width."""
    if not isinstance(scales, np.ndarray) or not isinstance(axes, np.ndarray):
        raise make_error(layer, "by factors that are not constant")
    by_axis = {source.axes[int(axis)]: float(scale) for axis, scale in zip(axes, scales, strict=True)}
    if any(by_axis.get(axis, 1.0) != 1.0 for axis in "NC"):
        raise make_error(layer, "of the channels")
    return by_axis.get("H", 1.0), by_axis.get("W", 1.0)


def read_resize_options(layer: Layer) -> dict[str, bool]:
    """Read the options of an Interpolate.

    Raises:
        UnsupportedLayerError: The mode is not bilinear or nearest neighbor, or the coordinates are others than those of
            TensorFlow.
    """
    data = layer.attributes
    mode = data["mode"]
    if mode not in ("linear", "linear_onnx", "nearest"):
        raise make_error(layer, f"with mode {mode}")
    if layer.is_set("antialias") and mode == "linear":
        raise make_error(layer, "with antialias")
    if any(int(part) for name in ("pads_begin", "pads_end") for part in data.get(name, "0").split(",") if part.strip()):
        raise make_error(layer, "with padding")
    if layer.version < 4:
        coordinates = "align_corners" if layer.is_set("align_corners", default=True) else "asymmetric"
    else:
        coordinates = data.get("coordinate_transformation_mode", "half_pixel")
    nearest, rounding = (
        mode == "nearest",
        "simple" if layer.version < 4 else data.get("nearest_mode", "round_prefer_floor"),
    )
    if nearest and (coordinates, rounding) not in _NEAREST_MODES:
        raise make_error(layer, f"with nearest_mode {rounding} and coordinate_transformation_mode {coordinates}")
    options = {"half_pixel_centers": False, "align_corners": False, "nearest": nearest}
    match coordinates:
        case "asymmetric":
            pass
        case "half_pixel" | "pytorch_half_pixel" | "tf_half_pixel_for_nn":
            options["half_pixel_centers"] = True
        case "align_corners":
            options["align_corners"] = True
        case _:
            raise make_error(layer, f"with coordinate_transformation_mode {coordinates}")
    return options
