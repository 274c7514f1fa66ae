"""Latency per operator: a network with a single operator is written and measured, for each operator.

The interpreters' Python wheels have no profiler. The latencies of single operators add up to nearly that of the whole
network; both are measured in the same run, so that the difference is visible.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from ...runtime.errors import ModelError
from ...runtime.model.interpreter import Network
from ...runtime.model.tflite_schema import load_schema, pack_model
from . import macs
from .results import Operator

_MIN_SECONDS = 0.05
_MIN_RUNS = 15
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, AttributeError, KeyError, OverflowError, MemoryError)


class OperatorExtractor:
    """Writes networks that hold some of the operators of a network. For files that an interpreter has loaded."""

    def __init__(self, flatbuffer: bytes) -> None:
        """Parse the network.

        Raises:
            ModelError: The flatbuffer is damaged or has more than one subgraph.
            MissingExtraError: Neither LiteRT nor TensorFlow is installed.
        """
        self._schema = load_schema("the time of single operators (--ops)")
        try:
            self._model = self._schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
            if len(self._model.subgraphs) != 1:
                raise ModelError(f"expected a network with one subgraph, got {len(self._model.subgraphs)}")
            self._graph = self._model.subgraphs[0]
            self._operators: Sequence[Any] = self._graph.operators
            self._constant = [self._has_data(tensor) for tensor in self._graph.tensors]
        except _DAMAGE as error:
            raise ModelError(f"the flatbuffer cannot be read: {error}") from None

    def __len__(self) -> int:
        return len(self._operators)

    def extract(self, *numbers: int) -> bytes:
        """Return a network of these operators; the tensors between them and the rest become inputs and outputs.

        Args:
            *numbers: Numbers of operators, ascending.

        Raises:
            ModelError: The flatbuffer is damaged.
        """
        try:
            return self._extract([self._operators[number] for number in numbers])
        except _DAMAGE as error:
            raise ModelError(f"the flatbuffer cannot be read: {error}") from None

    def _extract(self, kept: Sequence[Any]) -> bytes:
        read = [tensor for operator in kept for tensor in _list(operator.inputs) if tensor >= 0]
        written = [tensor for operator in kept for tensor in _list(operator.outputs)]
        used = list(dict.fromkeys(read + written + [t for operator in kept for t in _list(operator.intermediates)]))
        place = {tensor: number for number, tensor in enumerate(used)} | {-1: -1}
        inputs = [tensor for tensor in dict.fromkeys(read) if tensor not in written and not self._constant[tensor]]
        outputs = [tensor for tensor in written if tensor not in read]

        graph = self._schema.SubGraphT()
        buffers = [self._schema.BufferT()]
        graph.tensors = []
        for tensor in used:
            moved = copy.copy(self._graph.tensors[tensor])
            moved.buffer = 0
            if self._constant[tensor]:
                moved.buffer = len(buffers)
                buffers.append(self._model.buffers[self._graph.tensors[tensor].buffer])
            graph.tensors.append(moved)
        graph.inputs, graph.outputs = [place[t] for t in inputs], [place[t] for t in outputs]
        graph.operators = []
        for operator in kept:
            moved = copy.copy(operator)
            for name in ("inputs", "outputs", "intermediates"):
                setattr(moved, name, [place[tensor] for tensor in _list(getattr(operator, name))])
            graph.operators.append(moved)
        model = self._schema.ModelT()
        model.version, model.operatorCodes = self._model.version, self._model.operatorCodes
        model.subgraphs, model.buffers = [graph], buffers
        return pack_model(model)

    def find_next_reader(self, number: int) -> int | None:
        """Return the number of the next operator if it reads the result of this one, otherwise None."""
        following = number + 1
        if following == len(self):
            return None
        written = set(_list(self._operators[number].outputs))
        return following if written & set(_list(self._operators[following].inputs)) else None

    def _has_data(self, tensor: Any) -> bool:
        data = self._model.buffers[tensor.buffer].data
        return data is not None and len(data) > 0


def _list(tensors: Iterable[int] | None) -> list[int]:
    return [] if tensors is None else [int(tensor) for tensor in tensors]


def measure_operators(
    flatbuffer: bytes, threads: int, progress: Callable[[int, int], object] = lambda done, of: None
) -> tuple[tuple[Operator, ...], float]:
    """Measure every operator of a network alone, and the whole network in the same run.

    Args:
        flatbuffer: Content of a .tflite file.
        threads: Threads of the interpreter.
        progress: Called with the number of operators that are done, and of all.

    Returns:
        The operators, and the latency of the whole network; medians in milliseconds.

    Raises:
        ModelError: The network cannot be split into operators.
        MissingExtraError: The schema classes of TFLite are not installed.
    """
    extractor = OperatorExtractor(flatbuffer)
    rows: list[Operator] = []

    # From memory: an interpreter maps its file, and a file that is written again crashes it.
    def measure_network(content: bytes) -> tuple[Network, float]:
        network = Network(Path("operator.tflite"), threads, content)
        _fill_inputs(network)
        return network, _measure_latency(network)

    whole, before = measure_network(flatbuffer)
    described = macs.compute_operator_costs(whole)
    if len(described) != len(extractor):
        raise ModelError(f"{len(extractor)} operators in the file, {len(described)} in the interpreter")
    for number, about in enumerate(described):
        single, ms = measure_network(extractor.extract(number))
        reader = extractor.find_next_reader(number)
        if about.kind == "PAD" and single.is_delegated and reader is not None:
            # XNNPACK fuses a PAD with the convolution after it: count only what the PAD adds.
            both_ms = measure_network(extractor.extract(number, reader))[1]
            ms = max(0.0, both_ms - measure_network(extractor.extract(reader))[1])
        rows.append(Operator(number, about.kind, about.name, ms, about.macs, single.is_delegated))
        progress(number + 1, len(extractor))
    return tuple(rows), (before + _measure_latency(whole)) / 2


def _fill_inputs(network: Network) -> None:
    """Write arbitrary values: zeros and denormal numbers can be faster or slower than real activations."""
    rng = np.random.default_rng(0)
    for info in network.inputs:
        view = network.get_tensor(info)
        view[...] = rng.integers(0, 100, info.shape) if view.dtype.kind in "iu" else rng.random(info.shape)
        del view


def _measure_latency(network: Network) -> float:
    times: list[float] = []
    network.invoke()
    end = perf_counter() + _MIN_SECONDS
    while len(times) < _MIN_RUNS or perf_counter() < end:
        start = perf_counter()
        network.invoke()
        times.append(perf_counter() - start)
    return median(times) * 1e3
