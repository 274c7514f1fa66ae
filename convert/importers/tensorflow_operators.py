"""Conversion of single TensorFlow operators on feature maps to graph nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...runtime.errors import ModelError
from ..ir import graph as g
from ..ir import macs
from .activation_patterns import ScaledActivation, match_maximum, match_product, match_sum
from .tensorflow_values import (
    NCHW,
    NHWC,
    Axes,
    Constant,
    DeferredPadding,
    FeatureMap,
    Side,
    Sizes,
    Value,
    expand_index,
    normalize_axes,
    read_row,
    read_slices,
)

_ACTIVATIONS: dict[str, g.ActivationKind] = {
    "Relu": "relu", "Relu6": "relu6", "Elu": "elu", "Sigmoid": "sigmoid", "Tanh": "tanh",
}  # fmt: skip
_MAX_REORDERED_CHANNELS = 128
"""Channels are reordered with a 1x1 convolution, whose cost grows with the square of their number."""
_ADVICE = "convert the network with TensorFlow's TFLiteConverter and give edgepose the .tflite file"


class OperatorImporter:
    """Conversion of operators on feature maps.

    Attributes:
        nodes: The graph nodes so far, in topological order.
        input_size: Height and width of the image, if the file fixes them.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, g.Node] = {}
        self.input_size: tuple[int, int] | None = None
        self._channels: dict[str, int] = {}
        self._minima: dict[str, tuple[str, g.Array]] = {}
        """Nodes that are the minimum of a map and a constant."""

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

    def add_input(self, name: str, dims: Sequence[int] | None, guess_layout: Callable[[], Axes]) -> FeatureMap:
        """Add the input image.

        Args:
            name: The placeholder.
            dims: Its shape, -1 for unknown sides; None if it has no shape.
            guess_layout: Returns the layout if the shape does not show it.

        Raises:
            ModelError: It is no batch of images with three channels.
        """
        if dims is not None and len(dims) not in (3, 4):
            raise ModelError(f"placeholder {name!r} has the shape {tuple(dims)}; expected an image")
        known = (-1,) * 4 if dims is None else tuple(int(side) for side in dims)
        nhwc, nchw = (axes[-len(known) :] for axes in (NHWC, NCHW))
        if 3 in (known[nhwc.index(3)], known[nchw.index(3)]):
            axes = nhwc if known[nhwc.index(3)] == 3 else nchw
        else:
            axes = guess_layout()[-len(known) :]
            if known[axes.index(3)] != -1:
                raise ModelError(f"placeholder {name!r} has the shape {known}; expected an image with 3 channels")
        height, width = known[axes.index(1)], known[axes.index(2)]
        size = (height, width) if height > 0 and width > 0 else None
        self.input_size = self.input_size or size
        return FeatureMap(self._add(g.Input(name=name, size=size)), axes)

    def get_sizes(self, source: FeatureMap) -> Sizes:
        """Return the shape of the tensor of a feature map."""
        if source.tiled_axis is not None or source.deferred is not None:
            return Sizes((None,) * len(source.axes))
        return Sizes(tuple(self._get_side(source, axis) for axis in source.axes))

    def _get_side(self, source: FeatureMap, axis: int | None) -> Side | int:
        if axis is None:
            return 1
        if axis == 3:
            return self._channels[source.node]
        factor = source.repeats[axis - 1] if axis else 1
        return Side(source.node, axis, factor)

    def count_channels(self, node: str) -> int:
        """Return the number of channels of a node."""
        return self._channels[node]

    def _add(self, node: g.Node) -> str:
        if node.name in self.nodes:
            raise ModelError(f"two nodes have the name {node.name!r}")
        match node:
            case g.Input():
                count = 3
            case g.Conv():
                count = node.out_channels
            case g.Concat():
                count = sum(self._channels[i] for i in node.inputs)
            case g.Slice():
                count = node.stop - node.start
            case _:
                count = self._channels[node.inputs[0]]
        self.nodes[node.name] = node
        self._channels[node.name] = count
        return node.name

    def _check_plain(self, name: str, op: str, source: FeatureMap) -> None:
        if source.deferred is not None:
            raise ModelError(f"{source.node!r} pads the input of {name!r}, a {op}; expected a convolution; {_ADVICE}")
        if not source.is_plain:
            raise ModelError(f"{name!r}, a {op}, reads repeated rows or columns; expected a resize by a whole number")

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
            raise ModelError(_describe_unsupported(name, op, len(names)))
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
        raise ModelError(_describe_unsupported(name, op, 1))

    def _add_affine(self, name: str, source: str, scale: g.Array, offset: g.Array | None = None) -> str:
        zero = np.zeros(1, np.float32)
        return self._add(g.Affine(name=name, inputs=(source,), scale=scale, offset=zero if offset is None else offset))

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

    def _check_same_channels(self, name: str, names: tuple[str, ...]) -> None:
        if len({self._channels[source] for source in names}) > 1:
            counts = ", ".join(str(self._channels[source]) for source in names)
            raise ModelError(f"{name!r} adds feature maps with {counts} channels; expected the same number")

    def _check_layout(self, name: str, source: FeatureMap, attr: Any) -> None:
        """Check that a map has the layout that an operator reads."""
        layout = attr["data_format"].s.decode() or "NHWC"
        expected = {"NHWC": NHWC, "NCHW": NCHW}.get(layout)
        if expected is None or normalize_axes(source.axes) != expected:
            raise ModelError(f"{name!r} reads a feature map in a layout other than its own, {layout}; {_ADVICE}")

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
            f"expected {'SAME or VALID' if op == 'MaxPool' else 'VALID'}; {_ADVICE}"
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
        raise ModelError(f"{name!r} does not resize to a multiple of the size of a feature map; {_ADVICE}")

    def _compute_sizes(self) -> dict[str, macs.Size] | None:
        """Return the (height, width) of every node, if the file fixes the size of the image."""
        return None if self.input_size is None else macs.compute_sizes(g.Graph(self.nodes, "", ""), *self.input_size)

    def _have_same_size(self, first: str, second: str) -> bool:
        return self._find_size_root(first) == self._find_size_root(second)

    def _find_size_root(self, name: str) -> str:
        """Follow operators that keep height and width back to the first map of the same size."""
        while True:
            node = self.nodes[name]
            keeps = isinstance(node, g.Activation | g.Affine | g.BatchNorm | g.Add | g.Concat | g.Slice) or (
                isinstance(node, g.Conv) and node.padding == "SAME" and node.strides == (1, 1)
            )
            if not keeps:
                return name
            name = node.inputs[0]

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
                f"grouped convolutions are not supported; {_ADVICE}"
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

    def _import_concat(self, name: str, values: list[Value]) -> FeatureMap:
        *sources, axis = values
        if not isinstance(axis, Constant) or not all(isinstance(source, FeatureMap) for source in sources):
            raise ModelError(f"{name!r} concatenates feature maps with constants; {_ADVICE}")
        maps = [source for source in sources if isinstance(source, FeatureMap)]
        axes = maps[0].axes
        if axes[int(axis.value)] != 3 or any(source.axes != axes for source in maps):
            raise ModelError(f"{name!r} does not concatenate the channels of its feature maps; {_ADVICE}")
        names = tuple(source.node for source in maps)
        reordered = self._reorder_slices(name, names)
        return FeatureMap(reordered or self._add(g.Concat(name=name, inputs=names)), axes)

    def _reorder_slices(self, name: str, names: tuple[str, ...]) -> str | None:
        """Recognize single channels of one map that are scaled one by one and joined in another order.

        Networks that were trained with images of another channel order start like this.
        """
        order, scales, offsets, sources = [], [], [], set()
        for part in names:
            scale, offset = 1.0, 0.0
            node = self.nodes[part]
            while isinstance(node, g.Affine) and node.scale.size == node.offset.size == 1:
                offset += scale * node.offset.item()
                scale *= node.scale.item()
                node = self.nodes[node.inputs[0]]
            if not isinstance(node, g.Slice) or node.stop - node.start != 1:
                return None
            sources.add(node.inputs[0])
            order.append(node.start)
            scales.append(scale)
            offsets.append(offset)
        if len(sources) != 1:
            return None
        source = sources.pop()
        if self._channels[source] != 3 or len(order) != 3:
            return None
        if order != [0, 1, 2]:
            source = self._add_reordering(f"{name}/order", source, order)
        return self._add_affine(name, source, np.array(scales, np.float32), np.array(offsets, np.float32))

    def _import_split(self, name: str, op: str, attr: Any, values: list[Value]) -> list[Value]:
        source, axis = (values[1], values[0]) if op == "Split" else (values[0], values[2])
        if not isinstance(source, FeatureMap) or not isinstance(axis, Constant) or source.axes[int(axis.value)] != 3:
            raise ModelError(f"{name!r} does not split the channels of a feature map; {_ADVICE}")
        channels = self._channels[source.node]
        if op == "Split":
            count = attr["num_split"].i
            if count < 1 or channels % count:
                raise ValueError(f"{name!r} splits {channels} channels into {count} parts")
            lengths = [channels // count] * count
        else:
            if not isinstance(values[1], Constant):
                raise ModelError(f"{name!r} splits a feature map by sizes that are not constant; {_ADVICE}")
            lengths = [int(n) for n in np.ravel(values[1].value)]
            lengths = [channels - sum(lengths) - 1 if n == -1 else n for n in lengths]
        results: list[Value] = []
        start = 0
        for number, length in enumerate(lengths):
            label = name if number == 0 else f"{name}/{number}"
            results.append(self._add_slice(label, source, start, start + length))
            start += length
        return results

    def _add_slice(self, name: str, source: FeatureMap, start: int, stop: int) -> FeatureMap:
        channels = self._channels[source.node]
        if not 0 <= start < stop <= channels:
            raise ModelError(f"{name!r} cuts the channels {start} to {stop} out of {channels}")
        if (start, stop) == (0, channels):
            return source
        return FeatureMap(self._add(g.Slice(name=name, inputs=(source.node,), start=start, stop=stop)), source.axes)

    def _import_slice(self, name: str, op: str, attr: Any, values: list[Value]) -> FeatureMap:
        source = values[0]
        if not isinstance(source, FeatureMap):
            raise ModelError(f"{name!r} cuts a region that depends on the image out of a constant; {_ADVICE}")
        bounds = [value.value for value in values[1:] if isinstance(value, Constant)]
        if len(bounds) != len(values) - 1:
            raise ModelError(f"{name!r} cuts a region whose limits are not constant out of a feature map; {_ADVICE}")
        if op == "Slice":
            starts, lengths = (np.ravel(row).astype(int).tolist() for row in bounds)
            index: list[Any] = [
                slice(start, None if length == -1 else start + length)
                for start, length in zip(starts, lengths, strict=True)
            ]
        else:
            index = list(read_slices(attr, *(np.ravel(row).tolist() for row in bounds)))
        return self._apply_index(name, source, expand_index(tuple(index), len(source.axes)))

    def _apply_index(self, name: str, source: FeatureMap, index: list[Any]) -> FeatureMap:
        """Index a map: channels can be cut or reversed, axes of size 1 removed or added."""
        axes: list[int | None] = []
        order: list[int] | None = None
        remaining = iter(source.axes)
        sides = self._compute_sizes()
        for item in index:
            if item is None:
                axes.append(None)
                continue
            axis = next(remaining)
            if axis == 3 and isinstance(item, slice):
                order = list(range(self._channels[source.node]))[item]
            elif not self._keeps_axis(axis, item, None if sides is None else sides[source.node]):
                raise ModelError(f"{name!r} cuts rows, columns or images out of a feature map; {_ADVICE}")
            if isinstance(item, slice):
                axes.append(axis)
        result = replace(source, axes=tuple(axes))
        return result if order is None else self._select_channels(name, result, order)

    def _keeps_axis(self, axis: int | None, item: Any, size: macs.Size | None) -> bool:
        """Return True if an index keeps the whole axis, or the only element of the batch axis or an extra axis."""
        if isinstance(item, int):
            return axis in (0, None) and item in (0, -1)
        if item.step not in (None, 1):
            return False
        if axis in (0, None):
            return item.start in (None, 0)
        side = None if size is None or axis is None else size[axis - 1]
        return item.start in (None, 0) and (item.stop is None or (side is not None and item.stop >= side))

    def _select_channels(self, name: str, source: FeatureMap, order: list[int]) -> FeatureMap:
        channels = self._channels[source.node]
        if not order:
            raise ModelError(f"{name!r} cuts no channels out of a feature map")
        if order == list(range(order[0], order[-1] + 1)):
            return self._add_slice(name, source, order[0], order[-1] + 1)
        if max(channels, len(order)) > _MAX_REORDERED_CHANNELS:
            raise ModelError(f"{name!r} reorders {channels} channels; expected at most {_MAX_REORDERED_CHANNELS}")
        return FeatureMap(self._add_reordering(name, source.node, order), source.axes)

    def _add_reordering(self, name: str, source: str, order: list[int]) -> str:
        """Add a 1x1 convolution that reorders channels exactly. `fold` merges that of the image with the next one."""
        kernel = np.zeros((1, 1, self._channels[source], len(order)), np.float32)
        kernel[0, 0, order, range(len(order))] = 1
        return self._add(g.Conv(name=name, inputs=(source,), kernel=kernel))

    def _import_reordering(self, name: str, op: str, values: list[Value]) -> FeatureMap:
        source, *others = values
        constants = [np.asarray(value.value) for value in others if isinstance(value, Constant)]
        if not isinstance(source, FeatureMap) or len(constants) != len(others):
            raise ModelError(f"{name!r} selects parts of a feature map that are not constant; {_ADVICE}")
        if op == "ReverseV2":
            flipped = {source.axes[int(axis)] for axis in np.ravel(constants[0])}
            order = list(range(self._channels[source.node]))[::-1]
        else:
            flipped = {source.axes[int(constants[1]) if len(constants) > 1 else 0]}
            order = [int(i) for i in np.ravel(constants[0])]
            if constants[0].ndim != 1:
                flipped = set()
        if flipped != {3} or not all(-len(order) <= i < self._channels[source.node] for i in order):
            raise ModelError(f"{name!r}, a {op}, changes rows, columns or images; expected channels; {_ADVICE}")
        channels = self._channels[source.node]
        return self._select_channels(name, source, [i % channels for i in order])

    def transpose(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert a transposition: only the layout changes."""
        source, order = values
        if not isinstance(source, FeatureMap) or not isinstance(order, Constant):
            raise ModelError(f"{name!r} transposes axes that are not constant; {_ADVICE}")
        self._check_plain(name, "Transpose", source)
        return replace(source, axes=tuple(source.axes[int(i)] for i in np.ravel(order.value)))

    def expand_dims(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert an additional axis of size 1."""
        source, axis = values
        if not isinstance(source, FeatureMap) or not isinstance(axis, Constant):
            raise ModelError(f"{name!r} adds an axis that is not constant; {_ADVICE}")
        if source.deferred is not None or source.tiled_axis is not None:
            self._check_plain(name, "ExpandDims", source)
        position = int(axis.value)
        position += len(source.axes) + 1 if position < 0 else 0
        return replace(source, axes=(*source.axes[:position], None, *source.axes[position:]))

    def squeeze(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert the removal of axes of size 1."""
        source = values[0]
        assert isinstance(source, FeatureMap)
        self._check_plain(name, "Squeeze", source)
        positions = {int(i) % len(source.axes) for i in attr["squeeze_dims"].list.i}
        if any(source.axes[i] not in (None, 0) for i in positions):
            raise ModelError(f"{name!r} removes rows, columns or channels of a feature map; {_ADVICE}")
        kept = [axis for i, axis in enumerate(source.axes) if (i not in positions if positions else axis is not None)]
        return replace(source, axes=tuple(kept))

    def tile(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert a repetition of an extra axis: the first half of repeating rows or columns."""
        source, multiples = values
        if not isinstance(source, FeatureMap):
            raise ModelError(_describe_unsupported(name, "Tile", 1))
        counts = self._read_integers(multiples)
        repeated = [i for i, count in enumerate(counts) if count != 1]
        if not repeated:
            return source
        position = repeated[0]
        before = source.axes[position - 1] if position else None
        if len(repeated) > 1 or source.axes[position] is not None or before not in (1, 2) or counts[position] < 1:
            raise ModelError(_describe_unsupported(name, "Tile", 1))
        assert before is not None
        return replace(source, tiled_axis=(before, counts[position]))

    def reshape(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert a reshape that joins a repeated axis, or that changes nothing but axes of size 1."""
        source, shape = values
        if not isinstance(source, FeatureMap) or not isinstance(shape, Constant | Sizes):
            raise ModelError(f"{name!r} reshapes a feature map to a shape that is not constant; {_ADVICE}")
        target = shape.sides if isinstance(shape, Sizes) else tuple(int(side) for side in np.ravel(shape.value))
        if source.tiled_axis is not None:
            axis, count = source.tiled_axis
            repeats = list(source.repeats)
            repeats[axis - 1] *= count
            position = source.axes.index(axis)
            axes = (*source.axes[: position + 1], *source.axes[position + 2 :])
            source = replace(source, axes=axes, repeats=(repeats[0], repeats[1]), tiled_axis=None)
        if source.deferred is not None:
            self._check_plain(name, "Reshape", source)
        result = self._match_shape(source, target)
        if result is None:
            raise ModelError(
                f"{name!r} reshapes a feature map; expected a shape with the same rows and columns; {_ADVICE}"
            )
        if result.repeats != (1, 1) and result.repeats[0] == result.repeats[1]:
            return self._add_repetition(name, result)
        return result

    def _add_repetition(self, name: str, source: FeatureMap) -> FeatureMap:
        factor = source.repeats[0]
        node = g.ResizeLike(name=name, inputs=(source.node, source.node), factor=factor, nearest=True)
        return FeatureMap(self._add(node), source.axes)

    def _match_shape(self, source: FeatureMap, target: tuple[Side | int | None, ...]) -> FeatureMap | None:
        """Return the map with the axes of a target shape; None if it is not the shape of the map."""
        map_sizes = self._compute_sizes()
        kept = [axis for axis in source.axes if axis is not None]
        if kept and kept[0] == 0 and len(target) == len(kept) - 1:
            kept = kept[1:]
        ones = len(target) - len(kept)
        axes: list[int | None] = []
        unknown = 0
        for side in target:
            if side == 1 and ones > 0 and (not kept or not self._matches(source, kept[0], side, map_sizes)):
                axes.append(None)
                ones -= 1
                continue
            if not kept:
                return None
            axis = kept.pop(0)
            if side == -1 or side is None:
                unknown += 1
            elif not self._matches(source, axis, side, map_sizes):
                return None
            axes.append(axis)
        # A single unknown side follows from the others.
        return None if kept or unknown > 1 else replace(source, axes=tuple(axes))

    def _matches(
        self, source: FeatureMap, axis: int, side: Side | int | None, map_sizes: dict[str, macs.Size] | None
    ) -> bool:
        own = self._get_side(source, axis)
        if side == own or (axis == 0 and side == 1):
            return True
        if isinstance(side, Side) and isinstance(own, Side):
            same = side.axis == own.axis and side.factor == own.factor
            return same and (axis == 0 or self._have_same_size(side.node, own.node))
        if isinstance(side, int) and isinstance(own, Side) and axis in (1, 2) and map_sizes is not None:
            return map_sizes[own.node][axis - 1] * own.factor == side
        return False

    def pad(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert a padding: the next convolution applies it."""
        source, *others = values
        constants = [value.value for value in others if isinstance(value, Constant)]
        if not isinstance(source, FeatureMap) or len(constants) != len(others):
            raise ModelError(f"{name!r} pads a feature map by amounts that are not constant; {_ADVICE}")
        if source.deferred is not None:
            raise ModelError(f"{name!r} follows another padding; expected a convolution between them")
        if len(constants) > 1 and np.any(constants[1]):
            raise ModelError(f"{name!r} pads with {np.ravel(constants[1])[0]:g}; expected zeros; {_ADVICE}")
        self._check_plain(name, "Pad", source)
        amounts = {axis: constants[0][i].tolist() for i, axis in enumerate(source.axes)}
        if any(any(pair) for axis, pair in amounts.items() if axis not in (1, 2)):
            raise ModelError(f"{name!r} pads the batch or the channels; expected height and width only")
        (top, bottom), (left, right) = amounts[1], amounts[2]
        if not any((top, bottom, left, right)):
            return source
        padding = ((int(top), int(bottom)), (int(left), int(right)))
        return replace(source, deferred=DeferredPadding(padding=padding))

    def split_into_blocks(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert SpaceToBatchND: the next convolution is dilated."""
        source, blocks, amounts = values
        if not isinstance(source, FeatureMap) or not isinstance(blocks, Constant):
            raise ModelError(f"{name!r} splits a feature map into blocks that are not constant; {_ADVICE}")
        if source.deferred is not None and source.deferred.dilations != (1, 1):
            raise ModelError(f"{name!r} follows another padding; expected a convolution between them")
        rows, columns = (int(side) for side in blocks.value)
        # Zeros at the top or left come from padding SAME. Otherwise zeros only complete the last block: VALID.
        sides = amounts.sides if isinstance(amounts, Sizes) else np.ravel(_read_constant(amounts)).tolist()
        padding: g.Padding = "VALID" if len(sides) == 4 and sides[0] == sides[2] == 0 else "SAME"
        if source.deferred is not None:
            padding = source.deferred.padding
        return replace(source, deferred=DeferredPadding(padding, (rows, columns)))

    def join_blocks(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert BatchToSpaceND: the convolution before it is already dilated."""
        source = values[0]
        if not isinstance(source, FeatureMap) or source.deferred is not None:
            raise ModelError(f"{name!r} joins the blocks of a feature map without a convolution")
        return source

    def cast(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert a change of the dtype: only to a float type, or of the image."""
        source = values[0]
        assert isinstance(source, FeatureMap)
        is_float = attr["DstT"].type in _FLOAT_TYPES
        if not is_float and (attr["SrcT"].type in _FLOAT_TYPES or attr["DstT"].type == _BOOLEAN_TYPE):
            raise ModelError(f"{name!r} converts a feature map to integers; {_ADVICE}")
        return source

    def _read_integers(self, value: Value) -> list[int]:
        if isinstance(value, Constant):
            return [int(v) for v in np.ravel(value.value)]
        if isinstance(value, Sizes) and all(isinstance(side, int) for side in value.sides):
            return [int(side) for side in value.sides if isinstance(side, int)]
        raise ValueError("expected constant numbers")


_FLOAT_TYPES = (1, 2, 14, 19)
_BOOLEAN_TYPE = 10
_AFFINE_OPERATORS = frozenset({"Mul", "RealDiv", "Div", "Sub", "Add", "AddV2", "BiasAdd", "Maximum", "Minimum"})
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
_KNOWN_ACTIVATIONS = {"Softmax", "Softplus", "Selu", "Softsign", "Erf", "Erfc", "Exp", "LogSoftmax"}


def _describe_unsupported(name: str, op: str, map_count: int) -> str:
    if op.startswith(("Variable", "VarHandle")):
        return f"{name!r} is a variable; freeze the graph first, because it has no weights"
    if op == "MirrorPad":
        return f"operator MirrorPad of node {name!r} is not supported: it pads with a reflection; {_ADVICE}"
    if op in ("Mul", "RealDiv", "Maximum", "Minimum") and map_count > 1:
        return f"operator {op} of node {name!r} is not supported with two feature maps; {_ADVICE}"
    if op in _KNOWN_ACTIVATIONS:
        kind = "part of the activation GELU" if op.startswith("Erf") else "an activation"
        return f"operator {op} of node {name!r} is not supported, {kind}; {_ADVICE}"
    return f"operator {op} of node {name!r} is not supported; {_ADVICE}"


def describe_unsupported(name: str, op: str) -> str:
    """Return the error for an operator that cannot be imported."""
    return _describe_unsupported(name, op, 1)


def _read_constant(value: Value) -> Any:
    if not isinstance(value, Constant):
        raise ValueError("expected a constant")
    return value.value


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
