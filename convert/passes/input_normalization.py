"""Normalization of the image in front of a network: value range, mean and scale, and channel order.

An imported graph reads a BGR image with values 0 to 255. If its network was trained with another input and the file
does not contain the conversion, the user gives it, and this pass puts it in front of the graph. `fold` merges it into
the first convolution. Zero padding stays exact, because it comes after the normalization.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...runtime.errors import ModelError
from ...runtime.types import ChannelOrder
from ..ir import graph as g

_BYTE_MAX = 255.0


@dataclass(frozen=True)
class InputNormalization:
    """Input that the source network expects. None means that the file says it, or that nothing has to be done.

    Attributes:
        value_range: Values of the network's input for the bytes 0 and 255.
        mean: Value to subtract, one or one per channel, in the channel order of the network.
        scale: Value to divide by after that, one or one per channel.
        channel_order: Channel order of the network's input.
    """

    value_range: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    channel_order: ChannelOrder | None = None

    def check(self) -> None:
        """Check that the values make sense together.

        Raises:
            ModelError: They contradict each other, or one is out of range.
        """
        if self.value_range is not None and (self.mean is not None or self.scale is not None):
            raise ModelError("--value-range cannot be combined with --mean and --scale: they give the same thing")
        for name, values in (("--mean", self.mean), ("--scale", self.scale), ("--value-range", self.value_range)):
            if values is None:
                continue
            expected = (2,) if name == "--value-range" else (1, 3)
            if len(values) not in expected:
                counts = " or ".join(str(count) for count in expected)
                raise ModelError(f"{name}: expected {counts} numbers, got {len(values)}")
            if not np.all(np.isfinite(values)) or max(map(abs, values)) > 1e6:
                raise ModelError(f"{name}: expected numbers from -1e6 to 1e6, got {_format(values)}")
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise ModelError(f"--value-range: expected LOW smaller than HIGH, got {_format(self.value_range)}")
        if self.scale is not None and min(self.scale) < 1e-6:
            raise ModelError(f"--scale: expected numbers greater than 0, got {_format(self.scale)}")

    @property
    def changes_values(self) -> bool:
        """True if a value range, a mean or a scale is given."""
        return self.value_range is not None or self.mean is not None or self.scale is not None

    def describe(self) -> str:
        """Return the normalization in words, for notes and the manifest."""
        parts = []
        if self.channel_order is not None:
            parts.append(f"channel order {self.channel_order.upper()}")
        if self.value_range is not None:
            parts.append(f"values {self.value_range[0]:g} to {self.value_range[1]:g}")
        if self.mean is not None:
            parts.append(f"mean {_format(self.mean)}")
        if self.scale is not None:
            parts.append(f"scale {_format(self.scale)}")
        return ", ".join(parts)

    def to_ranges(self) -> tuple[tuple[float, float], ...] | None:
        """Return the values for the bytes 0 and 255, for all channels or for each; None if nothing is given."""
        if not self.changes_values:
            return None
        if self.value_range is not None:
            return (self.value_range,)
        factors, offsets = self._compute_affine()
        ends = zip(offsets.tolist(), (offsets + _BYTE_MAX * factors).tolist(), strict=True)
        return tuple(dict.fromkeys(ends)) if len(set(zip(factors, offsets, strict=True))) == 1 else tuple(ends)

    def apply(self, graph: g.Graph) -> g.Graph:
        """Put the normalization in front of a graph.

        Args:
            graph: Network whose input is in its own channel order and value range.

        Returns:
            Network for a BGR image with values 0 to 255.
        """
        source = graph.input
        added: list[g.Node] = []
        name = source.name
        if self.channel_order == "rgb":
            name = _find_free_name(graph, f"{source.name}/channel_order")
            added.append(g.Conv(name=name, inputs=(source.name,), kernel=_make_reversal()))
        if self.changes_values:
            factors, offsets = self._compute_affine()
            before, name = name, _find_free_name(graph, f"{source.name}/normalization")
            added.append(
                g.Affine(
                    name=name, inputs=(before,), scale=factors.astype(np.float32), offset=offsets.astype(np.float32)
                )
            )
        if not added:
            return graph
        nodes: dict[str, g.Node] = {}
        for node in graph.nodes.values():
            nodes[node.name] = replace(node, inputs=tuple(name if i == source.name else i for i in node.inputs))
            if node is source:
                nodes.update({new.name: new for new in added})
        return g.Graph(nodes, graph.heatmaps, graph.pafs)

    def _compute_affine(self) -> tuple[np.ndarray, np.ndarray]:
        """Return factor and offset of each channel, in the channel order of the network."""
        if self.value_range is not None:
            low, high = self.value_range
            return np.array([(high - low) / _BYTE_MAX]), np.array([low])
        mean = np.array(self.mean or (0.0,), np.float64)
        scale = np.array(self.scale or (1.0,), np.float64)
        mean, scale = np.broadcast_arrays(mean, scale)
        return 1 / scale, -mean / scale


def describe_own_normalization(graph: g.Graph) -> str | None:
    """Describe the normalization that a graph begins with; None if it begins with a convolution."""
    names = []
    pending = graph.find_consumers(graph.input.name)
    while len(pending) == 1:
        node = pending[0]
        if not isinstance(node, g.Affine | g.BatchNorm) and not is_reordering(node):
            break
        names.append(repr(node.name))
        pending = graph.find_consumers(node.name)
    return ", ".join(names) or None


def is_reordering(node: g.Node) -> bool:
    """Return True for a 1x1 convolution that only changes the order of the three channels of an image."""
    if not isinstance(node, g.Conv) or node.depthwise or node.bias is not None or node.kernel.shape != (1, 1, 3, 3):
        return False
    matrix = node.kernel[0, 0]
    is_binary = bool(np.all((matrix == 0) | (matrix == 1)))
    return node.strides == (1, 1) and is_binary and bool(np.all(matrix.sum(0) == 1) and np.all(matrix.sum(1) == 1))


def merge_reordering(graph: g.Graph) -> g.Graph:
    """Merge a change of the channel order of the image into the first convolution, behind constant scales and offsets.

    It stays in the graph if several operators read the image, or if the first one is something else.
    """
    for reordering in graph.nodes.values():
        if not is_reordering(reordering) or not _reads_image(graph, reordering):
            continue
        assert isinstance(reordering, g.Conv)
        # Channel i of the result is channel order[i] of the image.
        order = reordering.kernel[0, 0].argmax(axis=0)
        inverse = np.argsort(order)
        changes: dict[str, g.Node | str] = {reordering.name: reordering.inputs[0]}
        readers = graph.find_consumers(reordering.name)
        while len(readers) == 1 and isinstance(node := readers[0], g.Affine | g.BatchNorm):
            changes[node.name] = _reorder_rows(node, inverse)
            readers = graph.find_consumers(node.name)
        if len(readers) == 1 and isinstance(conv := readers[0], g.Conv) and not conv.depthwise:
            changes[conv.name] = replace(conv, kernel=np.ascontiguousarray(conv.kernel[:, :, inverse]))
            return merge_reordering(graph.substitute(changes))
    return graph


def _reads_image(graph: g.Graph, node: g.Node) -> bool:
    """Return True if only scales and offsets are between the image and a node."""
    source = graph.nodes[node.inputs[0]]
    while isinstance(source, g.Affine | g.BatchNorm):
        source = graph.nodes[source.inputs[0]]
    return isinstance(source, g.Input)


def _reorder_rows(node: g.Affine | g.BatchNorm, order: np.ndarray) -> g.Node:
    if isinstance(node, g.Affine):
        scale, offset = (row[order] if row.size > 1 else row for row in (node.scale, node.offset))
        return replace(node, scale=scale, offset=offset)
    return replace(
        node, gamma=node.gamma[order], beta=node.beta[order], mean=None if node.mean is None else node.mean[order],
        variance=None if node.variance is None else node.variance[order],
    )  # fmt: skip


def share_offset(graph: g.Graph) -> g.Graph:
    """Give the image one whole number as offset for all channels, as an integer network needs it.

    The first convolution gets the difference in its bias. At the border of the image, where it pads with zeros, this
    is an approximation: a padded pixel then has the shared offset instead of the mean of its channel.

    Args:
        graph: Folded graph. It is returned unchanged if the image has no offset, or one that no byte has.
    """
    readers = graph.find_consumers(graph.input.name)
    if len(readers) != 1 or not isinstance(affine := readers[0], g.Affine):
        return graph
    followers = graph.find_consumers(affine.name)
    if len(followers) != 1 or not isinstance(conv := followers[0], g.Conv) or np.any(affine.scale != affine.scale[0]):
        return graph
    scale = float(affine.scale[0])
    offsets = np.broadcast_to(affine.offset, 3).astype(np.float64)
    zeros = -offsets / scale
    shared = float(np.rint(zeros.mean()))
    if scale <= 0 or np.any(zeros < -0.5) or np.any(zeros > _BYTE_MAX + 0.5) or np.all(np.abs(zeros - shared) < 0.02):
        return graph
    difference = (offsets + shared * scale).astype(np.float64)
    taps = conv.kernel.astype(np.float64).sum(axis=(0, 1))
    added = (taps * difference[:, None]).reshape(-1) if conv.depthwise else difference @ taps
    bias = added if conv.bias is None else conv.bias + added
    return graph.substitute(
        {
            affine.name: replace(affine, scale=affine.scale[:1], offset=np.array([-shared * scale], np.float32)),
            conv.name: replace(conv, bias=bias.astype(np.float32)),
        }
    )


def _make_reversal() -> g.Array:
    return np.ascontiguousarray(np.eye(3, dtype=np.float32)[::-1].reshape(1, 1, 3, 3))


def _find_free_name(graph: g.Graph, name: str) -> str:
    while name in graph.nodes:
        name += "_"
    return name


def _format(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
