"""The float graph of a network: what every importer makes, every pass rewrites and the exporter spells in TensorFlow.

Weights are float32 NumPy arrays, maps are NHWC. The few operators here are those this family of networks is made of;
an importer that meets another names it and stops.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
ActivationKind = Literal["relu", "relu6", "elu"]
Padding = Literal["SAME", "VALID"] | tuple[tuple[int, int], tuple[int, int]]  # explicit: (top, bottom), (left, right)


@dataclass(frozen=True, kw_only=True)
class Node:
    """An operator: `name` is unique in its graph, `inputs` are names of nodes."""

    name: str
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Input(Node):
    """The image: (batch, height, width, 3), raw 0..255."""


@dataclass(frozen=True, kw_only=True)
class Conv(Node):
    """Convolution, kernel (height, width, in, out); with `depthwise`, (height, width, channels, multiplier)."""

    kernel: Array = field(repr=False)
    bias: Array | None = field(default=None, repr=False)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: Padding = "SAME"
    depthwise: bool = False

    @property
    def out_channels(self) -> int:
        """Channels of the result."""
        return int(self.kernel.shape[2] * self.kernel.shape[3] if self.depthwise else self.kernel.shape[3])


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Node):
    """Batch normalization; `mean` and `variance` are None where the graph takes them from the batch itself."""

    gamma: Array = field(repr=False)
    beta: Array = field(repr=False)
    mean: Array | None = field(default=None, repr=False)
    variance: Array | None = field(default=None, repr=False)
    epsilon: float = 1e-3

    @property
    def training(self) -> bool:
        """Whether the statistics come from the batch that runs through."""
        return self.mean is None or self.variance is None


@dataclass(frozen=True, kw_only=True)
class Affine(Node):
    """`x * scale + offset`, per channel or with one number for all."""

    scale: Array = field(repr=False)
    offset: Array = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Activation(Node):
    """ReLU, ReLU6 or ELU; `cap` replaces ReLU6's six, channel by channel, where the channels were scaled."""

    kind: ActivationKind
    cap: Array | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Add(Node):
    """Sum of two maps."""


@dataclass(frozen=True, kw_only=True)
class Concat(Node):
    """Channels of all inputs, one after the other."""


@dataclass(frozen=True, kw_only=True)
class MaxPool(Node):
    """Maximum over a window."""

    window: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding = "SAME"


@dataclass(frozen=True, kw_only=True)
class ResizeLike(Node):
    """The first input enlarged bilinearly to the height and width of the second, times `factor`."""

    factor: int = 1
    half_pixel_centers: bool = False


@dataclass(frozen=True, kw_only=True)
class Slice(Node):
    """Channels `start` to `stop` of one map."""

    start: int
    stop: int


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which every node comes after its inputs, and the names of the two results."""

    nodes: Mapping[str, Node]
    heatmaps: str
    pafs: str

    @property
    def input(self) -> Input:
        """The image's node."""
        return next(node for node in self.nodes.values() if isinstance(node, Input))

    def of_type(self, kind: type[Node]) -> Iterable[Node]:
        """Nodes of one kind, in order."""
        return (node for node in self.nodes.values() if isinstance(node, kind))

    def consumers(self, name: str) -> list[Node]:
        """Nodes that read `name`."""
        return [node for node in self.nodes.values() if name in node.inputs]

    def substitute(self, changes: Mapping[str, Node | str]) -> Graph:
        """A graph with some nodes replaced: by another node of the same name, or by the name of an earlier node."""
        renamed: dict[str, str] = {}
        nodes: dict[str, Node] = {}
        for name, node in self.nodes.items():
            change = changes.get(name, node)
            if isinstance(change, str):
                renamed[name] = renamed.get(change, change)
                continue
            nodes[name] = replace(change, inputs=tuple(renamed.get(i, i) for i in change.inputs))
        return Graph(nodes, renamed.get(self.heatmaps, self.heatmaps), renamed.get(self.pafs, self.pafs))

    def pruned(self) -> Graph:
        """Only the nodes that the results depend on."""
        wanted = {self.heatmaps, self.pafs}
        for name in reversed(list(self.nodes)):
            if name in wanted:
                wanted.update(self.nodes[name].inputs)
        return replace(self, nodes={name: node for name, node in self.nodes.items() if name in wanted})

    @property
    def parameters(self) -> int:
        """Number of weights, those of a batch normalization counted as what it leaves when folded: a bias a channel."""
        total = 0
        for node in self.nodes.values():
            if isinstance(node, Conv):
                total += node.kernel.size + (0 if node.bias is None else node.bias.size)
            elif isinstance(node, BatchNorm):
                total += node.beta.size
        return total


def channels(graph: Graph) -> dict[str, int]:
    """Channels of every node's result."""
    known: dict[str, int] = {}
    for name, node in graph.nodes.items():
        match node:
            case Input():
                known[name] = 3
            case Conv():
                known[name] = node.out_channels
            case Concat():
                known[name] = sum(known[i] for i in node.inputs)
            case Slice():
                known[name] = node.stop - node.start
            case _:
                known[name] = known[node.inputs[0]]
    return known
