"""PyTorch module of a graph, for training, with optional simulated int8 weights and maps (quantization-aware training).

Works on folded graphs. A kernel is stored as values from -1 to 1 times a fixed scale per output channel. The optimizer
then makes steps of the same relative size in all layers, as it would with batch normalization.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from ..ir import graph as g
from ..quantize.channel_groups import group_channels

_RANGE_MOMENTUM = 0.02
"""Momentum of the running ranges of maps."""
_INT8_STEPS = 255


class Convolution(nn.Module):
    """Convolution of a graph (`Conv`); maps have the shape (batch, channels, rows, columns)."""

    scale: Tensor

    def __init__(self, node: g.Conv) -> None:
        super().__init__()
        kernel = torch.from_numpy(np.ascontiguousarray(node.kernel.transpose(_get_torch_axes(node))))
        scale = kernel.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
        bias = np.zeros(node.out_channels, np.float32) if node.bias is None else node.bias
        self.kernel = nn.Parameter(kernel / scale)
        self.bias = nn.Parameter(torch.from_numpy(bias.copy()) / scale.flatten())
        self.register_buffer("scale", scale)
        self.node = node

    def forward(self, x: Tensor, quantize: bool) -> Tensor:
        """Convolve with TensorFlow's padding; `quantize`: simulate int8 weights."""
        node = self.node
        kernel = self.kernel * self.scale
        if quantize:
            int8_scale = kernel.detach().abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-9) / 127
            kernel = _round(kernel / int8_scale) * int8_scale
        spans = [d * (k - 1) + 1 for d, k in zip(node.dilations, node.kernel.shape[:2], strict=True)]
        (top, bottom), (left, right) = _compute_padding(node.padding, spans, node.strides, x.shape[2:])
        conv_padding = (top, left)
        if (top, left) != (bottom, right):
            x, conv_padding = functional.pad(x, (left, right, top, bottom)), (0, 0)
        groups = x.shape[1] if node.depthwise else 1
        bias = self.bias * self.scale.flatten()
        return functional.conv2d(x, kernel, bias, node.strides, conv_padding, node.dilations, groups)

    def to_node(self) -> g.Conv:
        """Return the graph node with the trained weights."""
        kernel = (self.kernel * self.scale).detach().cpu().numpy().transpose(_get_graph_axes(self.node))
        bias = (self.bias * self.scale.flatten()).detach().cpu().numpy()
        return replace(self.node, kernel=np.ascontiguousarray(kernel), bias=bias.copy())


class RangeQuantizer(nn.Module):
    """Simulated int8 quantization of a map with its running range.

    Maps whose channels will be equalized have a range per channel, other maps have one range.
    """

    high: Tensor
    low: Tensor

    def __init__(self, channels: int | None) -> None:
        """Create the buffers; `channels`: number of channels with separate ranges, None for one range."""
        super().__init__()
        shape = () if channels is None else (1, channels, 1, 1)
        self._axes = (0, 1, 2, 3) if channels is None else (0, 2, 3)
        self.register_buffer("low", torch.zeros(shape))
        self.register_buffer("high", torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Quantize and dequantize `x`; in training mode the range follows the values of the maps."""
        if self.training:
            with torch.no_grad():
                low, high = x.amin(self._axes).view_as(self.low), x.amax(self._axes).view_as(self.low)
                rate = _RANGE_MOMENTUM if bool((self.high > self.low).any()) else 1.0
                self.low += rate * (low.clamp_max(0) - self.low)
                self.high += rate * (high.clamp_min(0) - self.high)
        scale = (self.high - self.low).clamp_min(1e-6) / _INT8_STEPS
        return _round(torch.minimum(torch.maximum(x, self.low), self.high) / scale) * scale


class GraphModule(nn.Module):
    """Folded graph as a PyTorch module.

    Attributes:
        graph: Graph with the initial weights.
        quantize: True to simulate int8 weights and maps; can be changed at any time.
    """

    def __init__(self, graph: g.Graph) -> None:
        super().__init__()
        self.graph, self.quantize = graph, False
        self.convolutions = nn.ModuleDict(
            {
                _make_module_name(node.name): Convolution(node)
                for node in graph.nodes.values()
                if isinstance(node, g.Conv)
            }
        )
        groups, channel_counts = group_channels(graph), g.count_channels(graph)
        self.ranges = nn.ModuleDict(
            {
                _make_module_name(n): RangeQuantizer(
                    None if groups.fixed[groups.ids_by_node[n]].any() else channel_counts[n]
                )
                for n in _list_stored_maps(graph)
            }
        )

    def forward(self, image: Tensor, wanted: Iterable[str]) -> dict[str, Tensor]:
        """Compute the maps of some nodes.

        Args:
            image: (batch, 3, rows, columns), 0 to 255.
            wanted: Names of the nodes.
        """
        maps: dict[str, Tensor] = {}
        for name, node in self.graph.nodes.items():
            value = image if isinstance(node, g.Input) else self._run_operator(node, [maps[i] for i in node.inputs])
            if self.quantize and _make_module_name(name) in self.ranges:
                value = self.ranges[_make_module_name(name)](value)
            maps[name] = value
        return {name: maps[name] for name in wanted}

    def to_graph(self) -> g.Graph:
        """Return the graph with the trained weights."""
        changes: dict[str, g.Node | str] = {}
        for module in self.convolutions.values():
            assert isinstance(module, Convolution)
            node = module.to_node()
            changes[node.name] = node
        return self.graph.substitute(changes)

    def _run_operator(self, node: g.Node, inputs: list[Tensor]) -> Tensor:
        x = inputs[0]
        match node:
            case g.Conv():
                result: Tensor = self.convolutions[_make_module_name(node.name)](x, self.quantize)
                return result
            case g.Activation():
                return _activate(node, x)
            case g.Affine():
                return x * _to_tensor(node.scale, x) + _to_tensor(node.offset, x)
            case g.Add():
                return inputs[0] + inputs[1]
            case g.Concat():
                return torch.cat(inputs, dim=1)
            case g.Slice():
                return x[:, node.start : node.stop]
            case g.ResizeLike():
                return _resize(x, inputs[1].shape[2:], node)
        raise TypeError(f"{node.name!r}: the operator {type(node).__name__} is not supported in training")


def _activate(node: g.Activation, x: Tensor) -> Tensor:
    match node.kind:
        case "elu":
            return functional.elu(x)
        case "sigmoid":
            return torch.sigmoid(x)
        case "tanh":
            return torch.tanh(x)
        case "swish":
            return functional.silu(x)
        case "hard_swish":
            return functional.hardswish(x)
        case "leaky_relu" | "prelu":
            assert node.alpha is not None
            return functional.relu(x) - _to_tensor(node.alpha, x) * functional.relu(-x)
    x = functional.relu(x)
    if node.kind == "relu6":
        x = torch.minimum(x, _to_tensor(np.full(1, 6.0, np.float32) if node.cap is None else node.cap, x))
    return x


def _list_stored_maps(graph: g.Graph) -> list[str]:
    """List the nodes whose maps are stored: all except convolutions that only an activation reads."""
    outputs = (graph.heatmaps, graph.pafs)
    return [
        name
        for name, node in graph.nodes.items()
        if not isinstance(node, g.Input)
        and (name in outputs or not all(isinstance(reader, g.Activation) for reader in graph.find_consumers(name)))
    ]


def _to_tensor(values: g.Array, like: Tensor) -> Tensor:
    """Convert one number or one per channel to a tensor that broadcasts with a map."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(like).reshape(1, -1, 1, 1)


def _round(x: Tensor) -> Tensor:
    """Round with the gradient of the identity (straight-through estimator)."""
    return x + (x.round() - x).detach()


def _resize(x: Tensor, size: Any, node: g.ResizeLike) -> Tensor:
    """Resize as TensorFlow does: nearest neighbor or bilinear; without half-pixel centers by a factor of 2 only."""
    rows, columns = (side * node.factor for side in size)
    if node.nearest:
        mode = "nearest-exact" if node.half_pixel_centers else "nearest"
        return functional.interpolate(x, (rows, columns), mode=mode)
    if node.align_corners:
        return functional.interpolate(x, (rows, columns), mode="bilinear", align_corners=True)
    if node.half_pixel_centers:
        return functional.interpolate(x, (rows, columns), mode="bilinear", align_corners=False)
    if (rows, columns) == tuple(x.shape[2:]):
        return x
    if (rows, columns) != (2 * x.shape[2], 2 * x.shape[3]):
        raise ValueError(
            f"{node.name!r}: cannot resize {tuple(x.shape[2:])} to {(rows, columns)}; "
            "use input sizes that are multiples of 16"
        )
    for axis in (2, 3):
        following = torch.cat((x.narrow(axis, 1, x.shape[axis] - 1), x.narrow(axis, -1, 1)), axis)
        x = torch.stack((x, (x + following) / 2), axis + 1).flatten(axis, axis + 1)
    return x


def _compute_padding(
    padding: g.Padding, spans: list[int], strides: tuple[int, int], size: Any
) -> tuple[tuple[int, int], tuple[int, int]]:
    if padding == "VALID":
        return (0, 0), (0, 0)
    if not isinstance(padding, str):
        return padding
    pairs = []
    for span, stride, side in zip(spans, strides, size, strict=True):
        total = max(0, (-(-side // stride) - 1) * stride + span - side)
        pairs.append((total // 2, total - total // 2))
    return pairs[0], pairs[1]


def _get_torch_axes(node: g.Conv) -> tuple[int, ...]:
    return (2, 3, 0, 1) if node.depthwise else (3, 2, 0, 1)


def _get_graph_axes(node: g.Conv) -> tuple[int, ...]:
    return (2, 3, 0, 1) if node.depthwise else (2, 3, 1, 0)


def _make_module_name(name: str) -> str:
    """Make a name for PyTorch, which does not allow dots in names of modules."""
    return name.replace(".", "_").replace("/", "-")
