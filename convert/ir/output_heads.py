"""Selection of the outputs that are the heatmaps and the PAFs."""

from __future__ import annotations

from collections.abc import Mapping

from ...runtime.errors import ModelError
from ...runtime.skeleton import COCO18, Skeleton
from . import graph as g
from .output_search import find_blocks, find_last_maps, strip_peak_detection
from .skeleton_match import advise, match_background

_MAX_LISTED_OUTPUTS = 8


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
            both, in the order in which they were concatenated, or heatmaps first. If the results are something else,
            such as peaks or the outputs of all stages, the last maps with these numbers of channels are used.
        heatmaps: The node of the heatmaps. If both names are given, `results` is not used.
        pafs: The node of the PAFs.
        skeleton: The skeleton of the network. The heatmaps may have a background channel or none.

    Raises:
        ModelError: The outputs cannot be identified, or a named node is missing or has the wrong number of channels.
    """
    graph = g.Graph(dict(nodes), "", "")
    channel_counts = g.count_channels(graph)
    wanted = (skeleton.heatmap_channels, skeleton.paf_channels)
    if heatmaps is not None and pafs is not None:
        _check_named(file_name, channel_counts, heatmaps, pafs, skeleton)
        return g.Graph(graph.nodes, heatmaps, pafs).prune()
    stripped = list(dict.fromkeys(strip_peak_detection(nodes, name) for name in results))
    for variant in (skeleton, skeleton.with_background(not skeleton.background)):
        wanted = (variant.heatmap_channels, variant.paf_channels)
        candidates = (
            stripped,
            find_last_maps(nodes, results, channel_counts, {*wanted, sum(wanted)}),
            find_last_maps(nodes, results, channel_counts, {sum(wanted)}),
        )
        for names in candidates:
            unique = dict.fromkeys(strip_peak_detection(nodes, name) for name in names)
            found = _identify(graph, channel_counts, list(unique), wanted, allow_joined=variant is skeleton)
            if found is not None:
                return found
    found_channels = {channel_counts[name] for name in stripped}
    skeleton = match_background(skeleton, found_channels)
    wanted = (skeleton.heatmap_channels, skeleton.paf_channels)
    listed = stripped if len(stripped) <= _MAX_LISTED_OUTPUTS else stripped[-_MAX_LISTED_OUTPUTS:]
    text = ", ".join(f"{name} ({channel_counts[name]} channels)" for name in listed) or "none"
    raise ModelError(
        f"{file_name}: expected outputs with {wanted[0]} (heatmaps) and {wanted[1]} channels (PAFs), "
        f"or one with {sum(wanted)}; found {text}. {advise(skeleton, found_channels)}"
    )


def _identify(
    graph: g.Graph, channel_counts: Mapping[str, int], names: list[str], wanted: tuple[int, int], *, allow_joined: bool
) -> g.Graph | None:
    """Return the graph with its outputs if exactly one choice fits, otherwise None."""
    by_channels: dict[int, list[str]] = {}
    for name in names:
        by_channels.setdefault(channel_counts[name], []).append(name)
    heatmaps, pafs, both = (by_channels.get(count, []) for count in (*wanted, sum(wanted)))
    if len(heatmaps) == len(pafs) == 1:
        return g.Graph(graph.nodes, heatmaps[0], pafs[0]).prune()
    return _split_output(graph, channel_counts, both[0], wanted) if allow_joined and len(both) == 1 else None


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


def _split_output(graph: g.Graph, channel_counts: Mapping[str, int], name: str, wanted: tuple[int, int]) -> g.Graph:
    """Split one output into heatmaps and PAFs: use the inputs if it is a concat of the two, otherwise add slices."""
    node = graph.nodes[name]
    heatmap_channels, paf_channels = wanted
    has_pafs_first = find_blocks(graph.nodes, channel_counts, name) == [paf_channels, heatmap_channels]
    if isinstance(node, g.Concat) and sorted(channel_counts[i] for i in node.inputs) == sorted(wanted):
        heatmaps, pafs = node.inputs[::-1] if has_pafs_first else node.inputs
        return g.Graph(graph.nodes, heatmaps, pafs).prune()
    start = paf_channels if has_pafs_first else 0
    paf_start = 0 if has_pafs_first else heatmap_channels
    heatmaps, pafs = (_find_free_name(graph, label) for label in ("heatmaps", "pafs"))
    nodes = {
        **graph.nodes,
        heatmaps: g.Slice(name=heatmaps, inputs=(name,), start=start, stop=start + heatmap_channels),
        pafs: g.Slice(name=pafs, inputs=(name,), start=paf_start, stop=paf_start + paf_channels),
    }
    return g.Graph(nodes, heatmaps, pafs).prune()


def _find_free_name(graph: g.Graph, name: str) -> str:
    while name in graph.nodes:
        name += "_slice"
    return name
