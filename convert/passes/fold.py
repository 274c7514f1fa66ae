"""Folding of batch normalization and constant scales and offsets into convolutions.

The output of the network does not change. `to_rgb` changes the channel order of the input in the first convolution.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...runtime.errors import ModelError
from ..ir import graph as g
from .input_normalization import merge_reordering


def fold(graph: g.Graph) -> g.Graph:
    """Fold batch normalizations and constant scales and offsets into the convolutions before them.

    A change of the channel order of the image is merged into the first convolution. What cannot be folded becomes one
    `Affine`: a normalization that reads a concat, and the offset of the input image, because the zero padding of the
    first convolution comes after it.

    Raises:
        ValueError: A batch normalization has no statistics.
    """
    graph = merge_reordering(graph)
    changes: dict[str, g.Node | str] = {}
    rewritten: dict[str, g.Node] = {}

    def resolve(name: str) -> tuple[str, g.Node]:
        while isinstance(change := changes.get(name), str):
            name = change
        return name, rewritten.get(name, graph.nodes[name])

    for name, node in graph.nodes.items():
        affine = _as_affine(node)
        if affine is None:
            continue
        source, before = resolve(node.inputs[0])
        is_only_reader = len(graph.find_consumers(node.inputs[0])) == 1 and node.inputs[0] not in (
            graph.heatmaps,
            graph.pafs,
        )
        if is_only_reader and isinstance(before, g.Conv):
            rewritten[source] = _fold_affine(before, affine)
            changes[name] = source
        elif is_only_reader and isinstance(before, g.Affine):
            offset = before.offset * affine.scale + affine.offset
            rewritten[source] = replace(before, scale=before.scale * affine.scale, offset=offset)
            changes[name] = source
        else:
            rewritten[name] = replace(affine, inputs=node.inputs)
    return _fold_input_scale(graph.substitute({**rewritten, **changes}))


def to_rgb(graph: g.Graph) -> g.Graph:
    """Return the graph for RGB instead of BGR input: only the input channels of the first kernel are reordered.

    Raises:
        ModelError: The image is not read by exactly one convolution.
    """
    name = graph.input.name
    changes: dict[str, g.Node | str] = {}
    while True:
        readers = graph.find_consumers(name)
        if len(readers) != 1:
            raise ModelError(
                f"cannot change the channel order to RGB: {len(readers)} operators read the image; expected 1"
            )
        match readers[0]:
            case g.Conv(depthwise=False) as conv:
                changes[conv.name] = replace(conv, kernel=np.ascontiguousarray(conv.kernel[:, :, ::-1]))
                return graph.substitute(changes)
            case g.Affine() as affine:
                changes[affine.name] = replace(affine, scale=affine.scale[::-1], offset=affine.offset[::-1])
                name = affine.name
            case other:
                raise ModelError(
                    f"cannot change the channel order to RGB: {type(other).__name__} {other.name!r} reads the image; "
                    "expected a convolution"
                )


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


def _fold_affine(conv: g.Conv, affine: g.Affine) -> g.Conv:
    """Return `conv` followed by `affine` as one convolution."""
    scale = np.broadcast_to(affine.scale, conv.out_channels)
    shape = conv.kernel.shape[2:] if conv.depthwise else (1, conv.out_channels)
    bias = affine.offset if conv.bias is None else conv.bias * affine.scale + affine.offset
    return replace(
        conv,
        kernel=(conv.kernel * scale.reshape(shape)).astype(np.float32),
        bias=np.broadcast_to(bias, conv.out_channels).astype(np.float32),
    )


def _fold_input_scale(graph: g.Graph) -> g.Graph:
    """Fold the scale of the input image into the first kernel. An offset stays in front of the convolution.

    The offset cannot be folded: the convolution pads with zeros after the offset was added.
    """
    changes: dict[str, g.Node | str] = {}
    for node in graph.nodes.values():
        if not isinstance(node, g.Affine) or not isinstance(graph.nodes[node.inputs[0]], g.Input):
            continue
        readers = graph.find_consumers(node.name)
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
