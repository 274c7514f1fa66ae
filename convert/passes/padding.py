"""Padding that is spelled out for convolutions whose stride is larger than their kernel.

XNNPACK, which TFLite uses for float convolutions, computes wrong values for such a convolution with padding SAME if
the padding is zero (TensorFlow 2.21: kernel 3, stride 4, input 64).
"""

from __future__ import annotations

from dataclasses import replace

from ..ir import graph as g
from ..ir import macs


def spell_out_padding(graph: g.Graph, height: int, width: int) -> g.Graph:
    """Replace padding SAME by the same padding in numbers, or by VALID if it is zero, where the stride is larger.

    Args:
        graph: The network. Its output does not change.
        height: Height of the input in pixels.
        width: Width of the input in pixels.
    """
    sizes = macs.compute_sizes(graph, height, width)
    changes: dict[str, g.Node | str] = {}
    for node in graph.nodes.values():
        if not isinstance(node, g.Conv) or node.padding != "SAME":
            continue
        spans = [(k - 1) * d + 1 for k, d in zip(node.kernel.shape[:2], node.dilations, strict=True)]
        if all(stride <= span for stride, span in zip(node.strides, spans, strict=True)):
            continue
        totals = [
            max(0, (result - 1) * stride + span - source)
            for source, result, stride, span in zip(
                sizes[node.inputs[0]], sizes[node.name], node.strides, spans, strict=True
            )
        ]
        rows, columns = ((total // 2, total - total // 2) for total in totals)
        changes[node.name] = replace(node, padding=(rows, columns) if any(totals) else "VALID")
    return graph.substitute(changes)
