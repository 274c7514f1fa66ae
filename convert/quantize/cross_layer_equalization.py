"""Cross-layer equalization: scale channels so that all channels of a map have the same range.

All channels of a map share one integer scale. If one channel has values a hundred times larger than another, eight bits
leave the weak channel only three values. Dividing a channel by a constant and multiplying the weights that read it by
the same constant costs nothing (see `channel_groups`). The method is that of Nagel et al., "Data-Free Quantization
Through Weight Equalization and Bias Correction" (2019), but here all channels get the same range. Balancing the range
of the map against that of the weights that read it was tried (square roots; exponents chosen per map from the noise of
both) and is worse, because the weights are rounded by their effect on the result (see `gptq`) and lose less.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..ir import graph as g
from .calibrate import MapStatistics
from .channel_groups import ChannelGroups, group_channels, scale_channels

_MIN_RANGE = 1e-6
"""Channels with a smaller range are scaled as if they had this one: their values are rounding errors of the float
network."""
_MAX_WEIGHT = 8192.0
"""Largest weight after equalization. TFLite's kernels multiply sums by a factor below 256, which is about 1/127 of the
largest weight, because maps have similar scales."""


def equalize(graph: g.Graph, statistics: Mapping[str, MapStatistics], min_ratio: float) -> g.Graph:
    """Scale all channels that can be scaled to a range of 1; the graph computes the same function.

    Args:
        graph: Folded float graph.
        statistics: Statistics of its stored maps.
        min_ratio: Smallest allowed range of a channel as a ratio of its maximum, see
            `MapStatistics.compute_channel_ranges`.
    """
    groups = group_channels(graph)
    ranges = np.zeros(len(groups.fixed))
    for name, entry in statistics.items():
        np.maximum.at(ranges, groups.ids_by_node[name], entry.compute_channel_ranges(min_ratio))
    scale = np.where(groups.fixed | (ranges == 0), 1.0, np.maximum(ranges, _MIN_RANGE))
    return scale_channels(graph, groups, _limit_weights(graph, groups, scale))


def _limit_weights(graph: g.Graph, groups: ChannelGroups, scale: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return larger scales for channels whose weights would become larger than `_MAX_WEIGHT`."""
    limited = scale.copy()
    for node in graph.nodes.values():
        if not isinstance(node, g.Conv):
            continue
        own = groups.ids_by_node[node.name]
        source = limited[groups.ids_by_node[node.inputs[0]]].reshape(1, 1, -1, 1)
        largest = np.abs(node.kernel * source).max(axis=(0, 1) if node.depthwise else (0, 1, 2)).reshape(-1)
        needed = np.where(groups.fixed[own], 0.0, largest / _MAX_WEIGHT)
        np.maximum.at(limited, own, needed)
    return limited
