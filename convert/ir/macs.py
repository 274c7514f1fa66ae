"""Counting multiply-accumulates, the first thing that decides a network's speed."""

from __future__ import annotations

from . import graph as g

Size = tuple[int, int]


def sizes(graph: g.Graph, height: int, width: int) -> dict[str, Size]:
    """Height and width of every node's result for an input of the given size."""
    known: dict[str, Size] = {}
    for name, node in graph.nodes.items():
        match node:
            case g.Input():
                known[name] = height, width
            case g.Conv():
                kernel = (node.kernel.shape[0], node.kernel.shape[1])
                known[name] = _after(known[node.inputs[0]], kernel, node.strides, node.dilations, node.padding)
            case g.MaxPool():
                known[name] = _after(known[node.inputs[0]], node.window, node.strides, (1, 1), node.padding)
            case g.ResizeLike():
                height_like, width_like = known[node.inputs[1]]
                known[name] = height_like * node.factor, width_like * node.factor
            case _:
                known[name] = known[node.inputs[0]]
    return known


def count(graph: g.Graph, height: int, width: int) -> int:
    """Multiply-accumulates of one inference, those of the convolutions."""
    known = sizes(graph, height, width)
    total = 0
    for node in graph.nodes.values():
        if isinstance(node, g.Conv):
            rows, columns = known[node.name]
            total += rows * columns * node.kernel.size
    return total


def misaligned(graph: g.Graph, height: int, width: int) -> bool:
    """Whether a map is enlarged to a size that is no multiple of its own: cells then lie between cells."""
    known = sizes(graph, height, width)
    return any(
        large % small
        for node in graph.of_type(g.ResizeLike)
        for large, small in zip(known[node.name], known[node.inputs[0]], strict=True)
    )


def _after(size: Size, kernel: Size, strides: Size, dilations: Size, padding: g.Padding) -> Size:
    result = []
    for axis in (0, 1):
        span = (kernel[axis] - 1) * dilations[axis] + 1
        if padding == "SAME":
            result.append(-(-size[axis] // strides[axis]))
        else:
            extra = 0 if padding == "VALID" else sum(padding[axis])
            result.append((size[axis] + int(extra) - span) // strides[axis] + 1)
    return result[0], result[1]
