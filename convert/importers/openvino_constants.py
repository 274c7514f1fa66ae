"""Constants of an OpenVINO IR: reading them, and evaluating the layers that read only constants."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .limits import ImportBudget, check_concat, check_elements
from .openvino_xml import Layer, UnsupportedLayerError, parse_integers

_DTYPES = {
    "f32": "<f4", "f16": "<f2", "f64": "<f8", "i64": "<i8", "i32": "<i4", "i16": "<i2", "i8": "i1",
    "u64": "<u8", "u32": "<u4", "u16": "<u2", "u8": "u1", "boolean": "u1",
}  # fmt: skip
_ARITHMETIC: dict[str, Any] = {
    "Add": np.add, "Subtract": np.subtract, "Multiply": np.multiply, "Divide": np.divide, "Power": np.power,
}  # fmt: skip
Constant = npt.NDArray[Any]


def is_integer_type(element_type: str) -> bool:
    """Return True if values of an element type are integers."""
    return np.dtype(_DTYPES.get(element_type, "<f4")).kind in "iu"


def read_constant(layer: Layer, weights: bytes, budget: ImportBudget) -> Constant:
    """Read the value of a Const layer.

    Raises:
        ModelError: The constant is too large.
        UnsupportedLayerError: The element type is not supported.
        ValueError: It is outside the `.bin` file.
    """
    data = layer.attributes
    element_type = data["element_type"]
    is_bfloat = element_type == "bf16"
    if not is_bfloat and element_type not in _DTYPES:
        raise UnsupportedLayerError(
            f"constant {layer.name!r} has the element type {element_type}, which is not supported; save the network "
            "with float16, float32 or 8-bit weights"
        )
    dtype = np.dtype("<u2" if is_bfloat else _DTYPES[element_type])
    offset, size = int(data["offset"]), int(data["size"])
    if offset < 0 or size < 0 or offset + size > len(weights):
        raise ValueError(f"constant {layer.name!r} is outside the .bin file (truncated?)")
    shape = parse_integers(data["shape"])
    budget.add_array(shape, f"constant {layer.name!r}")
    values: Constant = np.frombuffer(weights, dtype, math.prod(shape), offset)
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"constant {layer.name!r} has {size} bytes, too few for the shape {shape}")
    if is_bfloat:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.reshape(shape)


def evaluate_layer(layer: Layer, values: list[Constant], budget: ImportBudget) -> Constant:
    """Evaluate a layer whose inputs are all constants.

    Raises:
        ModelError: The result is too large.
        UnsupportedLayerError: The type of the layer is not supported.
    """
    # The result of an operator on small constants can be large.
    if layer.kind in (*_ARITHMETIC, "FakeQuantize"):
        check_elements(np.broadcast_shapes(*map(np.shape, values)), layer.label)
    result = _evaluate(layer, values)
    budget.add_array(result.shape, layer.label)
    return result


def _evaluate(layer: Layer, values: list[Constant]) -> Constant:
    if layer.kind in ("Reshape", "Transpose", "Squeeze", "Unsqueeze"):
        return _evaluate_layout(layer, *values[:2])
    first, data = values[0], layer.attributes
    second = values[1] if len(values) > 1 else first
    match layer.kind:
        case "Convert" if data["destination_type"] in _DTYPES:
            return first.astype(_DTYPES[data["destination_type"]])
        case "Convert" if data["destination_type"] == "bf16":
            return first.astype(np.float32)
        case "Concat":
            check_concat((value.size for value in values), layer.label)
            return np.concatenate(values, axis=int(data["axis"]))
        case "Gather" if len(values) == 3:
            return first.take(second.astype(np.int64), axis=int(values[2]))
        case kind if kind in _ARITHMETIC:
            is_integer = first.dtype.kind in "iu" and second.dtype.kind in "iu"
            dtype: Any = np.int64 if is_integer and kind != "Divide" else np.float32
            return np.asarray(_ARITHMETIC[kind](first.astype(dtype), second.astype(dtype)))
        case "FakeQuantize":
            return _fake_quantize(values, int(data["levels"]))
    raise UnsupportedLayerError(f"type {layer.kind} of {layer.label} is not supported on constants")


def _evaluate_layout(layer: Layer, first: Constant, second: Constant | None = None) -> Constant:
    integers = [] if second is None else [int(value) for value in second.ravel()]
    match layer.kind:
        case "Reshape":
            if layer.is_set("special_zero"):
                integers = [first.shape[i] if side == 0 else side for i, side in enumerate(integers)]
            return first.reshape(integers)
        case "Transpose":
            return first.transpose(integers or None)
        case "Unsqueeze":
            return np.expand_dims(first, tuple(integers))
    return first.squeeze(tuple(integers) or None)


def _fake_quantize(values: list[Constant], levels: int) -> Constant:
    x, low, high, out_low, out_high = (np.asarray(value, np.float32) for value in values)
    level = np.round((np.clip(x, low, high) - low) / (high - low) * (levels - 1))
    return np.asarray(level / (levels - 1) * (out_high - out_low) + out_low, np.float32)
