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

from ..ir import graph as g
from .calibrate import MapStatistics
from .channel_groups import group_channels, scale_channels

_MIN_RANGE = 1e-2
"""Channels with a smaller range are scaled as if they had this one. Values of the maps are at most in the hundreds."""


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
    return scale_channels(graph, groups, scale)
