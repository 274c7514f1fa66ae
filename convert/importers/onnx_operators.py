"""Conversion of ONNX operators on feature maps to nodes of the graph.

Each function returns the feature maps of the operator's outputs. What the graph cannot express exactly is an error with
the operator, its node and what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..ir import graph as g
from .activation_patterns import match_product
from .limits import check_elements
from .onnx_constants import read_axes, read_ranges
from .onnx_file import Operator
from .onnx_resize import convert_resize
from .onnx_transposed import convert_depth_to_space, convert_transposed_conv
from .onnx_values import NO_PADS, FeatureMap, Pads, Values

Convert = Callable[[Values, Operator], list[FeatureMap]]

_ACTIVATIONS: dict[str, g.ActivationKind] = {
    "Relu": "relu", "Elu": "elu", "Sigmoid": "sigmoid", "Tanh": "tanh", "HardSwish": "hard_swish",
}  # fmt: skip
"""Kinds of activations without parameters, by operator."""
_MAX_RELU = 1e30
"""A Clip with a maximum from here on is a ReLU."""
_FLOAT_TYPES = (1, 10, 11, 16)
_USE_OTHER = "export the network with another activation, such as ReLU"


def _pass(values: Values, operator: Operator) -> list[FeatureMap]:
    return [values.get_padded_map(operator, 0)]


def _cast(values: Values, operator: Operator) -> list[FeatureMap]:
    if operator.get_int("to") not in _FLOAT_TYPES:
        raise operator.refuse("it converts a feature map to integers")
    return _pass(values, operator)


def _transpose(values: Values, operator: Operator) -> list[FeatureMap]:
    source = values.get_padded_map(operator, 0)
    axes = operator.get_ints("perm", (3, 2, 1, 0))
    if sorted(axes) != [0, 1, 2, 3]:
        raise operator.refuse(f"its order of axes is {axes}; expected four axes")
    return [replace(source, layout="".join(source.layout[axis] for axis in axes))]


def _reshape(values: Values, operator: Operator) -> list[FeatureMap]:
    source = values.get_map(operator, 0)
    shape = values.get_integers(operator, 1)
    actual = values.get_shape(source)
    unchanged = len(shape) == 4 and all(
        side in (0, -1, actual[i]) or source.layout[i] == "N" for i, side in enumerate(shape)
    )
    if not unchanged or shape.count(-1) > 1:
        raise operator.refuse(f"it changes the shape {tuple(actual)} of a feature map to {tuple(shape)[:8]}")
    return [source]


def _pad(values: Values, operator: Operator) -> list[FeatureMap]:
    source = values.get_padded_map(operator, 0)
    if operator.get_text("mode", "constant") != "constant":
        raise operator.refuse(f"its mode is {operator.get_text('mode')}; expected constant zeros")
    amounts = list(operator.get_ints("pads"))
    value, axes = operator.get_float("value"), list(range(4))
    if len(operator.inputs) > 1:
        amounts, constant = values.get_integers(operator, 1), values.get_constant(operator, 2)
        value = 0.0 if constant is None or not constant.size else float(constant.item())
        axes = [axis % 4 for axis in values.get_integers(operator, 3)] or axes
    if value:
        raise operator.refuse(f"it pads with {value}; expected zeros")
    by_axis = {source.layout[a]: (amounts[i], amounts[i + len(axes)]) for i, a in enumerate(axes)}
    if any(by_axis.get(axis, (0, 0)) != (0, 0) for axis in "NC") or min(amounts, default=0) < 0:
        raise operator.refuse(f"its pads are {tuple(amounts)[:8]}; expected zeros added to height and width only")
    return [replace(source, pads=_add_pads(source.pads, (by_axis.get("H", (0, 0)), by_axis.get("W", (0, 0)))))]


def _conv(values: Values, operator: Operator) -> list[FeatureMap]:
    source = values.get_padded_map(operator, 0, "NCHW")
    weights = values.get_weights(operator, 1)
    if weights.ndim != 4 or not weights.size:
        raise operator.refuse(f"its kernel has the shape {weights.shape}; expected four axes")
    groups, inside = operator.get_int("group", 1), values.channels[source.node]
    if groups < 1 or weights.shape[1] * groups != inside or weights.shape[0] % groups:
        raise operator.refuse(
            f"its kernel has the shape {weights.shape} for {groups} groups, but its input has {inside} channels",
            "export the model again",
        )
    bias = values.get_weights(operator, 2).ravel() if values.get_constant(operator, 2) is not None else None
    if bias is not None and len(bias) != len(weights):
        raise operator.refuse(f"it has {len(bias)} biases for {len(weights)} channels", "export the model again")
    strides, dilations = _read_pair(operator, "strides"), _read_pair(operator, "dilations")
    padding = _read_padding(operator, (weights.shape[2], weights.shape[3]), strides, dilations)
    if source.pads != NO_PADS and padding == "SAME":
        source = values.get_map(operator, 0)
    elif source.pads != NO_PADS:
        padding = _add_pads(source.pads, NO_PADS if isinstance(padding, str) else padding)
    depthwise = groups == inside and weights.shape[1] == 1 and groups > 1
    node = g.Conv(
        name=operator.outputs[0], inputs=(source.node,), kernel=_make_kernel(operator, weights, groups, depthwise),
        bias=bias, strides=strides, dilations=dilations, padding=padding, depthwise=depthwise,
    )  # fmt: skip
    return [values.add_node(operator, node)]


def _make_kernel(operator: Operator, weights: g.Array, groups: int, depthwise: bool) -> g.Array:
    """Convert a kernel (out, in, height, width). One with several groups becomes a full kernel with zeros."""
    outside, inside, rows, columns = weights.shape
    if depthwise:
        kernel = weights.reshape(groups, outside // groups, rows, columns).transpose(2, 3, 0, 1)
        return np.ascontiguousarray(kernel)
    if groups == 1:
        return np.ascontiguousarray(weights.transpose(2, 3, 1, 0))
    shape = (rows, columns, groups * inside, outside)
    check_elements(shape, operator.label)
    kernel, each = np.zeros(shape, np.float32), outside // groups
    for group in range(groups):
        own = weights[group * each : (group + 1) * each].transpose(2, 3, 1, 0)
        kernel[:, :, group * inside : (group + 1) * inside, group * each : (group + 1) * each] = own
    return kernel


def _batch_norm(values: Values, operator: Operator) -> list[FeatureMap]:
    source = values.get_blocked_map(operator, 0)
    source = source if source.pads == NO_PADS else values.get_map(operator, 0)
    if source.layout[1] != "C":
        raise operator.refuse(f"its input has the axes {source.layout}; expected the channels second")
    rows = [values.get_weights(operator, index).ravel() for index in (1, 2, 3, 4)]
    channels = values.get_shape(source)[1]
    if any(len(row) != channels for row in rows):
        raise operator.refuse(f"expected {channels} values per row", "export the model again")
    gamma, beta, mean, variance = (np.tile(row, source.block**2) for row in rows)
    training = bool(operator.get_int("training_mode")) or any(operator.outputs[1:])
    node = g.BatchNorm(
        name=operator.outputs[0], inputs=(source.node,), gamma=gamma, beta=beta, mean=None if training else mean,
        variance=None if training else variance, epsilon=operator.get_float("epsilon", 1e-5),
    )  # fmt: skip
    return [replace(values.add_node(operator, node, source.layout), block=source.block)]


def _activate(values: Values, operator: Operator) -> list[FeatureMap]:
    if operator.get_float("alpha", 1.0) != 1.0:
        raise operator.refuse(f"its alpha is {operator.get_float('alpha'):g}; expected 1", _USE_OTHER)
    return [_add_activation(values, operator, _ACTIVATIONS[operator.kind])]


def _leaky_relu(values: Values, operator: Operator) -> list[FeatureMap]:
    alpha = np.array([operator.get_float("alpha", 0.01)], np.float32)
    return [_add_activation(values, operator, "leaky_relu", alpha=alpha)]


def _prelu(values: Values, operator: Operator) -> list[FeatureMap]:
    source = values.get_blocked_map(operator, 0)
    alpha = _read_channel_values(values, operator, 1, source)
    alpha = np.broadcast_to(alpha, values.get_shape(source)[source.layout.index("C")]).astype(np.float32)
    return [_add_activation(values, operator, "prelu", alpha=alpha)]


def _hard_sigmoid(values: Values, operator: Operator) -> list[FeatureMap]:
    """Convert `clip(alpha * x + beta, 0, 1)`."""
    source = values.get_map(operator, 0)
    row = np.array([operator.get_float("alpha", 0.2), operator.get_float("beta", 0.5)], np.float32)
    name = operator.outputs[0]
    line = g.Affine(name=f"{name}/line", inputs=(source.node,), scale=row[:1], offset=row[1:])
    values.add_node(operator, line)
    node = g.Activation(name=name, inputs=(line.name,), kind="relu6", cap=np.ones(1, np.float32))
    return [values.add_node(operator, node, source.layout)]


def _clip(values: Values, operator: Operator) -> list[FeatureMap]:
    low, high = operator.get_float("min", -np.inf), operator.get_float("max", np.inf)
    if len(operator.inputs) > 1:
        bounds = [values.get_constant(operator, index) for index in (1, 2)]
        low, high = (
            default if bound is None else float(bound.item())
            for bound, default in zip(bounds, (low, high), strict=True)
        )
    if low != 0 or not high > 0:
        raise operator.refuse(f"it limits values to {low:g} to {high:g}; expected 0 to a maximum, or no maximum")
    if high >= _MAX_RELU:
        return [_add_activation(values, operator, "relu")]
    return [_add_activation(values, operator, "relu6", cap=None if high == 6 else np.array([high], np.float32))]


def _add_activation(
    values: Values,
    operator: Operator,
    kind: g.ActivationKind,
    *,
    cap: g.Array | None = None,
    alpha: g.Array | None = None,
) -> FeatureMap:
    source = values.get_blocked_map(operator, 0)
    source = source if source.pads == NO_PADS else values.get_map(operator, 0)
    alpha = alpha if alpha is None or alpha.size == 1 else np.tile(alpha, source.block**2)
    node = g.Activation(name=operator.outputs[0], inputs=(source.node,), kind=kind, cap=cap, alpha=alpha)
    return replace(values.add_node(operator, node, source.layout), block=source.block)


def _add(values: Values, operator: Operator) -> list[FeatureMap]:
    """Convert Add and Sum, of two or more feature maps or of one and a constant."""
    if len(operator.inputs) == 2 and any(name in values.constants for name in operator.inputs):
        return _scale(values, operator)
    total = values.get_map(operator, 0)
    for index in range(1, len(operator.inputs)):
        other = values.get_map(operator, index)
        if values.get_shape(total) != values.get_shape(other) or total.layout != other.layout:
            raise operator.refuse(
                f"it adds feature maps of the shapes {tuple(values.get_shape(total))} and "
                f"{tuple(values.get_shape(other))}; expected equal shapes"
            )
        is_last = index == len(operator.inputs) - 1
        name = operator.outputs[0] if is_last else f"{operator.outputs[0]}/sum{index}"
        total = values.add_node(operator, g.Add(name=name, inputs=(total.node, other.node)), total.layout)
    return [total]


def _scale(values: Values, operator: Operator) -> list[FeatureMap]:
    """Convert the addition, subtraction, multiplication or division of a feature map and a constant."""
    place = next((i for i, name in enumerate(operator.inputs) if name in values.constants), None)
    if place is None or len(operator.inputs) != 2:
        raise operator.refuse("both inputs are feature maps; expected a constant")
    source = values.get_map(operator, 1 - place)
    row = _read_channel_values(values, operator, place, source)
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    match operator.kind, place:
        case "Add" | "Sum", _:
            scale, offset = one, row
        case "Mul", _:
            scale, offset = row, zero
        case "Sub", 1:
            scale, offset = one, -row
        case "Sub", 0:
            scale, offset = -one, row
        case "Div", 1 if np.all(row):
            scale, offset = one / row, zero
        case _:
            raise operator.refuse("it divides by a feature map or by zero")
    node = g.Affine(name=operator.outputs[0], inputs=(source.node,), scale=scale, offset=offset)
    return [values.add_node(operator, node, source.layout)]


def _multiply(values: Values, operator: Operator) -> list[FeatureMap]:
    """Convert Mul with a constant, of a feature map and its own gate (swish, hard_swish), or of two feature maps."""
    if any(name in values.constants for name in operator.inputs):
        return _scale(values, operator)
    first, second = values.get_map(operator, 0), values.get_map(operator, 1)
    found = match_product(values.nodes, (first.node, second.node))
    if first.layout != second.layout or values.get_shape(first) != values.get_shape(second):
        raise operator.refuse(
            f"it multiplies feature maps of the shapes {tuple(values.get_shape(first))} and "
            f"{tuple(values.get_shape(second))}; expected equal shapes"
        )
    if found is None:
        product = g.Multiply(name=operator.outputs[0], inputs=(first.node, second.node))
        return [values.add_node(operator, product, first.layout)]
    name, is_scaled = operator.outputs[0], found.scale != 1
    activation = g.Activation(
        name=f"{name}/{found.kind}" if is_scaled else name, inputs=(found.source,), kind=found.kind, alpha=found.alpha
    )
    result = values.add_node(operator, activation, first.layout)
    if not is_scaled:
        return [result]
    row = np.array([found.scale, 0], np.float32)
    return [values.add_node(operator, g.Affine(name=name, inputs=(result.node,), scale=row[:1], offset=row[1:]))]


def _read_channel_values(values: Values, operator: Operator, index: int, source: FeatureMap) -> g.Array:
    """Return a constant as one value, or as one value per channel."""
    constant = values.get_weights(operator, index)
    shape = (1,) * (4 - constant.ndim) + constant.shape
    axis = source.layout.index("C")
    channels = values.get_shape(source)[axis]
    expected = [(1, channels) if i == axis else (1,) for i in range(4)]
    if len(shape) != 4 or any(side not in allowed for side, allowed in zip(shape, expected, strict=True)):
        raise operator.refuse(f"its constant has the shape {constant.shape}; expected one value, or one per channel")
    return np.ascontiguousarray(constant.ravel())


def _concat(values: Values, operator: Operator) -> list[FeatureMap]:
    maps = [values.get_map(operator, index) for index in range(len(operator.inputs))]
    layout = maps[0].layout
    if layout[operator.get_int("axis") % 4] != "C" or any(found.layout != layout for found in maps):
        raise operator.refuse("expected a concat along the channels")
    if len({values.sizes[found.node] for found in maps}) > 1:
        raise operator.refuse("its inputs have different sizes", "export the model again")
    if len(maps) == 1:
        return maps
    node = g.Concat(name=operator.outputs[0], inputs=tuple(found.node for found in maps))
    return [values.add_node(operator, node, layout)]


def _max_pool(values: Values, operator: Operator) -> list[FeatureMap]:
    source = values.get_map(operator, 0, "NCHW")
    window, strides, padding = _read_pool(operator)
    if isinstance(padding, tuple):
        if not _is_non_negative(values, source.node):
            raise operator.refuse("it pads a feature map that can be negative; expected a ReLU before it")
        # Zeros never win against values of 0 or more, so they can be added before.
        source, padding = values.add_padding(operator, source, padding), "VALID"
    node = g.MaxPool(name=operator.outputs[0], inputs=(source.node,), window=window, strides=strides, padding=padding)
    return [values.add_node(operator, node)]


def _average_pool(values: Values, operator: Operator) -> list[FeatureMap]:
    """Convert an average pooling to a depthwise convolution with equal weights."""
    source = values.get_map(operator, 0, "NCHW")
    window, strides, padding = _read_pool(operator)
    if padding != "VALID" and (padding == "SAME" or not operator.get_int("count_include_pad")):
        raise operator.refuse("its average does not count the padding; expected count_include_pad=1 or no padding")
    kernel = np.full((*window, values.channels[source.node], 1), 1 / (window[0] * window[1]), np.float32)
    node = g.Conv(
        name=operator.outputs[0], inputs=(source.node,), kernel=kernel, strides=strides, padding=padding, depthwise=True
    )
    return [values.add_node(operator, node)]


def _read_pool(operator: Operator) -> tuple[tuple[int, int], tuple[int, int], g.Padding]:
    """Return window, strides and padding of a pooling."""
    window, strides = _read_pair(operator, "kernel_shape"), _read_pair(operator, "strides")
    check_elements(window, operator.label)
    if _read_pair(operator, "dilations") != (1, 1):
        raise operator.refuse("it has dilations")
    padding = _read_padding(operator, window, strides, (1, 1))
    if operator.get_int("ceil_mode"):
        if window != (2, 2) or strides != (2, 2) or padding != "VALID" or operator.kind != "MaxPool":
            raise operator.refuse("it rounds its size up", "export the model with ceil_mode=False")
        # Only for 2x2, TensorFlow's SAME adds at the bottom and right alone.
        return window, strides, "SAME"
    # TensorFlow's SAME is the same for stride 1, and has an operator in every format.
    is_same = strides == (1, 1) and padding == tuple(((k - 1) // 2, k - 1 - (k - 1) // 2) for k in window)
    return window, strides, "SAME" if is_same and operator.kind == "MaxPool" else padding


def _is_non_negative(values: Values, name: str) -> bool:
    """Return True if all values of a node are certainly 0 or more."""
    pending, seen = [name], {name}
    while pending:
        node = values.nodes[pending.pop()]
        match node:
            case g.Activation() if node.kind in ("relu", "relu6"):
                continue
            case g.MaxPool() | g.Concat() | g.Add() | g.Slice():
                pending.extend(i for i in node.inputs if i not in seen)
                seen.update(node.inputs)
            case _:
                return False
    return True


def _slice(values: Values, operator: Operator) -> list[FeatureMap]:
    source = values.get_map(operator, 0)
    bounds = [values.get_constant(operator, index) for index in range(1, len(operator.inputs))]
    shape, result = values.get_shape(source), source
    for axis, (start, end, step) in read_ranges(operator, bounds, 4).items():
        first, last, _ = slice(start, end, step).indices(shape[axis])
        if step == 1 and (first, last) == (0, shape[axis]):
            continue
        if step != 1 or source.layout[axis] != "C" or first >= last:
            raise operator.refuse("expected a slice of channels, one after the other")
        node = g.Slice(name=operator.outputs[0], inputs=(source.node,), start=first, stop=last)
        result = values.add_node(operator, node, source.layout)
    return [result]


def _split(values: Values, operator: Operator) -> list[FeatureMap]:
    source = values.get_map(operator, 0)
    if source.layout[operator.get_int("axis") % 4] != "C":
        raise operator.refuse("expected a split of the channels")
    total, parts = values.channels[source.node], len(operator.outputs)
    lengths = values.get_integers(operator, 1) or list(operator.get_ints("split"))
    if not lengths:
        each = -(-total // parts)
        lengths = [*[each] * (parts - 1), total - each * (parts - 1)]
    if len(lengths) != parts or sum(lengths) != total or min(lengths) < 1:
        raise operator.refuse(f"it splits {total} channels into {tuple(lengths)[:8]}", "export the model again")
    ends = np.cumsum(lengths).tolist()
    return [
        values.add_node(
            operator, g.Slice(name=name, inputs=(source.node,), start=end - length, stop=end), source.layout
        )
        for name, end, length in zip(operator.outputs, ends, lengths, strict=True)
    ]


def _gather(values: Values, operator: Operator) -> list[FeatureMap]:
    """Convert a choice of channels, such as a swap of red and blue, to a 1x1 convolution."""
    source = values.get_map(operator, 0)
    indices, total = values.constants.get(operator.inputs[1]), values.channels[source.node]
    if indices is None or indices.ndim != 1 or source.layout[operator.get_int("axis") % 4] != "C" or not indices.size:
        raise operator.refuse("expected a choice of channels")
    check_elements((total, indices.size), operator.label)
    kernel = np.eye(total, dtype=np.float32)[:, indices][None, None]
    node = g.Conv(name=operator.outputs[0], inputs=(source.node,), kernel=np.ascontiguousarray(kernel))
    return [values.add_node(operator, node, source.layout)]


def _squeeze_nothing(values: Values, operator: Operator) -> list[FeatureMap]:
    axes = read_axes(operator, values.get_constant(operator, 1))
    raise operator.refuse(f"it changes the axes {axes} of a feature map")


def _add_pads(first: Pads, second: Pads) -> Pads:
    (top, bottom), (left, right) = first
    (more_top, more_bottom), (more_left, more_right) = second
    return (top + more_top, bottom + more_bottom), (left + more_left, right + more_right)


def _read_pair(operator: Operator, name: str) -> tuple[int, int]:
    pair = operator.get_ints(name, (1, 1))
    if len(pair) != 2 or not all(0 < side <= 1 << 12 for side in pair):
        raise operator.refuse(f"its {name} are {pair[:8]}; expected height and width")
    return pair[0], pair[1]


def _read_padding(
    operator: Operator, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int]
) -> g.Padding:
    """Return the padding of a convolution or pooling."""
    mode, pads = operator.get_text("auto_pad", "NOTSET"), operator.get_ints("pads", (0, 0, 0, 0))
    totals = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    match mode:
        case "VALID":
            return "VALID"
        case "SAME_UPPER":
            return "SAME"
        case "SAME_LOWER" if strides == (1, 1):
            (height, width) = ((total - total // 2, total // 2) for total in totals)
            return height, width
        case "NOTSET" if len(pads) == 4 and all(0 <= side <= 1 << 12 for side in pads):
            return ((pads[0], pads[2]), (pads[1], pads[3])) if any(pads) else "VALID"
    raise operator.refuse(f"its padding is {mode} {pads[:8]}; expected pads of 0 or more, or SAME_UPPER")


OPERATORS: dict[str, Convert] = {
    **dict.fromkeys(_ACTIVATIONS, _activate),
    "LeakyRelu": _leaky_relu, "PRelu": _prelu, "HardSigmoid": _hard_sigmoid, "Clip": _clip,
    "Conv": _conv, "ConvTranspose": convert_transposed_conv, "BatchNormalization": _batch_norm,
    "Add": _add, "Sum": _add, "Sub": _scale, "Mul": _multiply, "Div": _scale, "Concat": _concat,
    "MaxPool": _max_pool, "AveragePool": _average_pool, "Pad": _pad,
    "Resize": convert_resize, "Upsample": convert_resize, "DepthToSpace": convert_depth_to_space,
    "Slice": _slice, "Split": _split, "Gather": _gather,
    "Identity": _pass, "Dropout": _pass, "Cast": _cast, "Transpose": _transpose, "Reshape": _reshape,
    "Squeeze": _squeeze_nothing, "Unsqueeze": _squeeze_nothing,
}  # fmt: skip
"""Functions by operator. An operator that is not listed is an error."""
