"""Limits of ReLU activations: scales of channels that turn `min(relu(x), limit)` into ReLU6.

TFLite fuses ReLU6 with a convolution. Any other limit needs an operator of its own in a float model.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import graph as g
from ..quantize.channel_groups import group_channels, scale_channels


def change_limits_to_six(graph: g.Graph) -> g.Graph:
    """Scale channels and the weights around them so that every limit is 6; the graph computes the same function.

    A limit stays if its channels cannot be scaled, or if channels with other limits are added to them.

    Args:
        graph: Folded graph.

    Returns:
        The changed graph; `graph` itself if all limits are 6 already.
    """
    limited = [node for node in graph.nodes.values() if isinstance(node, g.Activation) and node.kind == "relu6"]
    if all(node.cap is None for node in limited):
        return graph
    groups = group_channels(graph)
    lowest, highest = np.full(len(groups.fixed), np.inf), np.zeros(len(groups.fixed))
    for node in limited:
        ids = groups.ids_by_node[node.name]
        limits = np.broadcast_to(6.0 if node.cap is None else node.cap, len(ids))
        np.minimum.at(lowest, ids, limits)
        np.maximum.at(highest, ids, limits)
    scale = np.where((lowest == highest) & ~groups.fixed, highest / 6, 1.0)
    scaled = scale_channels(graph, groups, scale)
    changes: dict[str, g.Node | str] = {}
    for node in limited:
        ids = groups.ids_by_node[node.name]
        if node.cap is None and np.all(scale[ids] == 1):
            changes[node.name] = node
        elif np.all(lowest[ids] == 6 * scale[ids]) and np.all(highest[ids] == lowest[ids]):
            changes[node.name] = replace(node, cap=None)
    return scaled.substitute(changes)
