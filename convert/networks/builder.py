"""How the definitions are written down: layers one after another, each under the name upstream's variables have.

The result is a `Graph` like any importer's, with zeros for weights (they take no memory), and the list of variables
that fill it. TensorFlow is not needed for that, so a board can tell what a network costs.
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
    """A weight: its name in TensorFlow 1 checkpoints and graphs, and the attribute of the node it fills."""

    name: str
    node: str
    attribute: Attribute
    shape: tuple[int, ...]
    required: bool = True
    """False for the scale of a batch normalization that upstream fixes at one."""


@dataclass(frozen=True)
class Definition:
    """A network without weights."""

    name: str
    graph: g.Graph
    variables: tuple[Variable, ...]

    def cut(self, stage: int) -> Definition:
        """The network up to its `stage`-th stage. Raises ModelError where it has fewer."""
        graph = stages.cut(self.graph, stage)
        return replace(self, graph=graph, variables=tuple(v for v in self.variables if v.node in graph.nodes))


class Builder:
    """Adds layers to a network; every method gives the name of the node that holds the layer's result."""

    def __init__(self) -> None:
        self.nodes: dict[str, g.Node] = {"image": g.Input(name="image")}
        self.variables: list[Variable] = []
        self._channels = {"image": 3}

    def conv(
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
        activation: g.ActivationKind | None = "relu",
    ) -> str:
        """A convolution, with biases where no batch normalization follows."""
        shape = (kernel, kernel, self._channels[source], channels)
        return self._layer(scope, source, shape, False, stride, dilation, padding, norm, norm is None, activation)

    def depthwise(
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
        """A depthwise convolution."""
        shape = (kernel, kernel, self._channels[source], 1)
        return self._layer(scope, source, shape, True, stride, dilation, padding, norm, bias, activation)

    def affine(self, name: str, source: str, scale: float, offset: float) -> str:
        """The map times a constant, plus another."""
        row = np.array([scale, offset], np.float32)
        return self._add(g.Affine(name=name, inputs=(source,), scale=row[:1], offset=row[1:]), self._channels[source])

    def max_pool(self, name: str, source: str) -> str:
        """The maximum of each 2x2 cells."""
        return self._add(g.MaxPool(name=name, inputs=(source,), window=(2, 2), strides=(2, 2)), self._channels[source])

    def resize_like(self, name: str, source: str, like: str) -> str:
        """The map enlarged bilinearly to the size of another, corners on corners as TensorFlow 1 has it."""
        return self._add(g.ResizeLike(name=name, inputs=(source, like)), self._channels[source])

    def add(self, name: str, first: str, second: str) -> str:
        """The sum of two maps."""
        return self._add(g.Add(name=name, inputs=(first, second)), self._channels[first])

    def concat(self, name: str, *sources: str) -> str:
        """The channels of all maps, one after the other."""
        return self._add(g.Concat(name=name, inputs=sources), sum(self._channels[source] for source in sources))

    def definition(self, name: str, heatmaps: str, pafs: str) -> Definition:
        """The finished network; layers that no output needs are an error of the definition."""
        graph = g.Graph(self.nodes, heatmaps, pafs)
        if len(graph.pruned().nodes) != len(graph.nodes):
            raise ValueError(f"{name} defines layers that no output needs")
        return Definition(name, graph, tuple(self.variables))

    def _add(self, node: g.Node, channels: int) -> str:
        if node.name in self.nodes:
            raise ValueError(f"two nodes are called {node.name!r}")
        self.nodes[node.name] = node
        self._channels[node.name] = channels
        return node.name

    def _layer(
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
        result = self._add(conv, channels)
        kernel = "depthwise_weights" if depthwise else "weights"
        self.variables.append(Variable(f"{scope}/{kernel}", conv.name, "kernel", shape))
        if bias:
            self.variables.append(Variable(f"{scope}/biases", conv.name, "bias", (channels,)))
        if norm is not None:
            result = self._norm(f"{scope}/BatchNorm", result, channels, norm)
        if activation is not None:
            node = g.Activation(name=f"{scope}/{activation.capitalize()}", inputs=(result,), kind=activation)
            result = self._add(node, channels)
        return result

    def _norm(self, scope: str, source: str, channels: int, norm: Norm) -> str:
        empty, one = _zeros(channels), np.broadcast_to(np.float32(1), channels)
        name = self._add(
            g.BatchNorm(name=scope, inputs=(source,), gamma=one, beta=empty, mean=empty, variance=one), channels
        )
        for attribute, variable in _NORM_VARIABLES.items():
            required = attribute != "gamma" or norm == "scale and offset"
            self.variables.append(Variable(f"{scope}/{variable}", name, attribute, (channels,), required))
        return name


def _zeros(*shape: int) -> g.Array:
    return np.broadcast_to(np.float32(0), shape)
