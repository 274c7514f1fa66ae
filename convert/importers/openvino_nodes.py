"""Graph nodes for the layers of an OpenVINO IR that read one feature map and constants."""

from __future__ import annotations

import math

import numpy as np

from ..ir import graph as g
from .limits import check_elements
from .openvino_constants import Constant
from .openvino_values import NO_PADDING, FeatureMap, make_error
from .openvino_xml import Layer

_MAX_CLAMP = 1e30
"""Clamp to a larger value is a ReLU: files write the largest float for infinity."""
_ACTIVATIONS: dict[str, g.ActivationKind] = {
    "ReLU": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HSwish": "hard_swish",
}  # fmt: skip


def _check_channels_first(layer: Layer, source: FeatureMap) -> None:
    if source.axes != "NCHW":
        raise make_error(layer, f"of a feature map in the layout {source.axes}")


def make_conv(layer: Layer, source: FeatureMap, constant: Constant) -> g.Conv:
    """Make the node of a Convolution or GroupConvolution with a constant kernel.

    Raises:
        UnsupportedLayerError: The layer is not supported as it is used.
    """
    _check_channels_first(layer, source)
    kernel: g.Array = np.asarray(constant, np.float32)
    is_grouped = layer.kind == "GroupConvolution"
    if kernel.ndim != 4 + is_grouped:
        raise make_error(layer, f"with a kernel of {kernel.ndim} dimensions")
    depthwise = is_grouped and kernel.shape[2] == 1 and source.channels is None
    if depthwise:
        kernel = kernel[:, :, 0].transpose(2, 3, 0, 1)  # (groups, out, height, width)
    else:
        if is_grouped:
            kernel = _expand_groups(layer, kernel)
        kernel = kernel.transpose(2, 3, 1, 0)
        if source.channels is not None:
            kernel = _scatter_channels(layer, kernel, source)
    strides, dilations = layer.read_pair("strides"), layer.read_pair("dilations", "1,1")
    padding = _read_padding(layer, kernel.shape[:2], strides, dilations)
    if source.padding != NO_PADDING:
        if padding == "SAME":
            raise make_error(layer, "that pads an input that is already padded")
        own = NO_PADDING if padding == "VALID" else padding
        pairs = [(a + c, b + d) for (a, b), (c, d) in zip(source.padding, own, strict=True)]
        padding = pairs[0], pairs[1]
    return g.Conv(
        name=layer.name, kernel=np.ascontiguousarray(kernel), depthwise=depthwise, strides=strides,
        dilations=dilations, padding=padding,
    )  # fmt: skip


def _expand_groups(layer: Layer, kernel: g.Array) -> g.Array:
    """Return the kernel of a convolution in groups as one kernel that is zero between the groups."""
    groups, out, inside, height, width = kernel.shape
    check_elements((groups * out, groups * inside, height, width), layer.label)
    result = np.zeros((groups * out, groups * inside, height, width), np.float32)
    for group in range(groups):
        result[group * out : (group + 1) * out, group * inside : (group + 1) * inside] = kernel[group]
    return result


def _scatter_channels(layer: Layer, kernel: g.Array, source: FeatureMap) -> g.Array:
    """Return the kernel for all channels of the node, of which the IR reads some, or in another order."""
    channels = source.channels or ()
    if kernel.shape[2] != len(channels):
        raise ValueError(f"{layer.label} has a kernel for {kernel.shape[2]} channels and reads {len(channels)}")
    result = np.zeros((*kernel.shape[:2], source.node_channels, kernel.shape[3]), np.float32)
    result[:, :, list(channels)] = kernel
    return result


def _read_padding(
    layer: Layer, kernel: tuple[int, ...], strides: tuple[int, int], dilations: tuple[int, int]
) -> g.Padding:
    kind = layer.attributes.get("auto_pad", "explicit")
    if kind == "valid":
        return "VALID"
    if kind == "same_upper":
        return "SAME"
    if kind == "same_lower":
        if strides == (1, 1) and all((side - 1) * step % 2 == 0 for side, step in zip(kernel, dilations, strict=True)):
            return "SAME"
        raise make_error(layer, "with auto_pad=same_lower")
    (top, left), (bottom, right) = layer.read_pair("pads_begin", "0,0"), layer.read_pair("pads_end", "0,0")
    return ((top, bottom), (left, right)) if top or left or bottom or right else "VALID"


def _read_row(layer: Layer, source: FeatureMap, constant: Constant) -> g.Array:
    """Return a constant with one value, or one per channel, as a row in the channel order of the node.

    Raises:
        UnsupportedLayerError: The constant differs between positions.
    """
    values = np.asarray(constant, np.float32)
    shape = (1,) * (4 - values.ndim) + values.shape
    if len(shape) != 4 or any(side != 1 for axis, side in zip(source.axes, shape, strict=True) if axis != "C"):
        raise make_error(layer, f"with a constant of shape {values.shape} for a map in the layout {source.axes}")
    row: g.Array = values.reshape(-1)
    if source.channels is not None and len(row) > 1:
        by_node = np.ones(source.node_channels, np.float32)
        by_node[list(source.channels)] = row
        row = by_node
    return row


def make_affine(layer: Layer, source: FeatureMap, constant: Constant, *, is_first: bool) -> g.Affine:
    """Make the node of an operator on a feature map and a constant. `is_first`: the map is the first operand.

    Raises:
        UnsupportedLayerError: The layer is not supported as it is used.
    """
    row = _read_row(layer, source, constant)
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    match layer.kind:
        case "Add":
            scale, offset = one, row
        case "Subtract":
            scale, offset = (one, -row) if is_first else (-one, row)
        case "Multiply":
            scale, offset = row, zero
        case _:
            if not is_first or not np.all(row):
                raise make_error(layer, "by a feature map" if not is_first else "by zero")
            scale, offset = one / row, zero
    return g.Affine(name=layer.name, scale=scale, offset=offset)


def make_batch_norm(layer: Layer, source: FeatureMap, constants: list[Constant]) -> g.BatchNorm:
    """Make the node of a BatchNormInference.

    Raises:
        UnsupportedLayerError: The layer is not supported as it is used.
    """
    # The order of the four constants is the same in all operation sets; only the place of the map differs.
    gamma, beta, mean, variance = (np.asarray(constant, np.float32).ravel() for constant in constants)
    epsilon = float(layer.attributes.get("epsilon", layer.attributes.get("eps", "1e-5")))
    if source.channels is not None:
        raise make_error(layer, "of reordered channels")
    return g.BatchNorm(name=layer.name, gamma=gamma, beta=beta, mean=mean, variance=variance, epsilon=epsilon)


def make_activation(layer: Layer, constants: list[Constant], source: FeatureMap) -> g.Activation:
    """Make the node of an activation function.

    Raises:
        UnsupportedLayerError: The layer is not supported as it is used.
    """
    if layer.kind in _ACTIVATIONS:
        return g.Activation(name=layer.name, kind=_ACTIVATIONS[layer.kind])
    match layer.kind:
        case "Clamp":
            low, high = float(layer.attributes["min"]), float(layer.attributes["max"])
            if low == 0.0 and high >= _MAX_CLAMP:
                return g.Activation(name=layer.name, kind="relu")
            if low == 0.0 < high and math.isfinite(high):
                cap = None if high == 6.0 else np.full(1, high, np.float32)
                return g.Activation(name=layer.name, kind="relu6", cap=cap)
            raise make_error(layer, f"to the range {low:g} to {high:g}")
        case "Elu" if float(layer.attributes["alpha"]) == 1.0:
            return g.Activation(name=layer.name, kind="elu")
        case "PReLU" if len(constants) == 1:
            slope = np.asarray(constants[0], np.float32)
            if slope.size == 1:
                return g.Activation(name=layer.name, kind="leaky_relu", alpha=slope.reshape(1))
            if slope.ndim == 1:
                slope = slope.reshape([-1 if axis == "C" else 1 for axis in source.axes])
            return g.Activation(name=layer.name, kind="prelu", alpha=_read_row(layer, source, slope))
        case "Swish" if not constants or float(constants[0].ravel()[0]) == 1.0:
            return g.Activation(name=layer.name, kind="swish")
    raise make_error(layer)


def make_pool(layer: Layer, source: FeatureMap) -> g.MaxPool:
    """Make the node of a MaxPool.

    Raises:
        UnsupportedLayerError: The layer is not supported as it is used.
    """
    _check_channels_first(layer, source)
    window, strides = layer.read_pair("kernel"), layer.read_pair("strides")
    if layer.read_pair("dilations", "1,1") != (1, 1):
        raise make_error(layer, "with dilations")
    padding = _read_padding(layer, window, strides, (1, 1))
    if layer.attributes.get("rounding_type", "floor") != "floor":
        if (window, strides, padding) != ((2, 2), (2, 2), "VALID"):
            raise make_error(layer, f"with rounding_type {layer.attributes['rounding_type']}")
        padding = "SAME"
    return g.MaxPool(name=layer.name, window=window, strides=strides, padding=padding)
