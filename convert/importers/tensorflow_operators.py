"""Conversion of single TensorFlow operators on feature maps to graph nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ...runtime.errors import ModelError
from ..ir import graph as g
from .activation_patterns import ScaledActivation, match_maximum, match_product, match_sum
from .tensorflow_channels import ChannelImporter
from .tensorflow_layouts import LayoutImporter
from .tensorflow_nodes import ADVICE, describe_unsupported
from .tensorflow_values import (
    NHWC,
    Constant,
    FeatureMap,
    Side,
    Sizes,
    Value,
    normalize_axes,
    read_row,
)

_ACTIVATIONS: dict[str, g.ActivationKind] = {
    "Relu": "relu", "Relu6": "relu6", "Elu": "elu", "Sigmoid": "sigmoid", "Tanh": "tanh",
}  # fmt: skip
_AFFINE_OPERATORS = frozenset({"Mul", "RealDiv", "Div", "Sub", "Add", "AddV2", "BiasAdd", "Maximum", "Minimum"})


class OperatorImporter(LayoutImporter, ChannelImporter):
    """Conversion of operators on feature maps."""

    def import_operator(self, name: str, op: str, attr: Any, values: list[Value]) -> list[Value]:
        """Convert an operator with at least one feature map as input.

        Args:
            name: The TensorFlow node.
            op: Its operator.
            attr: Its attributes.
            values: Its inputs, without failures.

        Returns:
            Its outputs.

        Raises:
            ModelError: The operator is not supported.
            ValueError: Its inputs or attributes are damaged.
        """
        maps = [value for value in values if isinstance(value, FeatureMap)]
        if (layout_operator := _LAYOUT_OPERATORS.get(op)) is not None:
            return [layout_operator(self, name, attr, values)]
        if op in ("Conv2D", "DepthwiseConv2dNative"):
            return [self._import_conv(name, op, attr, values)]
        for source in maps:
            self._check_plain(name, op, source)
        match op:
            case "Split" | "SplitV":
                return self._import_split(name, op, attr, values)
            case "ConcatV2":
                return [self._import_concat(name, values)]
            case "StridedSlice" | "Slice":
                return [self._import_slice(name, op, attr, values)]
            case "GatherV2" | "Gather" | "ReverseV2":
                return [self._import_reordering(name, op, values)]
        axes = maps[0].axes
        if any(source.axes != axes for source in maps):
            raise ModelError(f"{name!r} combines feature maps with different layouts")
        return [FeatureMap(self._import_computation(name, op, attr, values, maps), axes)]

    def _import_computation(self, name: str, op: str, attr: Any, values: list[Value], maps: list[FeatureMap]) -> str:
        """Convert an operator that keeps the layout and return the graph node of the result."""
        names = tuple(source.node for source in maps)
        constants = [value.value for value in values if isinstance(value, Constant)]
        if len(values) == 2 and len(constants) == 1 and op in _AFFINE_OPERATORS:
            row = read_row(name, constants[0], maps[0].axes, self._channels[names[0]])
            return self._import_affine(name, op, names, row, isinstance(values[0], FeatureMap))
        result = None
        if len(names) == len(values) == 2:
            result = self._combine_maps(name, op, names)
        elif op in _ACTIVATIONS or op in ("LeakyRelu", "Neg", "Abs", "ClipByValue"):
            rows = [read_row(name, constant, maps[0].axes, self._channels[names[0]]) for constant in constants]
            result = self._import_function(name, op, attr, names[0], rows)
        elif op in ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3") and len(constants) == 4:
            self._check_layout(name, maps[0], attr)
            result = self._add(_make_batch_norm(name, names, constants, attr, self._channels[names[0]]))
        elif op in ("MaxPool", "AvgPool"):
            self._check_layout(name, maps[0], attr)
            result = self._import_pool(name, op, attr, names[0])
        elif op in ("ResizeBilinear", "ResizeNearestNeighbor") and normalize_axes(maps[0].axes) == NHWC:
            result = self._import_resize(name, op, attr, names[0], values[1])
        if result is None:
            raise ModelError(describe_unsupported(name, op, len(names)))
        return result

    def _import_function(self, name: str, op: str, attr: Any, source: str, rows: list[g.Array]) -> str | None:
        """Convert a function of one map. `rows`: its constants."""
        minus = -np.ones(1, np.float32)
        match op:
            case "LeakyRelu":
                slope = np.array([attr["alpha"].f], np.float32)
                return self._add(g.Activation(name=name, inputs=(source,), kind="leaky_relu", alpha=slope))
            case "Neg":
                return self._add_affine(name, source, minus)
            case "Abs":
                mirrored = self._add_affine(f"{name}/negative", source, minus)
                halves = tuple(
                    self._add(g.Activation(name=f"{name}/{label}", inputs=(half,), kind="relu"))
                    for label, half in (("upper", source), ("lower", mirrored))
                )
                return self._add(g.Add(name=name, inputs=halves))
            case "ClipByValue" if len(rows) == 2:
                upper = self._limit_above(f"{name}/upper", source, rows[1])
                return self._limit_below(name, upper, rows[0])
            case _ if op in _ACTIVATIONS:
                return self._add(g.Activation(name=name, inputs=(source,), kind=_ACTIVATIONS[op]))
        return None

    def _combine_maps(self, name: str, op: str, names: tuple[str, ...]) -> str | None:
        """Convert an operator on two maps; None if it is not supported."""
        pattern = None
        match op:
            case "Add" | "AddV2" | "AddN":
                self._check_same_channels(name, names)
                pattern = match_sum(self.nodes, names)
                if pattern is None:
                    return self._add(g.Add(name=name, inputs=names))
            case "Sub":
                self._check_same_channels(name, names)
                mirrored = self._add_affine(f"{name}/negative", names[1], -np.ones(1, np.float32))
                return self._add(g.Add(name=name, inputs=(names[0], mirrored)))
            case "Mul":
                pattern = match_product(self.nodes, names)
            case "Maximum":
                pattern = match_maximum(self.nodes, names)
        return None if pattern is None else self._add_pattern(name, pattern)

    def _import_affine(self, name: str, op: str, names: tuple[str, ...], row: g.Array, is_first: bool) -> str:
        """Convert the combination of a map and a constant row. `is_first`: the map is the first operand."""
        source, one = names[0], np.ones(1, np.float32)
        match op:
            case "Mul":
                return self._add_affine(name, source, row)
            case "RealDiv" | "Div" if is_first:
                if not np.all(row):
                    raise ModelError(f"{name!r} divides a feature map by zero")
                return self._add_affine(name, source, one / row)
            case "Sub":
                return self._add_affine(name, source, one if is_first else -one, -row if is_first else row)
            case "Add" | "AddV2" | "BiasAdd":
                return self._add_affine(name, source, one, row)
            case "Maximum":
                return self._limit_below(name, source, row)
            case "Minimum":
                return self._limit_above(name, source, row)
        raise ModelError(describe_unsupported(name, op))

    def _limit_below(self, name: str, source: str, row: g.Array) -> str:
        """Add the maximum of a map and a constant."""
        if not np.any(row):
            if source in self._minima and np.all(self._minima[source][1] > 0):
                inner, cap = self._minima[source]
                kind = g.Activation(name=name, inputs=(inner,), kind="relu6", cap=None if np.all(cap == 6) else cap)
                return self._add(kind)
            return self._add(g.Activation(name=name, inputs=(source,), kind="relu"))
        one = np.ones(1, np.float32)
        shifted = self._add_affine(f"{name}/shifted", source, one, -row)
        relu = self._add(g.Activation(name=f"{name}/relu", inputs=(shifted,), kind="relu"))
        return self._add_affine(name, relu, one, row)

    def _limit_above(self, name: str, source: str, row: g.Array) -> str:
        """Add the minimum of a map and a constant."""
        node = self.nodes[source]
        if isinstance(node, g.Activation) and node.kind == "relu" and np.all(row > 0):
            cap = None if np.all(row == 6) else row
            return self._add(g.Activation(name=name, inputs=node.inputs, kind="relu6", cap=cap))
        minus = -np.ones(1, np.float32)
        mirrored = self._add_affine(f"{name}/mirrored", source, minus, row)
        relu = self._add(g.Activation(name=f"{name}/relu", inputs=(mirrored,), kind="relu"))
        self._minima[self._add_affine(name, relu, minus, row)] = source, row
        return name

    def _add_pattern(self, name: str, pattern: ScaledActivation) -> str:
        is_scaled = abs(pattern.scale - 1) > 1e-6
        own_name = f"{name}/{pattern.kind}" if is_scaled else name
        result = self._add(
            g.Activation(name=own_name, inputs=(pattern.source,), kind=pattern.kind, alpha=pattern.alpha)
        )
        return self._add_affine(name, result, np.array([pattern.scale], np.float32)) if is_scaled else result

    def _import_pool(self, name: str, op: str, attr: Any, source: str) -> str:
        window, strides = _read_spatial(attr, "ksize"), _read_spatial(attr, "strides")
        padding = _read_padding(attr)
        if op == "MaxPool" and isinstance(padding, str):
            return self._add(g.MaxPool(name=name, inputs=(source,), window=window, strides=strides, padding=padding))
        if op == "AvgPool" and (padding == "VALID" or window == (1, 1)):
            channels = self._channels[source]
            kernel = np.full((*window, channels, 1), 1 / (window[0] * window[1]), np.float32)
            return self._add(
                g.Conv(name=name, inputs=(source,), kernel=kernel, strides=strides, padding="VALID", depthwise=True)
            )
        raise ModelError(
            f"operator {op} of node {name!r} with padding {padding} is not supported; "
            f"expected {'SAME or VALID' if op == 'MaxPool' else 'VALID'}; {ADVICE}"
        )

    def _import_resize(self, name: str, op: str, attr: Any, source: str, size: Value) -> str:
        image = self.nodes[source]
        if isinstance(image, g.Input) and isinstance(size, Constant) and np.size(size.value) == 2:
            # edgepose resizes the image itself, to the size that the network wants.
            height, width = (int(side) for side in np.ravel(size.value))
            self.input_size = (height, width)
            self.nodes[source] = replace(image, size=self.input_size)
            return source
        like, factor = self._find_resize_target(name, source, size)
        return self._add(
            g.ResizeLike(
                name=name, inputs=(source, like), factor=factor, half_pixel_centers=attr["half_pixel_centers"].b,
                align_corners=attr["align_corners"].b, nearest=op == "ResizeNearestNeighbor",
            )
        )  # fmt: skip

    def _find_resize_target(self, name: str, source: str, size: Value) -> tuple[str, int]:
        """Find the target size of a resize.

        Returns:
            The graph node whose size is the target, and the factor for its size.
        """
        if isinstance(size, Sizes) and len(size.sides) == 2:
            rows, columns = size.sides
            if isinstance(rows, Side) and isinstance(columns, Side) and (rows.axis, columns.axis) == (1, 2):
                if (rows.node, rows.factor) == (columns.node, columns.factor):
                    return rows.node, rows.factor
                if rows.factor == columns.factor and self._have_same_size(rows.node, columns.node):
                    return rows.node, rows.factor
        if isinstance(size, Constant) and np.size(size.value) == 2:
            map_sizes = self._compute_sizes()
            height, width = (int(side) for side in np.ravel(size.value))
            if map_sizes is not None:
                rows, columns = map_sizes[source]
                if height % rows == 0 and height // rows * columns == width:
                    return source, height // rows
                # A map of another resolution, such as the features that the resized map is concatenated with.
                for other, (rows, columns) in map_sizes.items():
                    if (rows, columns) == (height, width):
                        return other, 1
            else:
                raise ModelError(
                    f"{name!r} resizes to {width}x{height} whatever the size of the image; set the size of the image "
                    "in the graph, or resize by a factor"
                )
        raise ModelError(f"{name!r} does not resize to a multiple of the size of a feature map; {ADVICE}")

    def _import_conv(self, name: str, op: str, attr: Any, values: list[Value]) -> FeatureMap:
        source, *others = values
        kernel = others[0].value if others and isinstance(others[0], Constant) else None
        if not isinstance(source, FeatureMap) or kernel is None or np.ndim(kernel) != 4:
            raise ModelError(f"{name!r} has no constant kernel; freeze the graph first")
        if source.repeats != (1, 1) or source.tiled_axis is not None:
            self._check_plain(name, op, source)
        self._check_layout(name, source, attr)
        kernel = np.asarray(kernel, np.float32)
        channels, depthwise = self._channels[source.node], op != "Conv2D"
        if not depthwise and kernel.shape[2] == 1 < channels and kernel.shape[3] % channels == 0:
            # A grouped convolution with one input channel per group.
            kernel, depthwise = kernel.reshape(*kernel.shape[:2], channels, -1), True
        if kernel.shape[2] != channels:
            raise ModelError(
                f"{name!r} has a kernel for {kernel.shape[2]} channels and reads {channels}; "
                f"grouped convolutions are not supported; {ADVICE}"
            )
        dilations = _read_spatial(attr, "dilations") if attr["dilations"].list.i else (1, 1)
        padding, deferred = _read_padding(attr), source.deferred
        if deferred is not None:
            if padding != "VALID" or (deferred.dilations != (1, 1) and dilations != (1, 1)):
                raise ModelError(
                    f"{name!r} pads or dilates an input that is already padded or dilated; "
                    "expected padding VALID and no dilation"
                )
            padding, dilations = deferred.padding, dilations if deferred.dilations == (1, 1) else deferred.dilations
        conv = g.Conv(
            name=name, inputs=(source.node,), kernel=kernel, strides=_read_spatial(attr, "strides"),
            dilations=dilations, padding=padding, depthwise=depthwise,
        )  # fmt: skip
        return FeatureMap(self._add(conv), source.axes)


_LAYOUT_OPERATORS: dict[str, Callable[[OperatorImporter, str, Any, list[Value]], FeatureMap]] = {
    "Transpose": OperatorImporter.transpose,
    "ExpandDims": OperatorImporter.expand_dims,
    "Squeeze": OperatorImporter.squeeze,
    "Tile": OperatorImporter.tile,
    "Reshape": OperatorImporter.reshape,
    "Pad": OperatorImporter.pad,
    "PadV2": OperatorImporter.pad,
    "SpaceToBatchND": OperatorImporter.split_into_blocks,
    "BatchToSpaceND": OperatorImporter.join_blocks,
    "Cast": OperatorImporter.cast,
}


def _make_batch_norm(name: str, maps: tuple[str, ...], constants: list[Any], attr: Any, channels: int) -> g.BatchNorm:
    gamma, beta, mean, variance = (np.asarray(c, np.float32) for c in constants)
    training = attr["is_training"].b or not mean.size
    if any(row.size != channels for row in ((gamma, beta) if training else (gamma, beta, mean, variance))):
        raise ModelError(f"{name!r} normalizes {gamma.size} channels and reads {channels}")
    return g.BatchNorm(
        name=name, inputs=maps, gamma=gamma, beta=beta, mean=None if training else mean,
        variance=None if training else variance, epsilon=attr["epsilon"].f,
    )  # fmt: skip


def _read_spatial(attr: Any, key: str) -> tuple[int, int]:
    values = [int(v) for v in attr[key].list.i]
    first = 2 if attr["data_format"].s == b"NCHW" else 1
    if len(values) != 4 or {values[0], values[3 if first == 1 else 1]} != {1}:
        raise ValueError(f"{key} {values}: expected four numbers, 1 for batch and channels")
    return values[first], values[first + 1]


def _read_padding(attr: Any) -> g.Padding:
    padding = attr["padding"].s.decode()
    if padding == "EXPLICIT":
        values = [int(v) for v in attr["explicit_paddings"].list.i]
        first = 4 if attr["data_format"].s == b"NCHW" else 2
        return (values[first], values[first + 1]), (values[first + 2], values[first + 3])
    if padding not in ("SAME", "VALID"):
        raise ValueError(f"unsupported padding {padding!r}")
    return "SAME" if padding == "SAME" else "VALID"
