"""Conversion of ONNX ConvTranspose and DepthToSpace.

A transposed convolution with stride s whose result is exactly s times as large is a convolution that computes all
pixels of an s times s block as channels, and a DepthToSpace. Batch normalization and activation behind it are applied
to the channels, so that they can be folded into the convolution. Paper: Shi et al., Is the deconvolution layer the same
as a convolutional layer?, 2016.
"""

from __future__ import annotations

import numpy as np

from ..ir import graph as g
from .limits import check_elements
from .onnx_file import Operator
from .onnx_values import FeatureMap, Values

_MAX_BLOCK = 16
_ADVICE = "export the network with a stride of 2 and a kernel of 4 with padding 1, or with a bilinear resize"


def convert_transposed_conv(values: Values, operator: Operator) -> list[FeatureMap]:
    """Convert ConvTranspose."""
    source = values.get_map(operator, 0, "NCHW")
    weights = _spread_groups(values, operator, source)
    block, before = _read_geometry(operator, (weights.shape[2], weights.shape[3]))
    rows, columns = (_list_taps(size, block, start) for size, start in zip(weights.shape[2:], before, strict=True))
    inside, outside = weights.shape[:2]
    shape = (len(rows), len(columns), inside, block * block * outside)
    check_elements(shape, operator.label)
    kernel = np.zeros((len(rows), len(columns), inside, block, block, outside), np.float32)
    for y, offset_y in enumerate(rows):
        for x, offset_x in enumerate(columns):
            for row in range(block):
                for column in range(block):
                    ky, kx = row + before[0] - block * offset_y, column + before[1] - block * offset_x
                    if 0 <= ky < weights.shape[2] and 0 <= kx < weights.shape[3]:
                        kernel[y, x, :, row, column] = weights[:, :, ky, kx]
    bias = None
    if values.get_constant(operator, 2) is not None:
        bias = np.tile(values.get_weights(operator, 2).ravel(), block * block)
        if bias.size != shape[3]:
            raise operator.refuse(f"it has {bias.size} biases for {shape[3]} channels", "export the model again")
    node = g.Conv(
        name=operator.outputs[0], inputs=(source.node,), kernel=kernel.reshape(shape), bias=bias,
        padding=((-rows[0], rows[-1]), (-columns[0], columns[-1])),
    )  # fmt: skip
    added = values.add_node(operator, node)
    return [FeatureMap(added.node, added.layout, block=block)]


def convert_depth_to_space(values: Values, operator: Operator) -> list[FeatureMap]:
    """Convert DepthToSpace in the order of TensorFlow; the other order with a 1x1 convolution that sorts channels."""
    source = values.get_map(operator, 0, "NCHW")
    block, channels = operator.get_int("blocksize"), values.channels[source.node]
    if not 1 <= block <= _MAX_BLOCK or channels % block**2:
        raise operator.refuse(f"its block size is {block} for {channels} channels", "export the model again")
    if operator.get_text("mode", "DCR") == "CRD":
        order = np.arange(channels).reshape(-1, block * block).T.ravel()
        kernel = np.ascontiguousarray(np.eye(channels, dtype=np.float32)[:, order][None, None])
        node = g.Conv(name=f"{operator.outputs[0]}/sorted", inputs=(source.node,), kernel=kernel)
        source = values.add_node(operator, node)
    return [FeatureMap(source.node, source.layout, block=block)]


def _spread_groups(values: Values, operator: Operator, source: FeatureMap) -> g.Array:
    """Return the kernel (in, out, height, width) without groups."""
    weights = values.get_weights(operator, 1)
    groups, inside = operator.get_int("group", 1), values.channels[source.node]
    if weights.ndim != 4 or not weights.size or weights.shape[0] != inside or groups < 1 or inside % groups:
        raise operator.refuse(
            f"its kernel has the shape {weights.shape}, but its input has {inside} channels", "export the model again"
        )
    if groups == 1:
        return weights
    each_in, each_out = inside // groups, weights.shape[1]
    check_elements((inside, each_out * groups, *weights.shape[2:]), operator.label)
    spread = np.zeros((inside, each_out * groups, *weights.shape[2:]), np.float32)
    for group in range(groups):
        rows, columns = (slice(group * each, (group + 1) * each) for each in (each_in, each_out))
        spread[rows, columns] = weights[rows]
    return spread


def _read_geometry(operator: Operator, kernel: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """Return the stride, and the padding at the top and at the left."""
    strides, dilations = operator.get_ints("strides", (1, 1)), operator.get_ints("dilations", (1, 1))
    pads, extra = operator.get_ints("pads", (0, 0, 0, 0)), operator.get_ints("output_padding", (0, 0))
    is_plain = operator.get_text("auto_pad", "NOTSET") in ("NOTSET", "VALID") and not operator.get_ints("output_shape")
    if not is_plain or len(set(strides)) != 1 or not 1 <= strides[0] <= _MAX_BLOCK or set(dilations) != {1}:
        raise operator.refuse("expected explicit pads, one stride and no dilation", _ADVICE)
    if len(pads) != 4 or len(extra) != 2 or min(pads) < 0:
        raise operator.refuse(f"its pads are {pads[:8]}", _ADVICE)
    growth = [k - first - last + more for k, first, last, more in zip(kernel, pads[:2], pads[2:], extra, strict=True)]
    if growth != list(strides) or any(first >= k for first, k in zip(pads[:2], kernel, strict=True)):
        raise operator.refuse(
            f"its result is not exactly {strides[0]} times as large as its input (kernel {kernel}, pads {pads})",
            _ADVICE,
        )
    return strides[0], (pads[0], pads[1])


def _list_taps(size: int, block: int, before: int) -> range:
    """Return the offsets of the input pixels that a block of output pixels depends on, along one axis."""
    first = -((size - 1 - before) // block)
    return range(first, (block - 1 + before) // block + 1)
