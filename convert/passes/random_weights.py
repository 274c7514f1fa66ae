"""Random weights, for measuring how fast a network is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import graph as g

_OUTPUT_SCALE = 1e-4
"""Keeps the maps near zero: thousands of random peaks would be measured as the decoder's time."""


def fill(graph: g.Graph) -> g.Graph:
    """The graph with kernels drawn so that activations keep their size from layer to layer (He et al., 2015).

    Always the same numbers, so that two conversions make the same file.
    """
    rng = np.random.default_rng(0)
    changes: dict[str, g.Node | str] = {}
    last = _last_convolutions(graph)
    for node in graph.nodes.values():
        if isinstance(node, g.Conv):
            fan_in = node.kernel.size // node.out_channels
            deviation = np.float32((2 / fan_in) ** 0.5 * (_OUTPUT_SCALE if node.name in last else 1))
            kernel = rng.standard_normal(node.kernel.shape, np.float32) * deviation
            bias = None if node.bias is None else np.zeros(node.out_channels, np.float32)
            changes[node.name] = replace(node, kernel=kernel, bias=bias)
    return graph.substitute(changes)


def _last_convolutions(graph: g.Graph) -> set[str]:
    """The convolutions that make the maps."""
    found = set()
    for name in (graph.heatmaps, graph.pafs):
        while not isinstance(graph.nodes[name], g.Conv):
            name = graph.nodes[name].inputs[0]
        found.add(name)
    return found
