"""Selection of the outputs that are the heatmaps and the PAFs."""

from __future__ import annotations

from collections.abc import Mapping

from ...runtime.errors import ModelError
from ...runtime.skeleton import COCO18, Skeleton
from . import graph as g
from .skeleton_match import advise, match_background


def choose_outputs(
    file_name: str,
    nodes: Mapping[str, g.Node],
    results: list[str],
    heatmaps: str | None,
    pafs: str | None,
    skeleton: Skeleton = COCO18,
) -> g.Graph:
    """Choose the two outputs and return the graph without the nodes that they do not need.

    Args:
        file_name: The name of the file, for error messages.
        nodes: The nodes of the network, in topological order.
        results: The names of possible outputs. They are recognized by the channels of the skeleton; for coco18, the
            heatmaps are the one with 19 channels, the PAFs the one with 38. A single result with 57 channels holds
            both, heatmaps first.
        heatmaps: The node of the heatmaps. If both names are given, `results` is not used.
        pafs: The node of the PAFs.
        skeleton: The skeleton of the network. The heatmaps may have a background channel or none.

    Raises:
        ModelError: The outputs cannot be identified, or a named node is missing or has the wrong number of channels.
    """
    graph = g.Graph(dict(nodes), "", "")
    channel_counts = g.count_channels(graph)
    if heatmaps is not None and pafs is not None:
        _check_named(file_name, channel_counts, heatmaps, pafs, skeleton)
        return g.Graph(graph.nodes, heatmaps, pafs).prune()
    by_channels: dict[int, list[str]] = {}
    for name in results:
        by_channels.setdefault(channel_counts[name], []).append(name)
    skeleton = match_background(skeleton, by_channels)
    heatmap_channels, paf_channels = skeleton.heatmap_channels, skeleton.paf_channels
    if len(by_channels.get(heatmap_channels, [])) == 1 and len(by_channels.get(paf_channels, [])) == 1:
        return g.Graph(graph.nodes, by_channels[heatmap_channels][0], by_channels[paf_channels][0]).prune()
    if len(by_channels.get(heatmap_channels + paf_channels, [])) == 1:
        return _split_output(graph, channel_counts, by_channels[heatmap_channels + paf_channels][0], skeleton)
    found = ", ".join(f"{name} ({channel_counts[name]} channels)" for name in results) or "none"
    raise ModelError(
        f"{file_name}: expected outputs with {heatmap_channels} (heatmaps) and {paf_channels} channels (PAFs), "
        f"or one with {heatmap_channels + paf_channels}; found {found}. {advise(skeleton, by_channels)}"
    )


def _check_named(
    file_name: str, channel_counts: Mapping[str, int], heatmaps: str, pafs: str, skeleton: Skeleton
) -> None:
    for name in (heatmaps, pafs):
        if name not in channel_counts:
            raise ModelError(f"{file_name}: the network has no operator {name!r}")
    found = channel_counts[heatmaps], channel_counts[pafs]
    skeleton = match_background(skeleton, found)
    for name, channels in ((heatmaps, skeleton.heatmap_channels), (pafs, skeleton.paf_channels)):
        if channel_counts[name] != channels:
            raise ModelError(
                f"{file_name}: expected {channels} channels in {name!r}, got {channel_counts[name]}. "
                f"{advise(skeleton, found)}"
            )


def _split_output(graph: g.Graph, channel_counts: Mapping[str, int], name: str, skeleton: Skeleton) -> g.Graph:
    """Split one output into heatmaps and PAFs: use the inputs if it is a concat of the two, otherwise add slices."""
    node, start, stop = graph.nodes[name], skeleton.heatmap_channels, channel_counts[name]
    if isinstance(node, g.Concat) and [channel_counts[i] for i in node.inputs] == [start, stop - start]:
        return g.Graph(graph.nodes, *node.inputs).prune()
    nodes = {
        **graph.nodes,
        "heatmaps": g.Slice(name="heatmaps", inputs=(name,), start=0, stop=start),
        "pafs": g.Slice(name="pafs", inputs=(name,), start=start, stop=stop),
    }
    return g.Graph(nodes, "heatmaps", "pafs").prune()
