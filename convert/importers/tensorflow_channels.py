"""Conversion of TensorFlow operators that join, select or reorder channels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...runtime.errors import ModelError
from ..ir import graph as g
from ..ir import macs
from .tensorflow_nodes import ADVICE, NodeBuilder
from .tensorflow_values import (
    Constant,
    FeatureMap,
    Value,
    expand_index,
    read_slices,
)

_MAX_REORDERED_CHANNELS = 128
"""Channels are reordered with a 1x1 convolution, whose cost grows with the square of their number."""


class ChannelImporter(NodeBuilder):
    """Conversion of operators that join, select or reorder the channels of feature maps."""

    def _import_concat(self, name: str, values: list[Value]) -> FeatureMap:
        *sources, axis = values
        if not isinstance(axis, Constant) or not all(isinstance(source, FeatureMap) for source in sources):
            raise ModelError(f"{name!r} concatenates feature maps with constants; {ADVICE}")
        maps = [source for source in sources if isinstance(source, FeatureMap)]
        axes = maps[0].axes
        if axes[int(axis.value)] != 3 or any(source.axes != axes for source in maps):
            raise ModelError(f"{name!r} does not concatenate the channels of its feature maps; {ADVICE}")
        names = tuple(source.node for source in maps)
        reordered = self._reorder_slices(name, names)
        return FeatureMap(reordered or self._add(g.Concat(name=name, inputs=names)), axes)

    def _reorder_slices(self, name: str, names: tuple[str, ...]) -> str | None:
        """Recognize single channels of one map that are scaled one by one and joined in another order.

        Networks that were trained with images of another channel order start like this.
        """
        order, scales, offsets, sources = [], [], [], set()
        for part in names:
            scale, offset = 1.0, 0.0
            node = self.nodes[part]
            while isinstance(node, g.Affine) and node.scale.size == node.offset.size == 1:
                offset += scale * node.offset.item()
                scale *= node.scale.item()
                node = self.nodes[node.inputs[0]]
            if not isinstance(node, g.Slice) or node.stop - node.start != 1:
                return None
            sources.add(node.inputs[0])
            order.append(node.start)
            scales.append(scale)
            offsets.append(offset)
        if len(sources) != 1:
            return None
        source = sources.pop()
        if self._channels[source] != 3 or len(order) != 3:
            return None
        if order != [0, 1, 2]:
            source = self._add_reordering(f"{name}/order", source, order)
        return self._add_affine(name, source, np.array(scales, np.float32), np.array(offsets, np.float32))

    def _import_split(self, name: str, op: str, attr: Any, values: list[Value]) -> list[Value]:
        source, axis = (values[1], values[0]) if op == "Split" else (values[0], values[2])
        if not isinstance(source, FeatureMap) or not isinstance(axis, Constant) or source.axes[int(axis.value)] != 3:
            raise ModelError(f"{name!r} does not split the channels of a feature map; {ADVICE}")
        channels = self._channels[source.node]
        if op == "Split":
            count = attr["num_split"].i
            if count < 1 or channels % count:
                raise ValueError(f"{name!r} splits {channels} channels into {count} parts")
            lengths = [channels // count] * count
        else:
            if not isinstance(values[1], Constant):
                raise ModelError(f"{name!r} splits a feature map by sizes that are not constant; {ADVICE}")
            lengths = [int(n) for n in np.ravel(values[1].value)]
            lengths = [channels - sum(lengths) - 1 if n == -1 else n for n in lengths]
        results: list[Value] = []
        start = 0
        for number, length in enumerate(lengths):
            label = name if number == 0 else f"{name}/{number}"
            results.append(self._add_slice(label, source, start, start + length))
            start += length
        return results

    def _import_slice(self, name: str, op: str, attr: Any, values: list[Value]) -> FeatureMap:
        source = values[0]
        if not isinstance(source, FeatureMap):
            raise ModelError(f"{name!r} cuts a region that depends on the image out of a constant; {ADVICE}")
        bounds = [value.value for value in values[1:] if isinstance(value, Constant)]
        if len(bounds) != len(values) - 1:
            raise ModelError(f"{name!r} cuts a region whose limits are not constant out of a feature map; {ADVICE}")
        if op == "Slice":
            starts, lengths = (np.ravel(row).astype(int).tolist() for row in bounds)
            index: list[Any] = [
                slice(start, None if length == -1 else start + length)
                for start, length in zip(starts, lengths, strict=True)
            ]
        else:
            index = list(read_slices(attr, *(np.ravel(row).tolist() for row in bounds)))
        return self._apply_index(name, source, expand_index(tuple(index), len(source.axes)))

    def _apply_index(self, name: str, source: FeatureMap, index: list[Any]) -> FeatureMap:
        """Index a map: channels can be cut or reversed, axes of size 1 removed or added."""
        axes: list[int | None] = []
        order: list[int] | None = None
        remaining = iter(source.axes)
        sides = self._compute_sizes()
        for item in index:
            if item is None:
                axes.append(None)
                continue
            axis = next(remaining)
            if axis == 3 and isinstance(item, slice):
                order = list(range(self._channels[source.node]))[item]
            elif not self._keeps_axis(axis, item, None if sides is None else sides[source.node]):
                raise ModelError(f"{name!r} cuts rows, columns or images out of a feature map; {ADVICE}")
            if isinstance(item, slice):
                axes.append(axis)
        result = replace(source, axes=tuple(axes))
        return result if order is None else self._select_channels(name, result, order)

    def _keeps_axis(self, axis: int | None, item: Any, size: macs.Size | None) -> bool:
        """Return True if an index keeps the whole axis, or the only element of the batch axis or an extra axis."""
        if isinstance(item, int):
            return axis in (0, None) and item in (0, -1)
        if item.step not in (None, 1):
            return False
        if axis in (0, None):
            return item.start in (None, 0)
        side = None if size is None or axis is None else size[axis - 1]
        return item.start in (None, 0) and (item.stop is None or (side is not None and item.stop >= side))

    def _select_channels(self, name: str, source: FeatureMap, order: list[int]) -> FeatureMap:
        channels = self._channels[source.node]
        if not order:
            raise ModelError(f"{name!r} cuts no channels out of a feature map")
        if order == list(range(order[0], order[-1] + 1)):
            return self._add_slice(name, source, order[0], order[-1] + 1)
        if max(channels, len(order)) > _MAX_REORDERED_CHANNELS:
            raise ModelError(f"{name!r} reorders {channels} channels; expected at most {_MAX_REORDERED_CHANNELS}")
        return FeatureMap(self._add_reordering(name, source.node, order), source.axes)

    def _add_reordering(self, name: str, source: str, order: list[int]) -> str:
        """Add a 1x1 convolution that reorders channels exactly. `fold` merges that of the image with the next one."""
        kernel = np.zeros((1, 1, self._channels[source], len(order)), np.float32)
        kernel[0, 0, order, range(len(order))] = 1
        return self._add(g.Conv(name=name, inputs=(source,), kernel=kernel))

    def _import_reordering(self, name: str, op: str, values: list[Value]) -> FeatureMap:
        source, *others = values
        constants = [np.asarray(value.value) for value in others if isinstance(value, Constant)]
        if not isinstance(source, FeatureMap) or len(constants) != len(others):
            raise ModelError(f"{name!r} selects parts of a feature map that are not constant; {ADVICE}")
        if op == "ReverseV2":
            flipped = {source.axes[int(axis)] for axis in np.ravel(constants[0])}
            order = list(range(self._channels[source.node]))[::-1]
        else:
            flipped = {source.axes[int(constants[1]) if len(constants) > 1 else 0]}
            order = [int(i) for i in np.ravel(constants[0])]
            if constants[0].ndim != 1:
                flipped = set()
        if flipped != {3} or not all(-len(order) <= i < self._channels[source.node] for i in order):
            raise ModelError(f"{name!r}, a {op}, changes rows, columns or images; expected channels; {ADVICE}")
        channels = self._channels[source.node]
        return self._select_channels(name, source, [i % channels for i in order])
