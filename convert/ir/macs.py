"""Feature map sizes and multiply-accumulates (MACs) of a graph."""

from __future__ import annotations

from . import graph as g

Size = tuple[int, int]


def compute_sizes(graph: g.Graph, height: int, width: int) -> dict[str, Size]:
    """Compute the (height, width) of every node's output for an input of the given size, by node name."""
    map_sizes: dict[str, Size] = {}
    for name, node in graph.nodes.items():
        match node:
            case g.Input():
                map_sizes[name] = height, width
            case g.Conv():
                kernel = (node.kernel.shape[0], node.kernel.shape[1])
                map_sizes[name] = _compute_size(
                    map_sizes[node.inputs[0]], kernel, node.strides, node.dilations, node.padding
                )
            case g.MaxPool():
                map_sizes[name] = _compute_size(
                    map_sizes[node.inputs[0]], node.window, node.strides, (1, 1), node.padding
                )
            case g.ResizeLike():
                height_like, width_like = map_sizes[node.inputs[1]]
                map_sizes[name] = height_like * node.factor, width_like * node.factor
            case g.DepthToSpace():
                rows, columns = map_sizes[node.inputs[0]]
                map_sizes[name] = rows * node.block, columns * node.block
            case _:
                map_sizes[name] = map_sizes[node.inputs[0]]
    return map_sizes


def count(graph: g.Graph, height: int, width: int) -> int:
    """Count the multiply-accumulates of one inference. Only convolutions are counted."""
    map_sizes = compute_sizes(graph, height, width)
    total = 0
    for node in graph.nodes.values():
        if isinstance(node, g.Conv):
            rows, columns = map_sizes[node.name]
            total += rows * columns * node.kernel.size
    return total


def has_misaligned_resize(graph: g.Graph, height: int, width: int) -> bool:
    """Return True if a feature map is resized to a size that is not a multiple of its own.

    The cells of the two maps are then not aligned.
    """
    map_sizes = compute_sizes(graph, height, width)
    return any(
        large % small
        for node in graph.find_nodes(g.ResizeLike)
        for large, small in zip(map_sizes[node.name], map_sizes[node.inputs[0]], strict=True)
    )


def _compute_size(size: Size, kernel: Size, strides: Size, dilations: Size, padding: g.Padding) -> Size:
    result = []
    for axis in (0, 1):
        span = (kernel[axis] - 1) * dilations[axis] + 1
        if padding == "SAME":
            result.append(-(-size[axis] // strides[axis]))
        else:
            extra = 0 if padding == "VALID" else sum(padding[axis])
            result.append((size[axis] + int(extra) - span) // strides[axis] + 1)
    return result[0], result[1]
