"""Time per operator: the network's file with all operators but one struck out, for each of them.

The interpreters' Python wheels have no profiler. A flatbuffer is a tree of offsets, so the file can be made to hold a
single operator in place: its list of operators is shortened and its lists of inputs and outputs are replaced by longer
ones at the end. Weights stay where they are, nothing is rebuilt, and it needs no schema. What the operators take by
themselves adds up to what the network takes; both are measured side by side, so that the reader sees how nearly.

Source of the layout: TFLite's schema.fbs (field numbers below) and the FlatBuffers format.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from ...runtime.errors import ModelError
from ...runtime.model.interpreter import Network
from . import macs
from .results import Operator

_MODEL_SUBGRAPHS, _MODEL_BUFFERS = 2, 4
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = range(4)
_TENSOR_BUFFER, _BUFFER_DATA = 2, 0
_OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 1, 2
_SECONDS = 0.05
"""An operator is repeated for so long, and at least _LEAST times."""
_LEAST = 15


class Cutter:
    """A network whose operators can be had one by one. For files that a child process has loaded without harm."""

    def __init__(self, flatbuffer: bytes) -> None:
        """Raises ModelError where the flatbuffer is not one the cutter understands."""
        self._bytes = flatbuffer
        try:
            model = self._follow(0)
            graphs = self._tables(model, _MODEL_SUBGRAPHS)
            if len(graphs) != 1:
                raise ModelError(f"operators of a network with {len(graphs)} subgraphs cannot be told apart")
            self._graph = graphs[0]
            buffers = self._tables(model, _MODEL_BUFFERS)
            tensors = self._tables(self._graph, _GRAPH_TENSORS)
            self._constant = [self._has_data(tensor, buffers) for tensor in tensors]
            self._operators = self._tables(self._graph, _GRAPH_OPERATORS)
        except (struct.error, IndexError) as error:
            raise ModelError(f"the flatbuffer cannot be read: {error}") from None

    def __len__(self) -> int:
        return len(self._operators)

    def only(self, *numbers: int) -> bytes:
        """The network with these operators alone, whose maps are its inputs and outputs; numbers in order."""
        kept = [self._operators[number] for number in numbers]
        read = [t for operator in kept for t in self._numbers(operator, _OPERATOR_INPUTS) if t >= 0]
        written = [t for operator in kept for t in self._numbers(operator, _OPERATOR_OUTPUTS)]
        inputs = [t for t in dict.fromkeys(read) if t not in written and not self._constant[t]]
        outputs = [t for t in written if t not in read]
        made = bytearray(self._bytes)
        operators = self._follow(self._field(self._graph, _GRAPH_OPERATORS))
        struct.pack_into("<I", made, operators, len(kept))
        for place, operator in enumerate(kept):
            entry = operators + 4 + 4 * place
            struct.pack_into("<I", made, entry, operator - entry)
        made += bytes(-len(made) % 4)
        for number_of_field, values in ((_GRAPH_INPUTS, inputs), (_GRAPH_OUTPUTS, outputs)):
            place = self._field(self._graph, number_of_field)
            struct.pack_into("<I", made, place, len(made) - place)
            made += struct.pack(f"<I{len(values)}i", len(values), *values)
        return bytes(made)

    def next_reader(self, number: int) -> int | None:
        """The operator right after this one, where it reads this one's result."""
        written = set(self._numbers(self._operators[number], _OPERATOR_OUTPUTS))
        after = number + 1
        if after < len(self) and written & set(self._numbers(self._operators[after], _OPERATOR_INPUTS)):
            return after
        return None

    def _has_data(self, tensor: int, buffers: list[int]) -> bool:
        place = self._field(tensor, _TENSOR_BUFFER)
        data = self._field(buffers[self._unsigned(place)], _BUFFER_DATA) if place else 0
        return bool(data) and self._unsigned(self._follow(data)) > 0

    def _tables(self, table: int, number: int) -> list[int]:
        vector = self._follow(self._field(table, number))
        return [self._follow(vector + 4 + 4 * i) for i in range(self._unsigned(vector))]

    def _numbers(self, table: int, number: int) -> list[int]:
        place = self._field(table, number)
        if not place:
            return []
        vector = self._follow(place)
        return list(struct.unpack_from(f"<{self._unsigned(vector)}i", self._bytes, vector + 4))

    def _field(self, table: int, number: int) -> int:
        """Where a field of a table lies, 0 where the table has no such field."""
        shape = table - int(struct.unpack_from("<i", self._bytes, table)[0])
        if 4 + 2 * number >= struct.unpack_from("<H", self._bytes, shape)[0]:
            return 0
        offset = int(struct.unpack_from("<H", self._bytes, shape + 4 + 2 * number)[0])
        return table + offset if offset else 0

    def _follow(self, place: int) -> int:
        return place + self._unsigned(place)

    def _unsigned(self, place: int) -> int:
        return int(struct.unpack_from("<I", self._bytes, place)[0])


def measure(
    flatbuffer: bytes, threads: int, progress: Callable[[int, int], object] = lambda done, of: None
) -> tuple[tuple[Operator, ...], float]:
    """Every operator of a network by itself, and the whole of it in the same run; medians, milliseconds.

    Raises ModelError where the network cannot be cut up.
    """
    cutter = Cutter(flatbuffer)
    rows: list[Operator] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.tflite"

        def timed(content: bytes) -> tuple[Network, float]:
            path.write_bytes(content)
            network = Network(path, threads)
            _fill(network)
            return network, _repeated(network)

        whole, before = timed(flatbuffer)
        described = macs.operators(whole)
        if len(described) != len(cutter):
            raise ModelError(f"{len(cutter)} operators in the file, {len(described)} in the interpreter")
        for number, about in enumerate(described):
            single, ms = timed(cutter.only(number))
            if about.kind == "PAD" and single.delegated and (reader := cutter.next_reader(number)) is not None:
                # XNNPACK makes one of a PAD and the convolution after it: what the PAD adds is all it costs.
                ms = max(0.0, timed(cutter.only(number, reader))[1] - timed(cutter.only(reader))[1])
            rows.append(Operator(number, about.kind, about.name, ms, about.macs, single.delegated))
            progress(number + 1, len(cutter))
        return tuple(rows), (before + _repeated(whole)) / 2


def _fill(network: Network) -> None:
    """Arbitrary values: zeros and denormal numbers can be faster or slower than what maps hold."""
    rng = np.random.default_rng(0)
    for info in network.inputs:
        view = network.tensor(info)
        view[...] = rng.integers(0, 100, info.shape) if view.dtype.kind in "iu" else rng.random(info.shape)
        del view


def _repeated(network: Network) -> float:
    times: list[float] = []
    network.invoke()
    end = perf_counter() + _SECONDS
    while len(times) < _LEAST or perf_counter() < end:
        start = perf_counter()
        network.invoke()
        times.append(perf_counter() - start)
    return median(times) * 1e3
