"""Rewrites that leave the network's function as it is and take work out of it.

Batch normalization and constants that are added or multiplied go into the convolution before them; the order of the
color channels is changed in the first convolution's kernel.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...runtime.errors import ModelError
from ..ir import graph as g


def fold(graph: g.Graph) -> g.Graph:
    """Every batch normalization and constant scale and offset that follows a convolution is folded into it.

    What stays (a normalization that reads a concat, the offset of the input, which zero padding must not see) becomes
    one `Affine`. Raises ValueError where a batch normalization has no statistics.
    """
    changes: dict[str, g.Node | str] = {}
    rewritten: dict[str, g.Node] = {}

    def current(name: str) -> tuple[str, g.Node]:
        while isinstance(change := changes.get(name), str):
            name = change
        return name, rewritten.get(name, graph.nodes[name])

    for name, node in graph.nodes.items():
        affine = _as_affine(node)
        if affine is None:
            continue
        source, before = current(node.inputs[0])
        alone = len(graph.consumers(node.inputs[0])) == 1 and node.inputs[0] not in (graph.heatmaps, graph.pafs)
        if alone and isinstance(before, g.Conv):
            rewritten[source] = _scaled(before, affine)
            changes[name] = source
        elif alone and isinstance(before, g.Affine):
            offset = before.offset * affine.scale + affine.offset
            rewritten[source] = replace(before, scale=before.scale * affine.scale, offset=offset)
            changes[name] = source
        else:
            rewritten[name] = replace(affine, inputs=node.inputs)
    return _input_scale(graph.substitute({**rewritten, **changes}))


def to_rgb(graph: g.Graph) -> g.Graph:
    """The graph for images whose channels come in the other order: only the first kernel's rows change places."""
    name = graph.input.name
    changes: dict[str, g.Node | str] = {}
    while True:
        readers = graph.consumers(name)
        if len(readers) != 1:
            raise ModelError(f"the image is read by {len(readers)} operators; channel order cannot be changed")
        match readers[0]:
            case g.Conv(depthwise=False) as conv:
                changes[conv.name] = replace(conv, kernel=np.ascontiguousarray(conv.kernel[:, :, ::-1]))
                return graph.substitute(changes)
            case g.Affine() as affine:
                changes[affine.name] = replace(affine, scale=affine.scale[::-1], offset=affine.offset[::-1])
                name = affine.name
            case other:
                raise ModelError(f"the image enters {type(other).__name__} {other.name!r}; expected a convolution")


def _as_affine(node: g.Node) -> g.Affine | None:
    if isinstance(node, g.Affine):
        return node
    if not isinstance(node, g.BatchNorm):
        return None
    if node.mean is None or node.variance is None:
        raise ValueError(f"{node.name} has no statistics to fold")
    scale = node.gamma.astype(np.float64) / np.sqrt(node.variance.astype(np.float64) + node.epsilon)
    offset = node.beta - node.mean * scale
    return g.Affine(
        name=node.name, inputs=node.inputs, scale=scale.astype(np.float32), offset=offset.astype(np.float32)
    )


def _scaled(conv: g.Conv, affine: g.Affine) -> g.Conv:
    """`conv` followed by `affine`, as one convolution."""
    scale = np.broadcast_to(affine.scale, conv.out_channels)
    shape = conv.kernel.shape[2:] if conv.depthwise else (1, conv.out_channels)
    bias = affine.offset if conv.bias is None else conv.bias * affine.scale + affine.offset
    return replace(
        conv,
        kernel=(conv.kernel * scale.reshape(shape)).astype(np.float32),
        bias=np.broadcast_to(bias, conv.out_channels).astype(np.float32),
    )


def _input_scale(graph: g.Graph) -> g.Graph:
    """Moves the scale of the image into the first kernel; only an offset stays in front of it, if there is one.

    The offset cannot go: the convolution pads with zeros after it.
    """
    changes: dict[str, g.Node | str] = {}
    for node in graph.nodes.values():
        if not isinstance(node, g.Affine) or not isinstance(graph.nodes[node.inputs[0]], g.Input):
            continue
        readers = graph.consumers(node.name)
        if len(readers) != 1 or not isinstance(conv := readers[0], g.Conv) or not np.all(node.scale):
            continue
        scale = np.broadcast_to(node.scale, 3).astype(np.float32)
        by_channel = scale.reshape(1, 1, 3, 1)
        changes[conv.name] = replace(conv, kernel=conv.kernel * by_channel)
        offset = np.broadcast_to(node.offset, 3) / scale
        if np.any(offset):
            changes[node.name] = replace(node, scale=np.ones(1, np.float32), offset=offset.astype(np.float32))
        else:
            changes[node.name] = node.inputs[0]
    return graph.substitute(changes)
