"""Values of an ONNX graph during its import: constants, and feature maps with the order of their axes.

A feature map is a node of the graph. Its axes can have any order in the file (a Transpose changes only the order).
Padding in front of a convolution is kept with the feature map until its reader is known. All sizes are known: an input
without a fixed size gets a nominal one, so that the arithmetic on shapes can be evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...runtime.errors import ModelError
from ..ir import graph as g
from ..ir import macs
from .onnx_file import Constant, OnnxFile, Operator

Pads = tuple[tuple[int, int], tuple[int, int]]
"""(top, bottom), (left, right)"""

_NOMINAL_SIZE = (256, 320)
"""Height and width that stand for unknown ones: different, and multiples of all usual strides."""
_MAX_SIDE = 1 << 14
NO_PADS: Pads = ((0, 0), (0, 0))


@dataclass(frozen=True)
class FeatureMap:
    """Feature map of the file.

    Attributes:
        node: The node with its values.
        layout: The order of the axes in the file.
        pads: Zeros that the file adds around the values of the node.
        block: Side of the blocks of pixels that are still channels of the node, as in `graph.DepthToSpace`.
    """

    node: str
    layout: str = "NCHW"
    pads: Pads = NO_PADS
    block: int = 1


class Values:
    """All values that were imported, by name, and the nodes of the graph with their sizes and channels."""

    def __init__(self, file: OnnxFile) -> None:
        self.file = file
        self.maps: dict[str, FeatureMap] = {}
        self.constants: dict[str, Constant] = {}
        self.origins: dict[str, tuple[str, ...]] = {}
        """Nodes whose sizes a constant was computed from, by the name of the constant."""
        self.nodes: dict[str, g.Node] = {}
        self.sizes: dict[str, tuple[int, int]] = {}
        self.channels: dict[str, int] = {}
        self.unblocked: dict[str, FeatureMap] = {}
        """Result of DepthToSpace by the node that it reads."""
        self.notes: dict[str, None] = {}
        """Warnings for the user, each one once."""
        self.has_fixed_size = False
        self.batch = 1

    def add_input(self, name: str, layout: str) -> FeatureMap:
        """Add the input image."""
        shape = self.file.inputs[name] or (None,) * 4
        batch, height, width = (shape[layout.index(axis)] for axis in "NHW")
        self.batch = batch or 1
        size = (height, width) if height is not None and width is not None else None
        self.has_fixed_size = size is not None
        self.nodes[name] = g.Input(name=name, size=size)
        self.sizes[name] = height or _NOMINAL_SIZE[0], width or _NOMINAL_SIZE[1]
        if max(self.sizes[name]) > _MAX_SIDE:
            raise ModelError(f"input {name!r} has the size {self.sizes[name]}; expected at most {_MAX_SIDE}")
        self.channels[name] = 3
        return FeatureMap(name, layout)

    def add_node(self, operator: Operator, node: g.Node, layout: str = "NCHW") -> FeatureMap:
        """Add a node to the graph, and compute its size and channels."""
        if node.name in self.nodes:
            raise operator.refuse(f"a second operator writes {node.name!r}")
        source = node.inputs[0]
        # Sizes are computed one node at a time: the first input stands for the image.
        single = g.Graph({source: g.Input(name=source), node.name: replace(node, inputs=(source,))}, "", "")
        if isinstance(node, g.ResizeLike):
            height, width = self.sizes[node.inputs[1]]
            size = height * node.factor, width * node.factor
        else:
            size = macs.compute_sizes(single, *self.sizes[source])[node.name]
        if not 0 < min(size) <= max(size) <= _MAX_SIDE:
            raise operator.refuse(f"its result has the size {size[0]}x{size[1]}", "give a network for larger images")
        self.nodes[node.name], self.sizes[node.name] = node, size
        match node:
            case g.Concat():
                self.channels[node.name] = sum(self.channels[i] for i in node.inputs)
            case g.DepthToSpace():
                self.channels[node.name] = self.channels[source] // node.block**2
            case g.Conv() | g.Slice():
                self.channels[node.name] = g.count_channels(single)[node.name]
            case _:
                self.channels[node.name] = self.channels[source]
        return FeatureMap(node.name, layout)

    def get_map(self, operator: Operator, index: int, layout: str | None = None) -> FeatureMap:
        """Return the feature map that an operator reads. Padding that was kept with it becomes a node.

        Args:
            operator: The operator.
            index: The number of the input.
            layout: The expected order of the axes.
        """
        found = self.get_padded_map(operator, index, layout)
        return found if found.pads == NO_PADS else self.add_padding(operator, found, found.pads)

    def get_padded_map(self, operator: Operator, index: int, layout: str | None = None) -> FeatureMap:
        """Return the feature map that an operator reads, with the padding that was kept with it."""
        return self.unblock(operator, self.get_blocked_map(operator, index, layout))

    def unblock(self, operator: Operator, source: FeatureMap) -> FeatureMap:
        """Return a feature map whose blocks of pixels are in its height and width."""
        if source.block == 1:
            return source
        if source.node not in self.unblocked:
            node = g.DepthToSpace(name=f"{source.node}/pixels", inputs=(source.node,), block=source.block)
            self.unblocked[source.node] = self.add_node(operator, node, source.layout)
        return self.unblocked[source.node]

    def get_blocked_map(self, operator: Operator, index: int, layout: str | None = None) -> FeatureMap:
        """Return the feature map that an operator reads, with padding and blocks that were kept with it."""
        name = operator.inputs[index]
        if name not in self.maps:
            raise operator.refuse(f"its input {name!r} is a constant; expected a feature map")
        found = self.maps[name]
        if layout is not None and found.layout != layout:
            raise operator.refuse(f"its input has the axes {found.layout}; expected {layout}")
        return found

    def add_padding(self, operator: Operator, source: FeatureMap, pads: Pads) -> FeatureMap:
        """Add zeros around a feature map, with a 1x1 convolution that changes nothing else."""
        kernel = np.ones((1, 1, self.channels[source.node], 1), np.float32)
        node = g.Conv(
            name=f"{operator.outputs[0]}/padding", inputs=(source.node,), kernel=kernel, padding=pads, depthwise=True
        )
        return self.add_node(operator, node, source.layout)

    def get_constant(self, operator: Operator, index: int) -> Constant | None:
        """Return a constant that an operator reads; None if this optional input is not used."""
        name = operator.inputs[index] if index < len(operator.inputs) else ""
        if not name:
            return None
        if name not in self.constants:
            raise operator.refuse(f"its input {name!r} is not a constant; expected a constant")
        return self.constants[name]

    def get_integers(self, operator: Operator, index: int) -> list[int]:
        """Return the values of a constant as integers; none if this optional input is not used."""
        value = self.get_constant(operator, index)
        return [] if value is None else [int(i) for i in value.ravel().tolist()]

    def get_weights(self, operator: Operator, index: int) -> g.Array:
        """Return a required constant as float32."""
        value = self.get_constant(operator, index)
        if value is None:
            raise operator.refuse(f"it has no input number {index + 1}", "export the model again")
        weights = np.asarray(value, np.float32)
        if not np.isfinite(weights).all():
            raise operator.refuse("its weights have values that are not finite (NaN or infinity)", "train it again")
        return weights

    def get_shape(self, source: FeatureMap) -> list[int]:
        """Return the shape of a feature map in the order of its axes."""
        height, width = self.sizes[source.node]
        block, channels = source.block, self.channels[source.node]
        sides = {"N": self.batch, "C": channels // block**2, "H": height * block, "W": width * block}
        return [sides[axis] for axis in source.layout]

    def check_declared_shape(self, operator: Operator, name: str) -> None:
        """Check the shape that the file declares for a feature map.

        Raises:
            ModelError: The declared channels, or height and width of a network with a fixed size, are others.
        """
        declared, found = self.file.shapes.get(name), self.maps[name]
        if declared is None or found.pads != NO_PADS:
            return
        actual = self.get_shape(found)
        axes = "CHW" if self.has_fixed_size else "C"
        sides = [found.layout.index(axis) for axis in axes]
        if len(declared) != len(actual) or any(declared[i] not in (None, actual[i]) for i in sides):
            raise operator.refuse(
                f"the file declares its result as {declared}, but it is {tuple(actual)}", "export the model again"
            )
