"""Which results of a network are the heatmaps and which the PAFs."""

from __future__ import annotations

from collections.abc import Mapping

from ...runtime.errors import ModelError
from ...runtime.skeleton import COCO18
from . import graph as g

HEATMAPS, PAFS = COCO18.heatmap_channels, COCO18.paf_channels


def choose_outputs(
    where: str, nodes: Mapping[str, g.Node], results: list[str], heatmaps: str | None, pafs: str | None
) -> g.Graph:
    """The graph down to its two outputs: those named, else those of `results` with 19 and with 38 channels.

    One result of 57 channels is both, heatmaps first. Raises ModelError listing what there is where the two cannot be
    told; `where` names the file.
    """
    graph = g.Graph(dict(nodes), "", "")
    known = g.channels(graph)
    if heatmaps is not None and pafs is not None:
        _check_named(where, known, heatmaps, pafs)
        return g.Graph(graph.nodes, heatmaps, pafs).pruned()
    by_channels: dict[int, list[str]] = {}
    for name in results:
        by_channels.setdefault(known[name], []).append(name)
    if len(by_channels.get(HEATMAPS, [])) == 1 and len(by_channels.get(PAFS, [])) == 1:
        return g.Graph(graph.nodes, by_channels[HEATMAPS][0], by_channels[PAFS][0]).pruned()
    if len(by_channels.get(HEATMAPS + PAFS, [])) == 1:
        return _split(graph, known, by_channels[HEATMAPS + PAFS][0])
    found = ", ".join(f"{name} ({known[name]} channels)" for name in results) or "none"
    raise ModelError(
        f"{where}: expected results of {HEATMAPS} (heatmaps) and {PAFS} channels (PAFs), or one of "
        f"{HEATMAPS + PAFS}; found {found}. Name them with --heatmaps and --pafs"
    )


def _check_named(where: str, known: Mapping[str, int], heatmaps: str, pafs: str) -> None:
    for name, channels in ((heatmaps, HEATMAPS), (pafs, PAFS)):
        if name not in known:
            raise ModelError(f"{where}: no operator {name!r} in the network")
        if known[name] != channels:
            raise ModelError(f"{where}: expected {channels} channels of {name!r}, it has {known[name]}")


def _split(graph: g.Graph, known: Mapping[str, int], name: str) -> g.Graph:
    """Heatmaps and PAFs of one result: the inputs of the concat where it is one, else two slices."""
    node = graph.nodes[name]
    if isinstance(node, g.Concat) and [known[i] for i in node.inputs] == [HEATMAPS, PAFS]:
        return g.Graph(graph.nodes, *node.inputs).pruned()
    nodes = {
        **graph.nodes,
        "heatmaps": g.Slice(name="heatmaps", inputs=(name,), start=0, stop=HEATMAPS),
        "pafs": g.Slice(name="pafs", inputs=(name,), start=HEATMAPS, stop=HEATMAPS + PAFS),
    }
    return g.Graph(nodes, "heatmaps", "pafs").pruned()
