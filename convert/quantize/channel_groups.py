"""Which channels of which maps must be scaled together.

A map's channel may be divided by a constant if the convolutions that read it multiply their weights by it: the
network's function stays. Additions, concats, resizing, pooling and ReLU pass the scale on; ELU, the image and the
network's results allow none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..ir import graph as g

Ids = npt.NDArray[np.intp]


@dataclass(frozen=True)
class ChannelClasses:
    """`of[node]`: for every channel of the node's map the number of its class; `fixed[class]`: it takes no scale."""

    of: dict[str, Ids]
    fixed: npt.NDArray[np.bool_]


def classify(graph: g.Graph) -> ChannelClasses:
    """The classes of channels of a folded graph."""
    parents: list[int] = []
    fixed: set[int] = set()
    ids: dict[str, Ids] = {}

    def fresh(count: int) -> Ids:
        start = len(parents)
        parents.extend(range(start, start + count))
        return np.arange(start, start + count)

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    known = g.channels(graph)
    for name, node in graph.nodes.items():
        match node:
            case g.Add():
                first, second = (ids[i] for i in node.inputs)
                for a, b in zip(first, second, strict=True):
                    parents[root(int(b))] = root(int(a))
                ids[name] = first
            case g.Concat():
                ids[name] = np.concatenate([ids[i] for i in node.inputs])
            case g.Slice():
                ids[name] = ids[node.inputs[0]][node.start : node.stop]
            case g.ResizeLike() | g.MaxPool():
                ids[name] = ids[node.inputs[0]]
            case g.Activation() if node.kind != "elu":
                ids[name] = ids[node.inputs[0]]
            case _:
                ids[name] = fresh(known[name])
        for unscaled in _unscaled(graph, node):
            fixed.update(ids[unscaled].tolist())
    roots = np.array([root(i) for i in range(len(parents))], np.intp)
    numbers, dense = np.unique(roots, return_inverse=True)
    immovable = np.zeros(len(numbers), np.bool_)
    immovable[dense[list(fixed)]] = True
    return ChannelClasses({name: dense[own] for name, own in ids.items()}, immovable)


def _unscaled(graph: g.Graph, node: g.Node) -> tuple[str, ...]:
    """The maps at a node whose channels take no scale."""
    if isinstance(node, g.Activation) and node.kind == "elu":
        return (node.name, *node.inputs)
    if node.name in (graph.heatmaps, graph.pafs) or isinstance(node, g.Input | g.Affine | g.BatchNorm):
        return (node.name,)
    return ()


def scaled(graph: g.Graph, classes: ChannelClasses, scale: npt.NDArray[np.float64]) -> g.Graph:
    """The graph with every channel divided by the scale of its class; the same function. Fixed classes need scale 1."""
    changes: dict[str, g.Node | str] = {}
    for name, node in graph.nodes.items():
        own = scale[classes.of[name]]
        if isinstance(node, g.Conv):
            before = scale[classes.of[node.inputs[0]]]
            kernel = node.kernel.astype(np.float64)
            if node.depthwise:
                kernel = kernel * before.reshape(1, 1, -1, 1) / own.reshape(1, 1, *kernel.shape[2:])
            else:
                kernel = kernel * before.reshape(1, 1, -1, 1) / own.reshape(1, 1, 1, -1)
            bias = None if node.bias is None else (node.bias / own).astype(np.float32)
            changes[name] = replace(node, kernel=kernel.astype(np.float32), bias=bias)
        elif isinstance(node, g.Activation) and node.kind == "relu6":
            cap = np.full(len(own), 6.0) if node.cap is None else node.cap
            changes[name] = replace(node, cap=(cap / own).astype(np.float32))
    return graph.substitute(changes)
