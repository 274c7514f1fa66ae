"""Conversion of TensorFlow operators that change the axes of a feature map, or pad it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...runtime.errors import ModelError
from ..ir import graph as g
from ..ir import macs
from .tensorflow_nodes import ADVICE, NodeBuilder, describe_unsupported
from .tensorflow_values import (
    Constant,
    DeferredPadding,
    FeatureMap,
    Side,
    Sizes,
    Value,
)

_FLOAT_TYPES = (1, 2, 14, 19)
_BOOLEAN_TYPE = 10


class LayoutImporter(NodeBuilder):
    """Conversion of operators that change the axes of a feature map. Most of them need no graph node."""

    def transpose(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert a transposition: only the layout changes."""
        source, order = values
        if not isinstance(source, FeatureMap) or not isinstance(order, Constant):
            raise ModelError(f"{name!r} transposes axes that are not constant; {ADVICE}")
        self._check_plain(name, "Transpose", source)
        return replace(source, axes=tuple(source.axes[int(i)] for i in np.ravel(order.value)))

    def expand_dims(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert an additional axis of size 1."""
        source, axis = values
        if not isinstance(source, FeatureMap) or not isinstance(axis, Constant):
            raise ModelError(f"{name!r} adds an axis that is not constant; {ADVICE}")
        if source.deferred is not None or source.tiled_axis is not None:
            self._check_plain(name, "ExpandDims", source)
        position = int(axis.value)
        position += len(source.axes) + 1 if position < 0 else 0
        return replace(source, axes=(*source.axes[:position], None, *source.axes[position:]))

    def squeeze(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert the removal of axes of size 1."""
        source = values[0]
        assert isinstance(source, FeatureMap)
        self._check_plain(name, "Squeeze", source)
        positions = {int(i) % len(source.axes) for i in attr["squeeze_dims"].list.i}
        if any(source.axes[i] not in (None, 0) for i in positions):
            raise ModelError(f"{name!r} removes rows, columns or channels of a feature map; {ADVICE}")
        kept = [axis for i, axis in enumerate(source.axes) if (i not in positions if positions else axis is not None)]
        return replace(source, axes=tuple(kept))

    def tile(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert a repetition of an extra axis: the first half of repeating rows or columns."""
        source, multiples = values
        if not isinstance(source, FeatureMap):
            raise ModelError(describe_unsupported(name, "Tile"))
        counts = self._read_integers(multiples)
        repeated = [i for i, count in enumerate(counts) if count != 1]
        if not repeated:
            return source
        position = repeated[0]
        before = source.axes[position - 1] if position else None
        if len(repeated) > 1 or source.axes[position] is not None or before not in (1, 2) or counts[position] < 1:
            raise ModelError(describe_unsupported(name, "Tile"))
        assert before is not None
        return replace(source, tiled_axis=(before, counts[position]))

    def reshape(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert a reshape that joins a repeated axis, or that changes nothing but axes of size 1."""
        source, shape = values
        if not isinstance(source, FeatureMap) or not isinstance(shape, Constant | Sizes):
            raise ModelError(f"{name!r} reshapes a feature map to a shape that is not constant; {ADVICE}")
        target = shape.sides if isinstance(shape, Sizes) else tuple(int(side) for side in np.ravel(shape.value))
        if source.tiled_axis is not None:
            axis, count = source.tiled_axis
            repeats = list(source.repeats)
            repeats[axis - 1] *= count
            position = source.axes.index(axis)
            axes = (*source.axes[: position + 1], *source.axes[position + 2 :])
            source = replace(source, axes=axes, repeats=(repeats[0], repeats[1]), tiled_axis=None)
        if source.deferred is not None:
            self._check_plain(name, "Reshape", source)
        result = self._match_shape(source, target)
        if result is None:
            raise ModelError(
                f"{name!r} reshapes a feature map; expected a shape with the same rows and columns; {ADVICE}"
            )
        if result.repeats != (1, 1) and result.repeats[0] == result.repeats[1]:
            return self._add_repetition(name, result)
        return result

    def _add_repetition(self, name: str, source: FeatureMap) -> FeatureMap:
        factor = source.repeats[0]
        node = g.ResizeLike(name=name, inputs=(source.node, source.node), factor=factor, nearest=True)
        return FeatureMap(self._add(node), source.axes)

    def _match_shape(self, source: FeatureMap, target: tuple[Side | int | None, ...]) -> FeatureMap | None:
        """Return the map with the axes of a target shape; None if it is not the shape of the map."""
        map_sizes = self._compute_sizes()
        kept = [axis for axis in source.axes if axis is not None]
        if kept and kept[0] == 0 and len(target) == len(kept) - 1:
            kept = kept[1:]
        ones = len(target) - len(kept)
        axes: list[int | None] = []
        unknown = 0
        for side in target:
            if side == 1 and ones > 0 and (not kept or not self._matches(source, kept[0], side, map_sizes)):
                axes.append(None)
                ones -= 1
                continue
            if not kept:
                return None
            axis = kept.pop(0)
            if side == -1 or side is None:
                unknown += 1
            elif not self._matches(source, axis, side, map_sizes):
                return None
            axes.append(axis)
        # A single unknown side follows from the others.
        return None if kept or unknown > 1 else replace(source, axes=tuple(axes))

    def _matches(
        self, source: FeatureMap, axis: int, side: Side | int | None, map_sizes: dict[str, macs.Size] | None
    ) -> bool:
        own = self._get_side(source, axis)
        if side == own or (axis == 0 and side == 1):
            return True
        if isinstance(side, Side) and isinstance(own, Side):
            same = side.axis == own.axis and side.factor == own.factor
            return same and (axis == 0 or self._have_same_size(side.node, own.node))
        if isinstance(side, int) and isinstance(own, Side) and axis in (1, 2) and map_sizes is not None:
            return map_sizes[own.node][axis - 1] * own.factor == side
        return False

    def pad(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert a padding: the next convolution applies it."""
        source, *others = values
        constants = [value.value for value in others if isinstance(value, Constant)]
        if not isinstance(source, FeatureMap) or len(constants) != len(others):
            raise ModelError(f"{name!r} pads a feature map by amounts that are not constant; {ADVICE}")
        if source.deferred is not None:
            raise ModelError(f"{name!r} follows another padding; expected a convolution between them")
        if len(constants) > 1 and np.any(constants[1]):
            raise ModelError(f"{name!r} pads with {np.ravel(constants[1])[0]:g}; expected zeros; {ADVICE}")
        self._check_plain(name, "Pad", source)
        amounts = {axis: constants[0][i].tolist() for i, axis in enumerate(source.axes)}
        if any(any(pair) for axis, pair in amounts.items() if axis not in (1, 2)):
            raise ModelError(f"{name!r} pads the batch or the channels; expected height and width only")
        (top, bottom), (left, right) = amounts[1], amounts[2]
        if not any((top, bottom, left, right)):
            return source
        padding = ((int(top), int(bottom)), (int(left), int(right)))
        return replace(source, deferred=DeferredPadding(padding=padding))

    def split_into_blocks(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert SpaceToBatchND: the next convolution is dilated."""
        source, blocks, amounts = values
        if not isinstance(source, FeatureMap) or not isinstance(blocks, Constant):
            raise ModelError(f"{name!r} splits a feature map into blocks that are not constant; {ADVICE}")
        if source.deferred is not None and source.deferred.dilations != (1, 1):
            raise ModelError(f"{name!r} follows another padding; expected a convolution between them")
        rows, columns = (int(side) for side in blocks.value)
        # Zeros at the top or left come from padding SAME. Otherwise zeros only complete the last block: VALID.
        sides = amounts.sides if isinstance(amounts, Sizes) else np.ravel(_read_constant(amounts)).tolist()
        padding: g.Padding = "VALID" if len(sides) == 4 and sides[0] == sides[2] == 0 else "SAME"
        if source.deferred is not None:
            padding = source.deferred.padding
        return replace(source, deferred=DeferredPadding(padding, (rows, columns)))

    def join_blocks(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert BatchToSpaceND: the convolution before it is already dilated."""
        source = values[0]
        if not isinstance(source, FeatureMap) or source.deferred is not None:
            raise ModelError(f"{name!r} joins the blocks of a feature map without a convolution")
        return source

    def cast(self, name: str, attr: Any, values: list[Value]) -> FeatureMap:
        """Convert a change of the dtype: only to a float type, or of the image."""
        source = values[0]
        assert isinstance(source, FeatureMap)
        is_float = attr["DstT"].type in _FLOAT_TYPES
        if not is_float and (attr["SrcT"].type in _FLOAT_TYPES or attr["DstT"].type == _BOOLEAN_TYPE):
            raise ModelError(f"{name!r} converts a feature map to integers; {ADVICE}")
        return source

    def _read_integers(self, value: Value) -> list[int]:
        if isinstance(value, Constant):
            return [int(v) for v in np.ravel(value.value)]
        if isinstance(value, Sizes) and all(isinstance(side, int) for side in value.sides):
            return [int(side) for side in value.sides if isinstance(side, int)]
        raise ValueError("expected constant numbers")


def _read_constant(value: Value) -> Any:
    if not isinstance(value, Constant):
        raise ValueError("expected a constant")
    return value.value
