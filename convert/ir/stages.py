"""The stages of a network: each refines the maps of the one before, so any of them can be the last.

Every stage's maps were supervised in training: a network cut after its k-th stage is a valid, cheaper network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ...runtime.errors import ModelError
from . import graph as g
from .output_heads import HEATMAPS, PAFS


class Stage(NamedTuple):
    """The nodes that hold a stage's maps."""

    heatmaps: str
    pafs: str


def find(graph: g.Graph) -> list[Stage]:
    """The stages, first to last.

    A stage before the last is recognized by the concat that feeds the next: heatmaps, PAFs and features go into it.
    """
    known = g.channels(graph)
    found: dict[Stage, None] = {}
    for node in graph.nodes.values():
        if not isinstance(node, g.Concat):
            continue
        heatmaps = [i for i in node.inputs if known[i] == HEATMAPS]
        pafs = [i for i in node.inputs if known[i] == PAFS]
        if len(heatmaps) == len(pafs) == 1 and len(node.inputs) > 2:
            found[Stage(heatmaps[0], pafs[0])] = None
    found[Stage(graph.heatmaps, graph.pafs)] = None
    return list(found)


def cut(graph: g.Graph, stage: int) -> g.Graph:
    """The graph whose results are those of the `stage`-th stage, counted from 1, without what only later ones need.

    Raises ModelError where there is no such stage.
    """
    there = find(graph)
    if not 1 <= stage <= len(there):
        raise ModelError(f"--stages {stage}: expected 1 to {len(there)}, the stages this network has")
    chosen = there[stage - 1]
    return replace(graph, heatmaps=chosen.heatmaps, pafs=chosen.pafs).pruned()
