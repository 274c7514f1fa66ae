"""A quantized network before it is written: a float graph, and integers for its weights and maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..ir import graph as g

Kind = Literal["int8", "int16", "float32"]
LIMITS: dict[str, tuple[int, int]] = {"int8": (-128, 127), "int16": (-32767, 32767)}


@dataclass(frozen=True)
class QuantParams:
    """How a map's real values are stored: `real = (stored - zero_point) * scale`."""

    scale: float
    zero_point: int
    kind: Kind

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest real value that can be stored."""
        low, high = LIMITS[self.kind]
        return (low - self.zero_point) * self.scale, (high - self.zero_point) * self.scale


@dataclass(frozen=True)
class QuantizedConv:
    """Integer weights with a scale a channel of the result, and the bias in real numbers."""

    kernel: npt.NDArray[np.int8]
    """As in `graph.Conv`: (height, width, in, out), or (height, width, channels, 1) where depthwise."""
    scale: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]

    def real(self, depthwise: bool) -> g.Array:
        """The weights as real numbers."""
        shape = (1, 1, -1, 1) if depthwise else (1, 1, 1, -1)
        return (self.kernel * self.scale.reshape(shape)).astype(np.float32)


@dataclass(frozen=True)
class Plan:
    """What is to be written.

    `maps`: the code of every stored map (the result of a convolution that only a ReLU reads is not stored). `convs`:
    the integers of the convolutions. `floats`: names of stored maps that are computed in float32.
    """

    graph: g.Graph
    maps: Mapping[str, QuantParams]
    convs: Mapping[str, QuantizedConv]
    floats: frozenset[str] = frozenset()

    def kind(self, name: str) -> Kind:
        """In which numbers the stored map `name` is computed."""
        return "float32" if name in self.floats else self.maps[name].kind

    def passed_on_as_float(self, name: str) -> bool:
        """Whether a map never becomes integers: computed in float, and so is all that reads it."""
        readers = [result_of(self.graph, node) for node in self.graph.consumers(name)]
        return name in self.floats and bool(readers) and all(reader in self.floats for reader in readers)


def map_code(low: float, high: float, kind: Kind) -> QuantParams:
    """The code whose ends are nearest to `low` and `high`; zero is always stored exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    least, most = LIMITS[kind]
    if kind == "int16":
        return QuantParams(max(-low, high, 1e-9) / most, 0, kind)
    scale = max(high - low, 1e-9) / (most - least)
    return QuantParams(scale, int(np.clip(round(least - low / scale), least, most)), kind)


def fused_activation(graph: g.Graph, conv: g.Conv) -> g.Activation | None:
    """The ReLU that is the only reader of a convolution: both are one operator."""
    readers = graph.consumers(conv.name)
    if len(readers) != 1 or conv.name in (graph.heatmaps, graph.pafs):
        return None
    reader = readers[0]
    return reader if isinstance(reader, g.Activation) and reader.kind != "elu" else None


def result_of(graph: g.Graph, node: g.Node) -> str:
    """The stored map that holds a node's result."""
    activation = fused_activation(graph, node) if isinstance(node, g.Conv) else None
    return node.name if activation is None else activation.name


def stored(graph: g.Graph) -> list[str]:
    """Names of the maps that are stored, in order."""
    return list(dict.fromkeys(result_of(graph, node) for node in graph.nodes.values()))


def same_code(graph: g.Graph) -> list[set[str]]:
    """Sets of stored maps that must have one code: what goes into a concat with its result, and the like."""
    sets: list[set[str]] = []
    for node in graph.nodes.values():
        if isinstance(node, g.Concat | g.ResizeLike | g.MaxPool | g.Slice):
            sources = node.inputs if isinstance(node, g.Concat) else node.inputs[:1]
            together = {node.name, *sources}
            for other in [known for known in sets if known & together]:
                together |= other
                sets.remove(other)
            sets.append(together)
    return sets
