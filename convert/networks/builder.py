"""Builder for network definitions. Layers have the names of the variables in the upstream code.

The result is a `Graph`, as from an importer, with zeros as weights (they use no memory), and the list of variables that
fill it. TensorFlow is not needed, so the cost of a network can be computed on a board.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..ir import graph as g
from ..ir import stages

Norm = Literal["offset", "scale and offset"]
Attribute = Literal["kernel", "bias", "gamma", "beta", "mean", "variance"]

_NORM_VARIABLES: dict[Attribute, str] = {
    "gamma": "gamma",
    "beta": "beta",
    "mean": "moving_mean",
    "variance": "moving_variance",
}


@dataclass(frozen=True)
class Variable:
    """Weight array: its name in TensorFlow 1 checkpoints and graphs, and the node attribute that it fills."""

    name: str
    node: str
    attribute: Attribute
    shape: tuple[int, ...]
    required: bool = True
    """False for the scale of a batch normalization that is a constant 1 in the upstream code."""


@dataclass(frozen=True)
class NetworkDefinition:
    """Network without weights."""

    name: str
    graph: g.Graph
    variables: tuple[Variable, ...]

    def cut(self, stage: int) -> NetworkDefinition:
        """Cut the network after stage number `stage`, counted from 1.

        Raises:
            ModelError: The network has no such stage.
        """
        graph = stages.cut(self.graph, stage)
        return replace(self, graph=graph, variables=tuple(v for v in self.variables if v.node in graph.nodes))


class NetworkBuilder:
    """Network builder. Every method that adds a layer returns the name of the layer's output node.

    Args:
        epsilon: Epsilon of the batch normalizations.
    """

    def __init__(self, epsilon: float = 1e-3) -> None:
        self.epsilon = epsilon
        self.nodes: dict[str, g.Node] = {"image": g.Input(name="image")}
        self.variables: list[Variable] = []
        self._channels = {"image": 3}

    def add_conv(
        self,
        scope: str,
        source: str,
        channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        padding: g.Padding = "SAME",
        norm: Norm | None = None,
        bias: bool | None = None,
        activation: g.ActivationKind | None = "relu",
    ) -> str:
        """Add a convolution. By default, it has a bias if no batch normalization follows."""
        shape = (kernel, kernel, self._channels[source], channels)
        bias = norm is None if bias is None else bias
        return self._add_conv_layer(scope, source, shape, False, stride, dilation, padding, norm, bias, activation)

    def add_depthwise(
        self,
        scope: str,
        source: str,
        kernel: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        padding: g.Padding = "SAME",
        norm: Norm | None = None,
        bias: bool = False,
        activation: g.ActivationKind | None = None,
    ) -> str:
        """Add a depthwise convolution."""
        shape = (kernel, kernel, self._channels[source], 1)
        return self._add_conv_layer(scope, source, shape, True, stride, dilation, padding, norm, bias, activation)

    def add_affine(self, name: str, source: str, scale: float, offset: float) -> str:
        """Add `source * scale + offset`."""
        row = np.array([scale, offset], np.float32)
        return self._add_node(
            g.Affine(name=name, inputs=(source,), scale=row[:1], offset=row[1:]), self._channels[source]
        )

    def add_max_pool(self, name: str, source: str) -> str:
        """Add a 2x2 max pooling with stride 2."""
        return self._add_node(
            g.MaxPool(name=name, inputs=(source,), window=(2, 2), strides=(2, 2)), self._channels[source]
        )

    def add_resize_like(self, name: str, source: str, like: str) -> str:
        """Add a bilinear resize of `source` to the size of `like`, without half-pixel centers, as in TensorFlow 1."""
        return self._add_node(g.ResizeLike(name=name, inputs=(source, like)), self._channels[source])

    def add_sum(self, name: str, first: str, second: str) -> str:
        """Add the element-wise sum of two feature maps."""
        return self._add_node(g.Add(name=name, inputs=(first, second)), self._channels[first])

    def add_concat(self, name: str, *sources: str) -> str:
        """Add a concatenation along the channels."""
        return self._add_node(g.Concat(name=name, inputs=sources), sum(self._channels[source] for source in sources))

    def build(self, name: str, heatmaps: str, pafs: str) -> NetworkDefinition:
        """Return the finished network.

        Raises:
            ValueError: No output needs some of the layers.
        """
        graph = g.Graph(self.nodes, heatmaps, pafs)
        if len(graph.prune().nodes) != len(graph.nodes):
            raise ValueError(f"{name} defines layers that no output needs")
        return NetworkDefinition(name, graph, tuple(self.variables))

    def _add_node(self, node: g.Node, channels: int) -> str:
        if node.name in self.nodes:
            raise ValueError(f"two nodes have the name {node.name!r}")
        self.nodes[node.name] = node
        self._channels[node.name] = channels
        return node.name

    def _add_conv_layer(
        self,
        scope: str,
        source: str,
        shape: tuple[int, ...],
        depthwise: bool,
        stride: int,
        dilation: int,
        padding: g.Padding,
        norm: Norm | None,
        bias: bool,
        activation: g.ActivationKind | None,
    ) -> str:
        channels = shape[2] * shape[3] if depthwise else shape[3]
        conv = g.Conv(
            name=f"{scope}/{'depthwise' if depthwise else 'Conv2D'}", inputs=(source,), kernel=_zeros(*shape),
            bias=_zeros(channels) if bias else None, strides=(stride, stride), dilations=(dilation, dilation),
            padding=padding, depthwise=depthwise,
        )  # fmt: skip
        result = self._add_node(conv, channels)
        kernel = "depthwise_weights" if depthwise else "weights"
        self.variables.append(Variable(f"{scope}/{kernel}", conv.name, "kernel", shape))
        if bias:
            self.variables.append(Variable(f"{scope}/biases", conv.name, "bias", (channels,)))
        if norm is not None:
            result = self._add_batch_norm(f"{scope}/BatchNorm", result, channels, norm)
        if activation is not None:
            node = g.Activation(name=f"{scope}/{activation.capitalize()}", inputs=(result,), kind=activation)
            result = self._add_node(node, channels)
        return result

    def _add_batch_norm(self, scope: str, source: str, channels: int, norm: Norm) -> str:
        zeros, ones = _zeros(channels), np.broadcast_to(np.float32(1), channels)
        name = self._add_node(
            g.BatchNorm(
                name=scope, inputs=(source,), gamma=ones, beta=zeros, mean=zeros, variance=ones, epsilon=self.epsilon
            ),
            channels,
        )
        for attribute, variable in _NORM_VARIABLES.items():
            required = attribute != "gamma" or norm == "scale and offset"
            self.variables.append(Variable(f"{scope}/{variable}", name, attribute, (channels,), required))
        return name


def _zeros(*shape: int) -> g.Array:
    return np.broadcast_to(np.float32(0), shape)
