"""Stages of a network. Each stage refines the heatmaps and PAFs of the stage before.

Training supervises the output of every stage, so a network that is cut after any stage is a valid, cheaper network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ...runtime.errors import ModelError
from . import graph as g


class Stage(NamedTuple):
    """Names of the nodes that output the heatmaps and PAFs of a stage."""

    heatmaps: str
    pafs: str


def find(graph: g.Graph) -> list[Stage]:
    """Find the stages of a network, first to last.

    A stage before the last is recognized by the concat of heatmaps, PAFs and features that is the input of the next.
    Its maps have as many channels as those of the last stage.
    """
    channels = g.count_channels(graph)
    found: dict[Stage, None] = {}
    for node in graph.nodes.values():
        if not isinstance(node, g.Concat):
            continue
        heatmaps = [i for i in node.inputs if channels[i] == channels[graph.heatmaps]]
        pafs = [i for i in node.inputs if channels[i] == channels[graph.pafs]]
        if len(heatmaps) == len(pafs) == 1 and len(node.inputs) > 2:
            found[Stage(heatmaps[0], pafs[0])] = None
    found[Stage(graph.heatmaps, graph.pafs)] = None
    return list(found)


def cut(graph: g.Graph, stage: int) -> g.Graph:
    """Cut a network after a stage.

    Args:
        graph: The network.
        stage: The number of the last stage to keep, from 1.

    Raises:
        ModelError: The network has no such stage.
    """
    found = find(graph)
    if not 1 <= stage <= len(found):
        raise ModelError(f"--stages {stage}: expected 1 to {len(found)}, the number of stages of this network")
    chosen = found[stage - 1]
    return replace(graph, heatmaps=chosen.heatmaps, pafs=chosen.pafs).prune()
