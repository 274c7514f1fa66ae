"""Offset absorption: subtract a constant from each channel, and add it again in the biases of the layers that read it.

Many channels of these networks are far from zero everywhere, and the difference between a person and the background is
small: a channel with values from 0.5 to 1.1 uses only half of the integers from 0 to 1.1. Subtracting 0.5 costs nothing
and halves the rounding error. It is the bias absorption of Nagel et al., "Data-Free Quantization Through Weight
Equalization and Bias Correction" (2019), with two differences: the constant is the smallest value that was measured,
and the results of convolutions without activation are centered.

A map qualifies if only 1x1 convolutions read it: a larger kernel also reads the zeros of the padding, which do not
shift.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..ir import graph as g
from .calibrate import FloatArray, MapStatistics
from .plan import find_stored_map


def absorb_offsets(graph: g.Graph, statistics: Mapping[str, MapStatistics]) -> tuple[g.Graph, dict[str, MapStatistics]]:
    """Shift the channels of all maps that only 1x1 convolutions read; the graph computes the same function.

    Values below the smallest measured value are the exception: an activation clips them.

    Args:
        graph: Folded float graph.
        statistics: Statistics of its stored maps.

    Returns:
        The graph, and the statistics of its maps.
    """
    offsets: dict[str, FloatArray] = {}
    for conv in graph.nodes.values():
        if isinstance(conv, g.Conv) and _is_read_by_pointwise_convs(graph, name := find_stored_map(graph, conv)):
            offsets[name] = _choose_offsets(name != conv.name, statistics[name])
    changes: dict[str, g.Node | str] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, g.Conv):
            changes[name] = _shift_conv(graph, node, offsets)
        elif isinstance(node, g.Activation) and name in offsets and node.kind == "relu6":
            cap = np.full(len(offsets[name]), 6.0, np.float32) if node.cap is None else node.cap
            changes[name] = replace(node, cap=(cap - offsets[name]).astype(np.float32))
    shifted = {name: entry.shift(offsets[name]) if name in offsets else entry for name, entry in statistics.items()}
    return graph.substitute(changes), shifted


def _is_read_by_pointwise_convs(graph: g.Graph, name: str) -> bool:
    readers = graph.find_consumers(name)
    return (
        bool(readers)
        and name not in (graph.heatmaps, graph.pafs)
        and all(
            isinstance(node, g.Conv)
            and not node.depthwise
            and node.kernel.shape[:2] == (1, 1)
            and (isinstance(node.padding, str) or not any(map(any, node.padding)))
            for node in readers
        )
    )


def _choose_offsets(has_activation: bool, statistics: MapStatistics) -> FloatArray:
    """Choose the offset of each channel: the smallest value after an activation, otherwise the middle of the range."""
    low, high = statistics.measure_channel_limits()
    return low if has_activation else np.asarray((low + high) / 2, np.float32)


def _shift_conv(graph: g.Graph, conv: g.Conv, offsets: Mapping[str, FloatArray]) -> g.Conv:
    """Subtract the offset of the result and add the effect of the offset of the input."""
    bias: npt.NDArray[np.float64] = np.zeros(conv.out_channels) if conv.bias is None else conv.bias.astype(np.float64)
    if conv.inputs[0] in offsets:
        bias = bias + offsets[conv.inputs[0]].astype(np.float64) @ conv.kernel[0, 0].astype(np.float64)
    own = offsets.get(find_stored_map(graph, conv))
    if own is not None:
        bias = bias - own
    return replace(conv, bias=bias.astype(np.float32))
