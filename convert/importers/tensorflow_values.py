"""Values of TensorFlow tensors during an import: constants, sizes, feature maps with their layout, failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...runtime.errors import ModelError
from ..ir import graph as g

Axes = tuple[int | None, ...]
"""For every axis of a tensor, the axis of the NHWC feature map that it holds; None for an extra axis of size 1."""
NHWC: Axes = (0, 1, 2, 3)
NCHW: Axes = (0, 3, 1, 2)


@dataclass(frozen=True)
class Constant:
    """Value that does not depend on the image."""

    value: Any


@dataclass(frozen=True)
class Side:
    """Size of axis `axis` (NHWC) of the feature map `node`, times `factor`."""

    node: str
    axis: int
    factor: int = 1


@dataclass(frozen=True)
class Sizes:
    """Vector of sizes, or one size if `is_scalar` is set. None stands for a size that is not known."""

    sides: tuple[Side | int | None, ...]
    is_scalar: bool = False


@dataclass(frozen=True)
class DeferredPadding:
    """Padding and dilation that an operator before a convolution adds to it.

    TensorFlow writes a dilated depthwise convolution as a convolution of blocks of the feature map, between
    SpaceToBatchND and BatchToSpaceND.
    """

    padding: g.Padding = "SAME"
    dilations: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class FeatureMap:
    """Feature map.

    Attributes:
        node: Graph node that computes it.
        axes: Layout of the tensor.
        deferred: Padding that the next convolution must apply.
        repeats: How often each row and column is repeated. Both must be the same before the map can be used: TensorFlow
            writes a nearest-neighbor resize as one repetition after the other.
        tiled_axis: NHWC axis whose repetition is still an axis of its own (the None in `axes` after it), and the number
            of repetitions.
    """

    node: str
    axes: Axes = NHWC
    deferred: DeferredPadding | None = None
    repeats: tuple[int, int] = (1, 1)
    tiled_axis: tuple[int, int] | None = None

    @property
    def is_plain(self) -> bool:
        """True if nothing has to be applied to the map before another operator can read it."""
        return self.deferred is None and self.repeats == (1, 1) and self.tiled_axis is None


@dataclass(frozen=True)
class Failure:
    """Tensor that could not be imported. It is an error only if an output needs it."""

    message: str


Value = Constant | Sizes | FeatureMap | Failure
"""Value of a TensorFlow tensor."""


def normalize_axes(axes: Axes) -> Axes:
    """Use an extra axis of size 1 at the front as the batch axis, if there is no other."""
    return (0, *axes[1:]) if len(axes) == 4 and axes[0] is None and 0 not in axes else axes


def read_slices(attr: Any, begin: Sequence[int], end: Sequence[int], strides: Sequence[int]) -> tuple[Any, ...]:
    """Return the NumPy index that a StridedSlice stands for."""
    index: list[Any] = []
    for i, (start, stop, step) in enumerate(zip(begin, end, strides, strict=True)):
        bit = 1 << i
        if attr["new_axis_mask"].i & bit:
            index.append(None)
        elif attr["ellipsis_mask"].i & bit:
            index.append(Ellipsis)
        elif attr["shrink_axis_mask"].i & bit:
            index.append(int(start))
        else:
            first = None if attr["begin_mask"].i & bit else int(start)
            last = None if attr["end_mask"].i & bit else int(stop)
            index.append(slice(first, last, int(step)))
    return tuple(index)


def expand_index(index: tuple[Any, ...], rank: int) -> list[Any]:
    """Replace the ellipsis of an index, and add full slices up to `rank` axes."""
    used = sum(item is not None and item is not Ellipsis for item in index)
    if used > rank or index.count(Ellipsis) > 1:
        raise ValueError(f"an index of {used} axes for {rank}")
    full = [slice(None)] * (rank - used)
    if Ellipsis not in index:
        return [*index, *full]
    position = index.index(Ellipsis)
    return [*index[:position], *full, *index[position + 1 :]]


def read_row(name: str, constant: Any, axes: Axes, channels: int) -> g.Array:
    """Return a constant that the node `name` combines with a feature map as one value, or one value per channel.

    Raises:
        ModelError: The constant differs from position to position, or does not fit the map.
    """
    value = np.asarray(constant, np.float32)
    if value.size == 1 and value.ndim <= len(axes):
        return value.reshape(1)
    shape = (1,) * (len(axes) - value.ndim) + value.shape
    position = axes.index(3)
    if len(shape) != len(axes) or value.size != channels or shape[position] != channels:
        raise ModelError(
            f"{name!r} combines a feature map of {channels} channels with a constant of shape {value.shape}; "
            "expected one value, or one per channel"
        )
    return value.reshape(channels)
