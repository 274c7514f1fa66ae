"""Graph nodes that an import of a TensorFlow graph has so far, with their channels and sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...runtime.errors import ModelError
from ..ir import graph as g
from ..ir import macs
from .tensorflow_values import (
    NCHW,
    NHWC,
    Axes,
    FeatureMap,
    Side,
    Sizes,
    normalize_axes,
)

ADVICE = "convert the network with TensorFlow's TFLiteConverter and give edgepose the .tflite file"
_KNOWN_ACTIVATIONS = {"Softmax", "Softplus", "Selu", "Softsign", "Erf", "Erfc", "Exp", "LogSoftmax"}


class NodeBuilder:
    """Graph nodes so far.

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

    def _add_affine(self, name: str, source: str, scale: g.Array, offset: g.Array | None = None) -> str:
        zero = np.zeros(1, np.float32)
        return self._add(g.Affine(name=name, inputs=(source,), scale=scale, offset=zero if offset is None else offset))

    def _add_slice(self, name: str, source: FeatureMap, start: int, stop: int) -> FeatureMap:
        channels = self._channels[source.node]
        if not 0 <= start < stop <= channels:
            raise ModelError(f"{name!r} cuts the channels {start} to {stop} out of {channels}")
        if (start, stop) == (0, channels):
            return source
        return FeatureMap(self._add(g.Slice(name=name, inputs=(source.node,), start=start, stop=stop)), source.axes)

    def _check_plain(self, name: str, op: str, source: FeatureMap) -> None:
        if source.deferred is not None:
            raise ModelError(f"{source.node!r} pads the input of {name!r}, a {op}; expected a convolution; {ADVICE}")
        if not source.is_plain:
            raise ModelError(f"{name!r}, a {op}, reads repeated rows or columns; expected a resize by a whole number")

    def _check_layout(self, name: str, source: FeatureMap, attr: Any) -> None:
        """Check that a map has the layout that an operator reads."""
        layout = attr["data_format"].s.decode() or "NHWC"
        expected = {"NHWC": NHWC, "NCHW": NCHW}.get(layout)
        if expected is None or normalize_axes(source.axes) != expected:
            raise ModelError(f"{name!r} reads a feature map in a layout other than its own, {layout}; {ADVICE}")

    def _check_same_channels(self, name: str, names: tuple[str, ...]) -> None:
        if len({self._channels[source] for source in names}) > 1:
            counts = ", ".join(str(self._channels[source]) for source in names)
            raise ModelError(f"{name!r} adds feature maps with {counts} channels; expected the same number")

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


def describe_unsupported(name: str, op: str, map_count: int = 1) -> str:
    """Return the error for an operator that cannot be imported. `map_count`: the number of feature maps it reads."""
    if op.startswith(("Variable", "VarHandle")):
        return f"{name!r} is a variable; freeze the graph first, because it has no weights"
    if op == "MirrorPad":
        return f"operator MirrorPad of node {name!r} is not supported: it pads with a reflection; {ADVICE}"
    if op in ("Mul", "RealDiv", "Maximum", "Minimum") and map_count > 1:
        return f"operator {op} of node {name!r} is not supported with two feature maps; {ADVICE}"
    if op in _KNOWN_ACTIVATIONS:
        kind = "part of the activation GELU" if op.startswith("Erf") else "an activation"
        return f"operator {op} of node {name!r} is not supported, {kind}; {ADVICE}"
    return f"operator {op} of node {name!r} is not supported; {ADVICE}"
