"""Removal of operators from a folded graph whose work a neighboring convolution can do."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeGuard

import numpy as np

from ..ir import graph as g


def simplify(graph: g.Graph) -> g.Graph:
    """Replace scales and offsets with depthwise 1x1 convolutions and merge those into the 1x1 convolution after them.

    The offset of the input image stays, because zero padding comes after it. Explicit padding that equals TensorFlow's
    SAME becomes SAME, which needs no separate pad operator. Of two ReLUs in a row one remains, which is fused with the
    convolution before it; Keras writes `ReLU(max_value)` as two. The output of the network does not change.
    """
    graph = _merge_relus(graph)
    changes: dict[str, g.Node | str] = {}
    for node in graph.nodes.values():
        if isinstance(node, g.Conv) and _is_same_padding(node):
            changes[node.name] = replace(node, padding="SAME")
        if isinstance(node, g.Affine) and not isinstance(graph.nodes[node.inputs[0]], g.Input):
            changes[node.name] = _as_depthwise(node, g.count_channels(graph)[node.name])
    return _merge_scales(graph.substitute(changes))


def _merge_relus(graph: g.Graph) -> g.Graph:
    merged = graph
    for name in graph.nodes:
        node = merged.nodes[name]
        before = merged.nodes[node.inputs[0]] if node.inputs else node
        if before is node or not (_is_relu(node) and _is_relu(before)):
            continue
        if node.kind == "relu":
            merged = merged.substitute({name: before.name})
        elif len(merged.find_consumers(before.name)) == 1 and before.name not in (merged.heatmaps, merged.pafs):
            limits = [_get_limit(one) for one in (node, before) if one.kind == "relu6"]
            limit = np.minimum(limits[0], limits[-1])
            cap = None if np.all(limit == 6) else limit
            merged = merged.substitute({name: replace(node, inputs=before.inputs, cap=cap)})
    return merged if merged is graph else merged.prune()


def _get_limit(node: g.Activation) -> g.Array:
    return np.full(1, 6.0, np.float32) if node.cap is None else node.cap


def _is_relu(node: g.Node) -> TypeGuard[g.Activation]:
    return isinstance(node, g.Activation) and node.is_fusable


def _as_depthwise(node: g.Affine, channels: int) -> g.Conv:
    scale, offset = (np.broadcast_to(row, channels).astype(np.float32) for row in (node.scale, node.offset))
    return g.Conv(
        name=node.name, inputs=node.inputs, kernel=scale.reshape(1, 1, channels, 1), bias=offset, depthwise=True
    )


def _merge_scales(graph: g.Graph) -> g.Graph:
    changes: dict[str, g.Node | str] = {}
    for node in graph.nodes.values():
        before = graph.nodes[node.inputs[0]] if node.inputs else node
        if (
            isinstance(node, g.Conv)
            and node.kernel.shape[:2] == (1, 1)
            and not node.depthwise
            and isinstance(before, g.Conv)
            and _is_scale(before)
            and len(graph.find_consumers(before.name)) == 1
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


def _is_same_padding(conv: g.Conv) -> bool:
    totals = [(k - 1) * d for k, d in zip(conv.kernel.shape[:2], conv.dilations, strict=True)]
    return conv.strides == (1, 1) and conv.padding == tuple((total // 2, total - total // 2) for total in totals)


def _is_scale(conv: g.Conv) -> bool:
    return conv.depthwise and conv.kernel.shape[:2] == (1, 1) and conv.kernel.shape[3] == 1 and conv.strides == (1, 1)
