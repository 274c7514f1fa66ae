"""Selection of the outputs that are the heatmaps and the PAFs."""

from __future__ import annotations

from collections.abc import Mapping

from ...runtime.errors import ModelError
from ...runtime.skeleton import COCO18
from . import graph as g

HEATMAP_CHANNELS, PAF_CHANNELS = COCO18.heatmap_channels, COCO18.paf_channels


def choose_outputs(
    file_name: str, nodes: Mapping[str, g.Node], results: list[str], heatmaps: str | None, pafs: str | None
) -> g.Graph:
    """Choose the two outputs and return the graph without the nodes that they do not need.

    Args:
        file_name: The name of the file, for error messages.
        nodes: The nodes of the network, in topological order.
        results: The names of possible outputs. The heatmaps are the one with 19 channels, the PAFs the one with 38.
            A single result with 57 channels holds both, heatmaps first.
        heatmaps: The node of the heatmaps. If both names are given, `results` is not used.
        pafs: The node of the PAFs.

    Raises:
        ModelError: The outputs cannot be identified, or a named node is missing or has the wrong number of channels.
    """
    graph = g.Graph(dict(nodes), "", "")
    channel_counts = g.count_channels(graph)
    if heatmaps is not None and pafs is not None:
        _check_named(file_name, channel_counts, heatmaps, pafs)
        return g.Graph(graph.nodes, heatmaps, pafs).prune()
    by_channels: dict[int, list[str]] = {}
    for name in results:
        by_channels.setdefault(channel_counts[name], []).append(name)
    if len(by_channels.get(HEATMAP_CHANNELS, [])) == 1 and len(by_channels.get(PAF_CHANNELS, [])) == 1:
        return g.Graph(graph.nodes, by_channels[HEATMAP_CHANNELS][0], by_channels[PAF_CHANNELS][0]).prune()
    if len(by_channels.get(HEATMAP_CHANNELS + PAF_CHANNELS, [])) == 1:
        return _split_output(graph, channel_counts, by_channels[HEATMAP_CHANNELS + PAF_CHANNELS][0])
    found = ", ".join(f"{name} ({channel_counts[name]} channels)" for name in results) or "none"
    raise ModelError(
        f"{file_name}: expected outputs with {HEATMAP_CHANNELS} (heatmaps) and {PAF_CHANNELS} channels (PAFs), "
        f"or one with {HEATMAP_CHANNELS + PAF_CHANNELS}; found {found}. Name them with --heatmaps and --pafs"
    )


def _check_named(file_name: str, channel_counts: Mapping[str, int], heatmaps: str, pafs: str) -> None:
    for name, channels in ((heatmaps, HEATMAP_CHANNELS), (pafs, PAF_CHANNELS)):
        if name not in channel_counts:
            raise ModelError(f"{file_name}: the network has no operator {name!r}")
        if channel_counts[name] != channels:
            raise ModelError(f"{file_name}: expected {channels} channels in {name!r}, got {channel_counts[name]}")


def _split_output(graph: g.Graph, channel_counts: Mapping[str, int], name: str) -> g.Graph:
    """Split one output into heatmaps and PAFs: use the inputs if it is a concat of the two, otherwise add slices."""
    node = graph.nodes[name]
    if isinstance(node, g.Concat) and [channel_counts[i] for i in node.inputs] == [HEATMAP_CHANNELS, PAF_CHANNELS]:
        return g.Graph(graph.nodes, *node.inputs).prune()
    nodes = {
        **graph.nodes,
        "heatmaps": g.Slice(name="heatmaps", inputs=(name,), start=0, stop=HEATMAP_CHANNELS),
        "pafs": g.Slice(name="pafs", inputs=(name,), start=HEATMAP_CHANNELS, stop=HEATMAP_CHANNELS + PAF_CHANNELS),
    }
    return g.Graph(nodes, "heatmaps", "pafs").prune()
