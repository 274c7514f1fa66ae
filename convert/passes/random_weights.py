"""Random weights, for speed measurements of networks without published weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import graph as g

_OUTPUT_SCALE = 1e-4
"""Keeps heatmaps and PAFs near zero: with thousands of random peaks, decoding would dominate the measured time."""


def fill(graph: g.Graph) -> g.Graph:
    """Fill the kernels with random values that keep the scale of the activations from layer to layer.

    The seed is fixed, so two conversions write the same file. Paper: He et al., Delving Deep into Rectifiers, 2015.
    """
    rng = np.random.default_rng(0)
    changes: dict[str, g.Node | str] = {}
    output_convolutions = _find_output_convolutions(graph)
    for node in graph.nodes.values():
        if isinstance(node, g.Conv):
            fan_in = node.kernel.size // node.out_channels
            deviation = np.float32((2 / fan_in) ** 0.5 * (_OUTPUT_SCALE if node.name in output_convolutions else 1))
            kernel = rng.standard_normal(node.kernel.shape, np.float32) * deviation
            bias = None if node.bias is None else np.zeros(node.out_channels, np.float32)
            changes[node.name] = replace(node, kernel=kernel, bias=bias)
    return graph.substitute(changes)


def _find_output_convolutions(graph: g.Graph) -> set[str]:
    found = set()
    for name in (graph.heatmaps, graph.pafs):
        while not isinstance(graph.nodes[name], g.Conv):
            name = graph.nodes[name].inputs[0]
        found.add(name)
    return found
