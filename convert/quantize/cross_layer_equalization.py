"""Scales that let the channels of a map share one integer scale.

Where one channel of a map is a hundred times stronger than another, eight bits for both leave the weak one with three
values. Dividing a channel and multiplying the weights that read it costs nothing (see `channels`). All channels are
made equal. Balancing the map against the weights that read it was tried (square roots; exponents chosen map by map by
the noise of both): it is worse, because the weights are rounded by their effect (see `rounding`) and lose less.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..ir import graph as g
from .calibrate import MapStatistics
from .channel_groups import classify, scaled

_SILENT = 1e-2
"""Channels weaker than this, of values that are at most in the hundreds, are not blown up."""


def equalized(graph: g.Graph, statistics: Mapping[str, MapStatistics], rare: float) -> g.Graph:
    """The same function with a large value (`MapStatistics.peaks`) of every channel that may be scaled at one."""
    classes = classify(graph)
    peaks = np.zeros(len(classes.fixed))
    for name, seen in statistics.items():
        np.maximum.at(peaks, classes.of[name], seen.peaks(rare))
    scale = np.where(classes.fixed | (peaks == 0), 1.0, np.maximum(peaks, _SILENT))
    return scaled(graph, classes, scale)
