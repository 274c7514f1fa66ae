"""Search for the feature maps that are the outputs of a network, in front of what others have added behind them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from . import graph as g


def strip_peak_detection(nodes: Mapping[str, g.Node], name: str) -> str:
    """Return the map in front of the operators that only detect peaks: smoothing, and a max pooling with stride 1."""
    while _detects_peaks(nodes[name]):
        name = nodes[name].inputs[0]
    return name


def find_last_maps(
    nodes: Mapping[str, g.Node], roots: Iterable[str], channel_counts: Mapping[str, int], wanted: Collection[int]
) -> list[str]:
    """Find the last maps with certain numbers of channels among some nodes and the nodes that they depend on.

    Args:
        nodes: The nodes, in topological order.
        roots: The nodes at which the search starts.
        channel_counts: The number of channels of each node.
        wanted: The numbers of channels to find.

    Returns:
        The nodes that have such a number of channels, and that no other such node depends on.
    """
    reachable, before_other = set(roots), set()
    for name in reversed(list(nodes)):
        if name not in reachable:
            continue
        is_wanted = channel_counts[name] in wanted
        for source in nodes[name].inputs:
            reachable.add(source)
            if is_wanted or name in before_other:
                before_other.add(source)
    return [name for name in nodes if name in reachable - before_other and channel_counts[name] in wanted]


def find_blocks(nodes: Mapping[str, g.Node], channel_counts: Mapping[str, int], name: str) -> list[int]:
    """Return the numbers of channels of the maps that an output was concatenated from, in order.

    Operators that keep the order of the channels are followed back to the concat. Without a concat, the output is one
    block.
    """
    while isinstance(node := nodes[name], g.Activation | g.Affine | g.BatchNorm | g.MaxPool | g.ResizeLike) or (
        isinstance(node, g.Conv) and node.depthwise and node.kernel.shape[3] == 1
    ):
        name = node.inputs[0]
    if isinstance(node, g.Concat):
        return [channel_counts[i] for i in node.inputs]
    return [channel_counts[name]]


def _detects_peaks(node: g.Node) -> bool:
    if isinstance(node, g.MaxPool):
        return node.strides == (1, 1)
    if not isinstance(node, g.Conv) or not node.depthwise or node.bias is not None or node.strides != (1, 1):
        return False
    kernel = node.kernel
    is_smoothing = kernel.shape[3] == 1 and min(kernel.shape[:2]) > 1 and bool(np.all(kernel >= 0))
    return is_smoothing and bool(np.all(np.ptp(kernel, axis=2) == 0)) and abs(float(kernel[:, :, 0].sum()) - 1) < 0.01
