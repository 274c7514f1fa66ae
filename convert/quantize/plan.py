"""Quantization plan: a float graph with the integers of its weights and the quantization parameters of its maps.

A stored map is a map that the TFLite file has a tensor for. The result of a convolution is not stored if only a ReLU
reads it, because TFLite computes both as one operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..ir import graph as g

MapDtype = Literal["int8", "int16", "float32"]
INTEGER_LIMITS: dict[str, tuple[int, int]] = {"int8": (-128, 127), "int16": (-32767, 32767)}


@dataclass(frozen=True)
class QuantParams:
    """Quantization parameters of a map: `real = (stored - zero_point) * scale`."""

    scale: float
    zero_point: int
    dtype: MapDtype

    @property
    def value_range(self) -> tuple[float, float]:
        """Smallest and largest real value that can be stored."""
        low, high = INTEGER_LIMITS[self.dtype]
        return (low - self.zero_point) * self.scale, (high - self.zero_point) * self.scale


@dataclass(frozen=True)
class QuantizedConv:
    """Integer weights of a convolution.

    Attributes:
        kernel: int8 (height, width, in, out), or (height, width, channels, 1) if depthwise, as in `graph.Conv`.
        scale: Scale of the weights of each output channel, (out,).
        bias: Bias in real numbers, (out,).
    """

    kernel: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]

    def dequantize_kernel(self, depthwise: bool) -> g.Array:
        """Dequantize the kernel to float32."""
        shape = (1, 1, -1, 1) if depthwise else (1, 1, 1, -1)
        return (self.kernel * self.scale.reshape(shape)).astype(np.float32)


@dataclass(frozen=True)
class QuantizationPlan:
    """Quantized network before it is written to a file.

    Attributes:
        graph: Folded float graph.
        map_params: Quantization parameters of every stored map, by name.
        convs: Integer weights of the convolutions, by name.
        float_maps: Names of stored maps that are computed in float32.
    """

    graph: g.Graph
    map_params: Mapping[str, QuantParams]
    convs: Mapping[str, QuantizedConv]
    float_maps: frozenset[str] = frozenset()

    def get_dtype(self, name: str) -> MapDtype:
        """Return the dtype in which the stored map `name` is computed."""
        return "float32" if name in self.float_maps else self.map_params[name].dtype

    def is_never_quantized(self, name: str) -> bool:
        """Return True if a map is never converted to integers: it and all operators that read it are float."""
        readers = [find_stored_map(self.graph, node) for node in self.graph.find_consumers(name)]
        return name in self.float_maps and bool(readers) and all(reader in self.float_maps for reader in readers)


def compute_quant_params(low: float, high: float, dtype: MapDtype) -> QuantParams:
    """Compute the quantization parameters for values from `low` to `high`; the range always contains zero, exactly.

    int8 is asymmetric: zero is an integer between -128 and 127, so the range shifts slightly. int16 is symmetric with
    zero point 0, as TFLite requires.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    smallest, largest = INTEGER_LIMITS[dtype]
    if dtype == "int16":
        return QuantParams(max(-low, high, 1e-9) / largest, 0, dtype)
    scale = max(high - low, 1e-9) / (largest - smallest)
    return QuantParams(scale, int(np.clip(round(smallest - low / scale), smallest, largest)), dtype)


def find_fused_activation(graph: g.Graph, conv: g.Conv) -> g.Activation | None:
    """Find the ReLU that is fused with a convolution: the only reader of its result. None if there is none."""
    readers = graph.find_consumers(conv.name)
    if len(readers) != 1 or conv.name in (graph.heatmaps, graph.pafs):
        return None
    reader = readers[0]
    return reader if isinstance(reader, g.Activation) and reader.is_fusable else None


def find_stored_map(graph: g.Graph, node: g.Node) -> str:
    """Return the name of the stored map with the result of a node: that of its fused ReLU, or its own."""
    activation = find_fused_activation(graph, node) if isinstance(node, g.Conv) else None
    return node.name if activation is None else activation.name


def list_stored_maps(graph: g.Graph) -> list[str]:
    """List the names of the stored maps in the order of the graph."""
    return list(dict.fromkeys(find_stored_map(graph, node) for node in graph.nodes.values()))


def find_maps_with_shared_params(graph: g.Graph) -> list[set[str]]:
    """Find sets of stored maps that must share their quantization parameters.

    The operators concat, resize, max pooling and slice copy integers, so their inputs and results must have the same
    parameters.
    """
    groups: list[set[str]] = []
    for node in graph.nodes.values():
        if isinstance(node, g.Concat | g.ResizeLike | g.MaxPool | g.Slice):
            sources = node.inputs if isinstance(node, g.Concat) else node.inputs[:1]
            merged = {node.name, *sources}
            for other in [group for group in groups if group & merged]:
                merged |= other
                groups.remove(other)
            groups.append(merged)
    return groups
