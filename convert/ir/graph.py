"""Float graph of a network: created by the importers, rewritten by the passes, converted by the exporters.

Weights are float32 NumPy arrays, feature maps are NHWC. There is a class for each operator that this family of networks
uses. An importer that finds any other operator raises ModelError with the operator's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
ActivationKind = Literal["relu", "relu6", "elu", "leaky_relu", "prelu", "sigmoid", "tanh", "swish", "hard_swish"]
Padding = Literal["SAME", "VALID"] | tuple[tuple[int, int], tuple[int, int]]  # explicit: (top, bottom), (left, right)


@dataclass(frozen=True, kw_only=True)
class Node:
    """Operator: `name` is unique in its graph, `inputs` are the names of the nodes that it reads."""

    name: str
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Input(Node):
    """Input image, (batch, height, width, 3), values 0 to 255.

    `size` is the (height, width) in pixels that the imported file has; None if it accepts any size.
    """

    size: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Conv(Node):
    """Convolution.

    The kernel has the shape (height, width, in, out), or (height, width, channels, multiplier) if `depthwise` is set.
    """

    kernel: Array = field(repr=False)
    bias: Array | None = field(default=None, repr=False)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: Padding = "SAME"
    depthwise: bool = False

    @property
    def out_channels(self) -> int:
        """Number of output channels."""
        return int(self.kernel.shape[2] * self.kernel.shape[3] if self.depthwise else self.kernel.shape[3])


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Node):
    """Batch normalization.

    `mean` and `variance` are None in training mode: the graph then computes them from each batch.
    """

    gamma: Array = field(repr=False)
    beta: Array = field(repr=False)
    mean: Array | None = field(default=None, repr=False)
    variance: Array | None = field(default=None, repr=False)
    epsilon: float = 1e-3

    @property
    def is_training(self) -> bool:
        """True in training mode: the statistics are computed from each batch."""
        return self.mean is None or self.variance is None


@dataclass(frozen=True, kw_only=True)
class Affine(Node):
    """`x * scale + offset`, with one value per channel or one value for all channels."""

    scale: Array = field(repr=False)
    offset: Array = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Activation(Node):
    """Activation function.

    Attributes:
        kind: Name of the function. swish is `x * sigmoid(x)`, hard_swish is `x * relu6(x + 3) / 6`.
        cap: Replaces the 6 of ReLU6 with one limit per channel, or one for all channels. It is set by equalization,
            and for networks that limit values to another number.
        alpha: Slope for negative values: one value for leaky_relu, one per channel for prelu. None for other kinds.
    """

    kind: ActivationKind
    cap: Array | None = field(default=None, repr=False)
    alpha: Array | None = field(default=None, repr=False)

    @property
    def slope(self) -> float:
        """Slope for negative values of a leaky ReLU."""
        return 0.0 if self.alpha is None else float(self.alpha.flat[0])

    @property
    def is_fusable(self) -> bool:
        """True if TFLite computes the function as a part of the convolution before it."""
        return self.kind in ("relu", "relu6")

    @property
    def is_homogeneous(self) -> bool:
        """True if a positive factor of a channel can be moved behind the function (with its cap)."""
        return self.kind in ("relu", "relu6", "leaky_relu", "prelu")


@dataclass(frozen=True, kw_only=True)
class Add(Node):
    """Element-wise sum of two feature maps."""


@dataclass(frozen=True, kw_only=True)
class Concat(Node):
    """Concatenation of all inputs along the channels."""


@dataclass(frozen=True, kw_only=True)
class MaxPool(Node):
    """Max pooling; `window` and `strides` are (height, width)."""

    window: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding = "SAME"


@dataclass(frozen=True, kw_only=True)
class ResizeLike(Node):
    """Resize of the first input to `factor` times the height and width of the second input.

    Bilinear, or nearest neighbor if `nearest` is set. At most one of `half_pixel_centers` and `align_corners` is set.
    """

    factor: int = 1
    half_pixel_centers: bool = False
    align_corners: bool = False
    nearest: bool = False


@dataclass(frozen=True, kw_only=True)
class Slice(Node):
    """Channels `start` to `stop` (exclusive) of one feature map."""

    start: int
    stop: int


@dataclass(frozen=True)
class Graph:
    """Network graph: nodes in topological order, and the names of the two output nodes."""

    nodes: Mapping[str, Node]
    heatmaps: str
    pafs: str

    @property
    def input(self) -> Input:
        """Node of the input image."""
        return next(node for node in self.nodes.values() if isinstance(node, Input))

    def find_nodes(self, kind: type[Node]) -> Iterable[Node]:
        """Return the nodes of one type, in topological order."""
        return (node for node in self.nodes.values() if isinstance(node, kind))

    def find_consumers(self, name: str) -> list[Node]:
        """Return the nodes that read the node `name`."""
        return [node for node in self.nodes.values() if name in node.inputs]

    def substitute(self, changes: Mapping[str, Node | str]) -> Graph:
        """Return a graph with some nodes replaced.

        Args:
            changes: For each node to replace, a new node of the same name, or the name of an earlier node whose
                output is used instead.
        """
        renamed: dict[str, str] = {}
        nodes: dict[str, Node] = {}
        for name, node in self.nodes.items():
            change = changes.get(name, node)
            if isinstance(change, str):
                renamed[name] = renamed.get(change, change)
                continue
            nodes[name] = replace(change, inputs=tuple(renamed.get(i, i) for i in change.inputs))
        return Graph(nodes, renamed.get(self.heatmaps, self.heatmaps), renamed.get(self.pafs, self.pafs))

    def prune(self) -> Graph:
        """Return a graph without the nodes that the two outputs do not depend on."""
        wanted = {self.heatmaps, self.pafs}
        for name in reversed(list(self.nodes)):
            if name in wanted:
                wanted.update(self.nodes[name].inputs)
        return replace(self, nodes={name: node for name, node in self.nodes.items() if name in wanted})

    @property
    def parameters(self) -> int:
        """Number of weights. A batch normalization counts as one bias per channel, which is what folding leaves."""
        total = 0
        for node in self.nodes.values():
            if isinstance(node, Conv):
                total += node.kernel.size + (0 if node.bias is None else node.bias.size)
            elif isinstance(node, BatchNorm):
                total += node.beta.size
        return total


def count_channels(graph: Graph) -> dict[str, int]:
    """Return the number of output channels of every node, by node name."""
    counts: dict[str, int] = {}
    for name, node in graph.nodes.items():
        match node:
            case Input():
                counts[name] = 3
            case Conv():
                counts[name] = node.out_channels
            case Concat():
                counts[name] = sum(counts[i] for i in node.inputs)
            case Slice():
                counts[name] = node.stop - node.start
            case _:
                counts[name] = counts[node.inputs[0]]
    return counts
