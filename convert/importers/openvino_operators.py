"""Conversion of the layers of an OpenVINO IR to graph nodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import graph as g
from .limits import check_elements
from .openvino_channels import index_channels
from .openvino_constants import Constant, is_integer_type
from .openvino_nodes import (
    make_activation,
    make_affine,
    make_batch_norm,
    make_conv,
    make_pool,
)
from .openvino_resize import read_resize_options, read_scales
from .openvino_values import NO_PADDING, FeatureMap, MapShape, Value, make_error
from .openvino_xml import Layer, UnsupportedLayerError, parse_sides

_MIN_FAKE_QUANTIZE_LEVELS = 255
_CHANNEL_KINDS = ("Gather", "Split", "VariadicSplit", "StridedSlice", "Slice")
_SHAPE_KINDS = ("Gather", "StridedSlice", "Slice", "Concat", "Unsqueeze", "Squeeze", "Reshape", "Convert")


class LayerImporter:
    """Conversion of layers. Adds nodes to `nodes`."""

    def __init__(self) -> None:
        self.nodes: dict[str, g.Node] = {}
        self._sizes: dict[str, tuple[int, int]] = {}  # node -> height and width at the input size of the IR

    def get_node(self, value: FeatureMap) -> str:
        """Return the node whose output is a feature map, after selecting its channels."""
        if value.padding != NO_PADDING:
            raise UnsupportedLayerError(f"the padding of {value.node!r} is not followed by a convolution")
        if value.channels is None:
            return value.node
        start, count = value.channels[0], len(value.channels)
        name = f"{value.node}/channels_{'_'.join(map(str, value.channels))}"
        if value.channels == tuple(range(start, start + count)):
            name = f"{value.node}/channels_{start}_to_{start + count}"
            self.nodes[name] = g.Slice(name=name, inputs=(value.node,), start=start, stop=start + count)
        elif name not in self.nodes:
            kernel = np.zeros((1, 1, value.node_channels, count), np.float32)
            kernel[0, 0, value.channels, range(count)] = 1
            self.nodes[name] = g.Conv(name=name, inputs=(value.node,), kernel=kernel)
        return name

    def import_layer(self, layer: Layer, inputs: list[Value]) -> list[Value]:
        """Convert a layer to nodes.

        Args:
            layer: The layer.
            inputs: The values of its inputs.

        Returns:
            The values of its outputs.

        Raises:
            UnsupportedLayerError: The type of the layer, or how it is used, is not supported.
        """
        if layer.kind == "Parameter":
            return [self._import_parameter(layer)]
        maps = [value for value in inputs if isinstance(value, FeatureMap)]
        shapes = [value for value in inputs if isinstance(value, MapShape)]
        constants = [value for value in inputs if isinstance(value, np.ndarray)]
        if shapes and not maps:
            return [_import_shape(layer, shapes, constants)]
        if not maps:
            raise make_error(layer)
        if layer.kind in _CHANNEL_KINDS:
            return self._select_channels(layer, maps[0], constants)
        unchanged = self._import_layout(layer, maps[0], constants)
        return [unchanged or self._import_operator(layer, maps, constants, inputs)]

    def _import_layout(self, layer: Layer, source: FeatureMap, constants: list[Constant]) -> Value | None:
        """Import a layer that computes nothing: it changes the layout, the dtype or the padding; None for others."""
        match layer.kind:
            case "ShapeOf":
                return MapShape(source.node)
            case "Convert":
                # A conversion to float changes nothing, nor one of the image, whose values are integers.
                kind = layer.attributes["destination_type"]
                if is_integer_type(kind) and not isinstance(self.nodes[source.node], g.Input):
                    raise make_error(layer, f"to {kind}")
                return source
            case "FakeQuantize":
                if int(layer.attributes["levels"]) < _MIN_FAKE_QUANTIZE_LEVELS:
                    raise make_error(layer, f"with {layer.attributes['levels']} levels")
                return source
            case "ConvertLike" | "Identity":
                return source
            case "Transpose" if len(constants) == 1:
                return _import_transpose(layer, source, constants[0])
            case "Reshape" if _keeps_shape(layer):
                return source
            case "Pad" if len(constants) >= 2:
                return _import_pad(layer, source, constants)
        return None

    def _import_operator(
        self, layer: Layer, maps: list[FeatureMap], constants: list[Constant], inputs: list[Value]
    ) -> FeatureMap:
        """Add the node of a layer that computes a feature map."""
        source = maps[0]
        match layer.kind:
            case "Convolution" | "GroupConvolution" if len(constants) == 1:
                return self._add(layer, source, make_conv(layer, source, constants[0]))
            case "Add" | "Subtract" | "Multiply" | "Divide" if len(maps) == 1 and len(constants) == 1:
                affine = make_affine(layer, source, constants[0], is_first=inputs[0] is source)
                return self._add(layer, source, affine)
            case "Add" if len(maps) == 2:
                self._check_layouts(layer, maps)
                return self._add(layer, source, g.Add(name=layer.name, inputs=tuple(map(self.get_node, maps))))
            case "Multiply" if len(maps) == 2:
                return self._import_product(layer, maps)
            case "Concat":
                return self._import_concat(layer, maps)
            case "MaxPool":
                return self._add(layer, source, make_pool(layer, source))
            case "Interpolate":
                return self._import_resize(layer, source, inputs)
            case "BatchNormInference" if len(constants) == 4:
                return self._add(layer, source, make_batch_norm(layer, source, constants))
        return self._add(layer, source, make_activation(layer, constants, source))

    def _add(self, layer: Layer, source: FeatureMap, node: g.Node) -> FeatureMap:
        """Add the node of a layer. `source` is a feature map that it reads; its only input unless `node` has inputs."""
        channels = None
        if isinstance(node, g.Conv):
            node = replace(node, inputs=(source.node,))
        elif isinstance(node, g.Affine | g.Activation):
            channels = source.channels
            self.get_node(replace(source, channels=None))
            node = replace(node, inputs=(source.node,))
        elif not node.inputs:
            node = replace(node, inputs=(self.get_node(source),))
        name = self._name(layer)
        self.nodes[name] = replace(node, name=name)
        sides = layer.output_sides[0] if layer.output_sides else ()
        if len(sides) == 4:
            height, width = (sides[source.axes.index(axis)] for axis in "HW")
            if height is not None and width is not None:
                self._sizes[name] = height, width
        return FeatureMap(name, source.axes, channels, source.node_channels if channels else 0)

    def _name(self, layer: Layer) -> str:
        name = layer.name
        while name in self.nodes:
            name += "_"
        return name

    def _import_parameter(self, layer: Layer) -> FeatureMap:
        sides = parse_sides(layer.attributes["shape"])
        if len(sides) != 4:
            raise make_error(layer, f"with the shape {layer.attributes['shape']}; expected one image")
        if sides[1] == 3 or (sides[1] is None and sides[3] != 3):
            axes = "NCHW"
        elif sides[3] == 3:
            axes = "NHWC"
        else:
            raise make_error(layer, f"with the shape {layer.attributes['shape']}; expected three color channels")
        name = self._name(layer)
        height, width = (sides[axes.index(axis)] for axis in "HW")
        size = None if height is None or width is None else (height, width)
        self.nodes[name] = g.Input(name=name, size=size)
        if size is not None:
            self._sizes[name] = size
        return FeatureMap(name, axes)

    def _check_layouts(self, layer: Layer, maps: list[FeatureMap]) -> None:
        if len({one.axes for one in maps}) > 1:
            raise make_error(layer, f"of layouts {' and '.join(one.axes for one in maps)}")
        if layer.kind != "Concat" and len({sides for sides in layer.input_sides if len(sides) == 4}) > 1:
            raise make_error(layer, "of maps of different shapes")

    def _select_channels(self, layer: Layer, source: FeatureMap, constants: list[Constant]) -> list[Value]:
        """Import a layer that takes some channels, or puts them into another order."""
        axis = source.axes.index("C")
        count = layer.input_sides[0][axis] if layer.input_sides else None
        if count is None:
            raise make_error(layer, "of an unknown number of channels")
        check_elements((count,), layer.label)
        rows = np.arange(count)
        lists = index_channels(layer, rows, axis, constants)
        if lists is None:
            raise make_error(layer, f"of another dimension than the channels of {source.axes}")
        known = range(count) if source.channels is None else source.channels
        total = count if source.channels is None else source.node_channels
        return [self._choose_channels(source, [known[int(index)] for index in one], total) for one in lists]

    def _choose_channels(self, source: FeatureMap, channels: list[int], total: int) -> FeatureMap:
        if not channels:
            raise ValueError(f"a layer takes no channel of {source.node!r}")
        chosen = replace(source, channels=tuple(channels), node_channels=total)
        if channels == list(range(total)):
            return replace(source, channels=None, node_channels=0)
        # A channel that is there twice needs its own place: a later constant can differ.
        return chosen if len(set(channels)) == len(channels) else FeatureMap(self.get_node(chosen), source.axes)

    def _import_concat(self, layer: Layer, maps: list[FeatureMap]) -> FeatureMap:
        self._check_layouts(layer, maps)
        axis = int(layer.attributes["axis"])
        if len(maps) != len(layer.input_sides) or maps[0].axes[axis] != "C":
            raise make_error(layer, f"along axis {axis} of {maps[0].axes}")
        if len({one.node for one in maps}) == 1 and all(one.channels is not None for one in maps):
            channels = [channel for one in maps for channel in one.channels or ()]
            check_elements((len(channels),), layer.label)
            return self._choose_channels(maps[0], channels, maps[0].node_channels)
        return self._add(layer, maps[0], g.Concat(name=layer.name, inputs=tuple(map(self.get_node, maps))))

    def _import_product(self, layer: Layer, maps: list[FeatureMap]) -> FeatureMap:
        """Import `x * sigmoid(x)`."""
        for one, other in (maps, maps[::-1]):
            node = self.nodes[other.node]
            if isinstance(node, g.Activation) and node.kind == "sigmoid" and node.inputs == (one.node,):
                return self._add(layer, one, g.Activation(name=layer.name, kind="swish"))
        raise make_error(layer, "of two feature maps")

    def _import_resize(self, layer: Layer, source: FeatureMap, inputs: list[Value]) -> FeatureMap:
        if isinstance(self.nodes[source.node], g.Input):
            raise make_error(layer, "of the image; edgepose resizes images itself: save the network without this step")
        options = read_resize_options(layer)
        like, factor = self._find_resize_target(layer, source, inputs)
        node = g.ResizeLike(name=layer.name, inputs=(self.get_node(source), like), factor=factor, **options)
        return self._add(layer, source, node)

    def _find_resize_target(self, layer: Layer, source: FeatureMap, inputs: list[Value]) -> tuple[str, int]:
        """Find the map whose size is the target, and the factor for its size."""
        uses_scales = layer.attributes.get("shape_calculation_mode") == "scales"
        # Version 4 has the size and the scales as its inputs, versions 1 and 11 only one of them.
        place = 2 if uses_scales and layer.version < 11 else 1
        target = inputs[place]
        if isinstance(target, UnsupportedLayerError):
            raise target
        if uses_scales:
            axes = inputs[2 if layer.version >= 11 else 3 :]
            height, width = read_scales(layer, source, target, axes[0] if axes else np.arange(4))
            if height == width and height >= 1 and height == int(height):
                return self.get_node(source), int(height)
            raise make_error(layer, f"by the factors {height:.4g} and {width:.4g}; expected one whole number")
        if isinstance(target, MapShape):
            return target.node, target.factor
        sides = layer.output_sides[0]
        rows, columns = (sides[source.axes.index(axis)] for axis in "HW")
        own = self._sizes.get(source.node)
        if rows and columns and own is not None and rows % own[0] == 0 and rows // own[0] * own[1] == columns:
            return self.get_node(source), rows // own[0]
        for name, size in self._sizes.items():
            if size == (rows, columns):
                return name, 1
        raise make_error(layer, "to a size that is not a multiple of the size of a feature map")


def _import_transpose(layer: Layer, source: FeatureMap, constant: Constant) -> FeatureMap:
    order = [int(axis) for axis in constant.ravel()]
    if sorted(order) != [0, 1, 2, 3]:
        raise make_error(layer)
    axes = "".join(source.axes[axis] for axis in order)
    if axes.replace("C", "") != "NHW":
        raise make_error(layer, f"from {source.axes} to {axes}")
    return replace(source, axes=axes)


def _keeps_shape(layer: Layer) -> bool:
    """Return True if a Reshape does nothing: the same number of dimensions and channels, and the same known sides."""
    before, after = layer.input_sides[0], layer.output_sides[0]
    return before == after and len(before) == 4 and sum(side is None for side in before) <= 3


def _import_pad(layer: Layer, source: FeatureMap, constants: list[Constant]) -> FeatureMap:
    begin, end = constants[0], constants[1]
    value = float(constants[2].ravel()[0]) if len(constants) > 2 else 0.0
    if layer.attributes.get("pad_mode", "constant") != "constant" or value:
        raise make_error(layer)
    amounts = {axis: (int(a), int(b)) for axis, a, b in zip(source.axes, begin, end, strict=True)}
    if any(amounts[axis] != (0, 0) for axis in "NC") or min(min(pair) for pair in amounts.values()) < 0:
        raise make_error(layer, "of the batch or the channels")
    (top, bottom), (left, right) = source.padding
    height, width = amounts["H"], amounts["W"]
    return replace(source, padding=((top + height[0], bottom + height[1]), (left + width[0], right + width[1])))


def _import_shape(layer: Layer, shapes: list[MapShape], constants: list[Constant]) -> MapShape:
    """Import a layer that computes a size from the shape of a feature map."""
    if len(set(shapes)) == 1 and layer.kind in _SHAPE_KINDS:
        return shapes[0]
    if len(shapes) == 1 and layer.kind == "Multiply" and len(constants) == 1:
        factors = set(np.ravel(constants[0]).tolist())
        if len(factors) == 1 and (factor := factors.pop()) == int(factor) and factor >= 1:
            return MapShape(shapes[0].node, shapes[0].factor * int(factor))
    raise make_error(layer, "of the shape of a feature map")
