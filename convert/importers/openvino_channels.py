"""Layers of an OpenVINO IR that take some channels of a feature map, or put them into another order."""

from __future__ import annotations

from typing import Any

import numpy as np

from .openvino_constants import Constant
from .openvino_xml import Layer


def index_channels(layer: Layer, rows: Any, axis: int, constants: list[Constant]) -> list[Any] | None:
    """Find out which channels a layer takes.

    Args:
        layer: A Gather, Split, VariadicSplit, Slice or StridedSlice.
        rows: Numbers of the channels of its input.
        axis: Dimension of the channels.
        constants: The constants that the layer reads.

    Returns:
        The channels of each output; None if the layer selects something else.

    Raises:
        ValueError: The layer does not match the number of channels.
    """
    data = layer.attributes
    match layer.kind:
        case "Gather" if len(constants) == 2 and int(constants[1]) in (axis, axis - 4) and constants[0].ndim == 1:
            return [rows[constants[0].astype(np.int64)]]
        case "Split" if int(constants[0]) in (axis, axis - 4):
            return np.split(rows, int(data["num_splits"]))
        case "VariadicSplit" if int(constants[0]) in (axis, axis - 4):
            lengths = [int(length) for length in constants[1]]
            rest = len(rows) - sum(length for length in lengths if length >= 0)
            lengths = [rest if length < 0 else length for length in lengths]
            if min(lengths) < 0 or sum(lengths) != len(rows):
                raise ValueError(f"{layer.label} splits {len(rows)} channels into {lengths}")
            return np.split(rows, np.cumsum(lengths)[:-1])
        case "Slice" if len(constants) >= 3:
            axes = constants[3] if len(constants) > 3 else np.arange(len(constants[0]))
            if len(axes) == 1 and int(axes[0]) in (axis, axis - 4):
                start, stop, step = (int(constant.ravel()[0]) for constant in constants[:3])
                return [_slice(rows, start, stop, step)]
        case "StridedSlice":
            return _index_strided(layer, rows, axis, constants)
    return None


def _slice(rows: Any, start: int | None, stop: int | None, step: int) -> Any:
    # A stop before the first element means that it is included, which Python writes as None.
    if step < 0 and stop is not None and stop < -len(rows):
        stop = None
    return rows[start:stop:step]


def _index_strided(layer: Layer, rows: Any, axis: int, constants: list[Constant]) -> list[Any] | None:
    masks = {
        name: [int(bit) for bit in layer.attributes.get(name, "").split(",") if bit.strip()]
        for name in ("begin_mask", "end_mask", "new_axis_mask", "shrink_axis_mask", "ellipsis_mask")
    }
    if any(masks[name].count(1) for name in ("new_axis_mask", "shrink_axis_mask", "ellipsis_mask")):
        return None
    begin, end = constants[0], constants[1]
    steps = constants[2] if len(constants) > 2 else np.ones(len(begin), np.int64)
    for place in range(len(begin)):
        # A mask of 1 means that the value is not used.
        start = None if 1 in masks["begin_mask"][place : place + 1] else int(begin[place])
        stop = None if 1 in masks["end_mask"][place : place + 1] else int(end[place])
        step = int(steps[place])
        if place == axis:
            rows = _slice(rows, start, stop, step)
        elif (start or 0) != 0 or step != 1 or not (stop is None or _is_whole(layer, place, stop)):
            return None
    return [rows] if len(rows) else None


def _is_whole(layer: Layer, axis: int, stop: int) -> bool:
    side = layer.input_sides[0][axis]
    return stop >= (1 << 31) - 1 or (side is not None and stop >= side)
