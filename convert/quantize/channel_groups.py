"""Groups of channels that must be scaled together.

A channel of a map can be divided by a constant if the convolutions that read it multiply their weights by the same
constant: the network computes the same function. Add, concat, resize, max pooling, ReLU, leaky ReLU and PReLU pass the
scale on, so the channels that they connect form one group. Channels of the image, of the network's outputs, and before
and after any other activation (such as an ELU) cannot be scaled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..ir import graph as g

GroupIds = npt.NDArray[np.intp]


@dataclass(frozen=True)
class ChannelGroups:
    """Groups of channels that share a scale, numbered from 0.

    Attributes:
        ids_by_node: By the name of a node, the group of each channel of its map, (channels,).
        fixed: By group, True if its channels cannot be scaled, (groups,).
    """

    ids_by_node: dict[str, GroupIds]
    fixed: npt.NDArray[np.bool_]


class _DisjointSets:
    """Union-find over whole numbers, with path halving."""

    def __init__(self) -> None:
        self._parents: list[int] = []

    def add(self, count: int) -> GroupIds:
        """Add `count` elements, each in a set of its own, and return their numbers."""
        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        return np.arange(start, start + count)

    def find(self, element: int) -> int:
        """Return the representative of the set of an element."""
        while self._parents[element] != element:
            self._parents[element] = self._parents[self._parents[element]]
            element = self._parents[element]
        return element

    def union(self, first: int, second: int) -> None:
        """Merge two sets; the representative of `first` represents both."""
        self._parents[self.find(second)] = self.find(first)

    def number_sets(self) -> tuple[GroupIds, int]:
        """Number the sets from 0: the number of the set of each element, and the number of sets."""
        roots = np.array([self.find(i) for i in range(len(self._parents))], np.intp)
        representatives, numbers = np.unique(roots, return_inverse=True)
        return numbers, len(representatives)


def group_channels(graph: g.Graph) -> ChannelGroups:
    """Group the channels of all maps of a folded graph."""
    sets = _DisjointSets()
    fixed: set[int] = set()
    ids: dict[str, GroupIds] = {}
    channel_counts = g.count_channels(graph)
    for name, node in graph.nodes.items():
        match node:
            case g.Add():
                first, second = (ids[i] for i in node.inputs)
                for a, b in zip(first, second, strict=True):
                    sets.union(int(a), int(b))
                ids[name] = first
            case g.Concat():
                ids[name] = np.concatenate([ids[i] for i in node.inputs])
            case g.Slice():
                ids[name] = ids[node.inputs[0]][node.start : node.stop]
            case g.ResizeLike() | g.MaxPool():
                ids[name] = ids[node.inputs[0]]
            case g.Activation() if node.is_homogeneous:
                ids[name] = ids[node.inputs[0]]
            case _:
                ids[name] = sets.add(channel_counts[name])
        for unscaled in _list_unscaled_maps(graph, node):
            fixed.update(ids[unscaled].tolist())
    groups, count = sets.number_sets()
    is_fixed = np.zeros(count, np.bool_)
    is_fixed[groups[list(fixed)]] = True
    return ChannelGroups({name: groups[own] for name, own in ids.items()}, is_fixed)


def _list_unscaled_maps(graph: g.Graph, node: g.Node) -> tuple[str, ...]:
    """List the result and inputs of a node whose channels cannot be scaled."""
    if isinstance(node, g.Activation) and not node.is_homogeneous:
        return (node.name, *node.inputs)
    if node.name in (graph.heatmaps, graph.pafs) or isinstance(node, g.Input | g.Affine | g.BatchNorm):
        return (node.name,)
    return ()


def scale_channels(graph: g.Graph, groups: ChannelGroups, scale: npt.NDArray[np.float64]) -> g.Graph:
    """Divide every channel by the scale of its group and adapt the weights: the graph computes the same function.

    Args:
        graph: Folded graph.
        groups: Groups of its channels.
        scale: Scale of each group, (groups,); 1 for groups that are fixed.
    """
    changes: dict[str, g.Node | str] = {}
    for name, node in graph.nodes.items():
        own = scale[groups.ids_by_node[name]]
        if isinstance(node, g.Conv):
            source = scale[groups.ids_by_node[node.inputs[0]]]
            kernel = node.kernel.astype(np.float64)
            if node.depthwise:
                kernel = kernel * source.reshape(1, 1, -1, 1) / own.reshape(1, 1, *kernel.shape[2:])
            else:
                kernel = kernel * source.reshape(1, 1, -1, 1) / own.reshape(1, 1, 1, -1)
            bias = None if node.bias is None else (node.bias / own).astype(np.float32)
            changes[name] = replace(node, kernel=kernel.astype(np.float32), bias=bias)
        elif isinstance(node, g.Activation) and node.kind == "relu6":
            cap = np.broadcast_to(6.0 if node.cap is None else node.cap, len(own))
            changes[name] = replace(node, cap=(cap / own).astype(np.float32))
    return graph.substitute(changes)
