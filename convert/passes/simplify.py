"""Operators taken out of a folded graph that do nothing a neighbor could not do as well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import graph as g


def simplify(graph: g.Graph) -> g.Graph:
    """Scales and offsets become depthwise 1x1 convolutions, and those go into the 1x1 convolution after them.

    The offset of the image stays: zero padding must not see it. Padding that is TensorFlow's SAME is called so, which
    needs no operator of its own. The function stays the same.
    """
    changes: dict[str, g.Node | str] = {}
    for node in graph.nodes.values():
        if isinstance(node, g.Conv) and _is_same(node):
            changes[node.name] = replace(node, padding="SAME")
        if isinstance(node, g.Affine) and not isinstance(graph.nodes[node.inputs[0]], g.Input):
            changes[node.name] = _as_depthwise(node, g.channels(graph)[node.name])
    return _merged(graph.substitute(changes))


def _as_depthwise(node: g.Affine, channels: int) -> g.Conv:
    scale, offset = (np.broadcast_to(row, channels).astype(np.float32) for row in (node.scale, node.offset))
    return g.Conv(
        name=node.name, inputs=node.inputs, kernel=scale.reshape(1, 1, channels, 1), bias=offset, depthwise=True
    )


def _merged(graph: g.Graph) -> g.Graph:
    changes: dict[str, g.Node | str] = {}
    for node in graph.nodes.values():
        before = graph.nodes[node.inputs[0]] if node.inputs else node
        if (
            isinstance(node, g.Conv)
            and node.kernel.shape[:2] == (1, 1)
            and not node.depthwise
            and isinstance(before, g.Conv)
            and _is_scale(before)
            and len(graph.consumers(before.name)) == 1
            and before.name not in (graph.heatmaps, graph.pafs)
        ):
            scale = before.kernel.reshape(-1)
            bias = node.bias
            if before.bias is not None:
                bias = before.bias @ node.kernel[0, 0] + (0 if bias is None else bias)
            kernel = (node.kernel * scale.reshape(1, 1, -1, 1)).astype(np.float32)
            changes[node.name] = replace(
                node, kernel=kernel, bias=None if bias is None else np.asarray(bias, np.float32)
            )
            changes[before.name] = before.inputs[0]
    return graph.substitute(changes)


def _is_same(conv: g.Conv) -> bool:
    around = [(k - 1) * d for k, d in zip(conv.kernel.shape[:2], conv.dilations, strict=True)]
    return conv.strides == (1, 1) and conv.padding == tuple((a // 2, a - a // 2) for a in around)


def _is_scale(conv: g.Conv) -> bool:
    return conv.depthwise and conv.kernel.shape[:2] == (1, 1) and conv.kernel.shape[3] == 1 and conv.strides == (1, 1)
