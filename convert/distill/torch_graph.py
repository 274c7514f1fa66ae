"""A `Graph` as a PyTorch module, to be trained; with simulated 8-bit weights and maps, so that integers lose nothing.

Works on folded graphs. A kernel is kept as numbers up to one times a fixed scale an output channel: the optimizer then
takes steps of the same relative size everywhere, as it would with batch normalization.
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
from ..quantize.channel_groups import classify

_MOMENTUM = 0.02
"""Of the running ranges of maps."""
_LEVELS = 255


class Convolution(nn.Module):
    """One `Conv`; maps are (batch, channels, rows, columns)."""

    scale: Tensor

    def __init__(self, node: g.Conv) -> None:
        super().__init__()
        kernel = torch.from_numpy(np.ascontiguousarray(node.kernel.transpose(_to_torch(node))))
        scale = kernel.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
        bias = np.zeros(node.out_channels, np.float32) if node.bias is None else node.bias
        self.kernel = nn.Parameter(kernel / scale)
        self.bias = nn.Parameter(torch.from_numpy(bias.copy()) / scale.flatten())
        self.register_buffer("scale", scale)
        self.node = node

    def forward(self, x: Tensor, quantize: bool) -> Tensor:
        """The convolution, padded as TensorFlow pads."""
        node = self.node
        kernel = self.kernel * self.scale
        if quantize:
            step = kernel.detach().abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-9) / 127
            kernel = _rounded(kernel / step) * step
        reach = [d * (k - 1) + 1 for d, k in zip(node.dilations, node.kernel.shape[:2], strict=True)]
        (top, bottom), (left, right) = _padding(node.padding, reach, node.strides, x.shape[2:])
        inside = (top, left)
        if (top, left) != (bottom, right):
            x, inside = functional.pad(x, (left, right, top, bottom)), (0, 0)
        groups = x.shape[1] if node.depthwise else 1
        bias = self.bias * self.scale.flatten()
        return functional.conv2d(x, kernel, bias, node.strides, inside, node.dilations, groups)

    def weights(self) -> g.Conv:
        """The node with the present weights."""
        kernel = (self.kernel * self.scale).detach().cpu().numpy().transpose(_from_torch(self.node))
        bias = (self.bias * self.scale.flatten()).detach().cpu().numpy()
        return replace(self.node, kernel=np.ascontiguousarray(kernel), bias=bias.copy())


class Range(nn.Module):
    """The running range of a map, and its rounding to 8 bits; channel by channel where they will be made equal."""

    high: Tensor
    low: Tensor

    def __init__(self, channels: int | None) -> None:
        super().__init__()
        shape = () if channels is None else (1, channels, 1, 1)
        self._over = (0, 1, 2, 3) if channels is None else (0, 2, 3)
        self.register_buffer("low", torch.zeros(shape))
        self.register_buffer("high", torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        """`x` as 8 bits see it. In training the range follows the maps."""
        if self.training:
            with torch.no_grad():
                low, high = x.amin(self._over).view_as(self.low), x.amax(self._over).view_as(self.low)
                rate = _MOMENTUM if bool((self.high > self.low).any()) else 1.0
                self.low += rate * (low.clamp_max(0) - self.low)
                self.high += rate * (high.clamp_min(0) - self.high)
        step = (self.high - self.low).clamp_min(1e-6) / _LEVELS
        return _rounded(torch.minimum(torch.maximum(x, self.low), self.high) / step) * step


class GraphModule(nn.Module):
    """A folded graph. `quantize` may be switched at any time."""

    def __init__(self, graph: g.Graph) -> None:
        super().__init__()
        self.graph, self.quantize = graph, False
        self.convolutions = nn.ModuleDict(
            {_key(node.name): Convolution(node) for node in graph.nodes.values() if isinstance(node, g.Conv)}
        )
        classes, known = classify(graph), g.channels(graph)
        self.ranges = nn.ModuleDict(
            {_key(n): Range(None if classes.fixed[classes.of[n]].any() else known[n]) for n in _stored(graph)}
        )

    def forward(self, image: Tensor, wanted: Iterable[str]) -> dict[str, Tensor]:
        """The maps of the nodes named in `wanted`. `image`: (batch, 3, rows, columns), 0..255."""
        made: dict[str, Tensor] = {}
        for name, node in self.graph.nodes.items():
            value = image if isinstance(node, g.Input) else self._result(node, [made[i] for i in node.inputs])
            if self.quantize and _key(name) in self.ranges:
                value = self.ranges[_key(name)](value)
            made[name] = value
        return {name: made[name] for name in wanted}

    def to_graph(self) -> g.Graph:
        """The graph with the present weights."""
        changes: dict[str, g.Node | str] = {}
        for module in self.convolutions.values():
            assert isinstance(module, Convolution)
            node = module.weights()
            changes[node.name] = node
        return self.graph.substitute(changes)

    def _result(self, node: g.Node, inputs: list[Tensor]) -> Tensor:
        x = inputs[0]
        match node:
            case g.Conv():
                made: Tensor = self.convolutions[_key(node.name)](x, self.quantize)
                return made
            case g.Activation(kind="elu"):
                return functional.elu(x)
            case g.Activation():
                x = functional.relu(x)
                if node.kind == "relu6":
                    x = torch.minimum(x, _constant(np.full(1, 6.0, np.float32) if node.cap is None else node.cap, x))
                return x
            case g.Affine():
                return x * _constant(node.scale, x) + _constant(node.offset, x)
            case g.Add():
                return inputs[0] + inputs[1]
            case g.Concat():
                return torch.cat(inputs, dim=1)
            case g.Slice():
                return x[:, node.start : node.stop]
            case g.ResizeLike():
                return _enlarged(x, inputs[1].shape[2:], node)
        raise TypeError(f"{node.name!r}: a {type(node).__name__} cannot be trained here")


def _stored(graph: g.Graph) -> list[str]:
    """Nodes whose maps are stored: not a convolution that only an activation reads."""
    results = (graph.heatmaps, graph.pafs)
    return [
        name
        for name, node in graph.nodes.items()
        if not isinstance(node, g.Input)
        and (name in results or not all(isinstance(reader, g.Activation) for reader in graph.consumers(name)))
    ]


def _constant(values: g.Array, like: Tensor) -> Tensor:
    """One number, or one a channel, to go with a map."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(like).reshape(1, -1, 1, 1)


def _rounded(x: Tensor) -> Tensor:
    """Rounded, with the slope of what was not (straight-through estimator)."""
    return x + (x.round() - x).detach()


def _enlarged(x: Tensor, size: Any, node: g.ResizeLike) -> Tensor:
    """Bilinear, as TensorFlow does it; by two with the first samples aligned, or with half-pixel centers."""
    rows, columns = (side * node.factor for side in size)
    if node.half_pixel_centers:
        return functional.interpolate(x, (rows, columns), mode="bilinear", align_corners=False)
    if (rows, columns) == tuple(x.shape[2:]):
        return x
    if (rows, columns) != (2 * x.shape[2], 2 * x.shape[3]):
        raise ValueError(f"{node.name!r}: enlarges {tuple(x.shape[2:])} to {(rows, columns)}; use multiples of 16")
    for axis in (2, 3):
        after = torch.cat((x.narrow(axis, 1, x.shape[axis] - 1), x.narrow(axis, -1, 1)), axis)
        x = torch.stack((x, (x + after) / 2), axis + 1).flatten(axis, axis + 1)
    return x


def _padding(
    padding: g.Padding, reach: list[int], strides: tuple[int, int], size: Any
) -> tuple[tuple[int, int], tuple[int, int]]:
    if padding == "VALID":
        return (0, 0), (0, 0)
    if not isinstance(padding, str):
        return padding
    pairs = []
    for kernel, stride, side in zip(reach, strides, size, strict=True):
        total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
        pairs.append((total // 2, total - total // 2))
    return pairs[0], pairs[1]


def _to_torch(node: g.Conv) -> tuple[int, ...]:
    return (2, 3, 0, 1) if node.depthwise else (3, 2, 0, 1)


def _from_torch(node: g.Conv) -> tuple[int, ...]:
    return (2, 3, 0, 1) if node.depthwise else (2, 3, 1, 0)


def _key(name: str) -> str:
    """A module's name may hold no dots."""
    return name.replace(".", "_").replace("/", "-")
