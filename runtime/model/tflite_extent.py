"""Finds where the content of a TFLite file ends, to tell an interrupted download from a whole file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

_MAX_TABLES = 100_000
_MAX_SUBGRAPHS = 64
# Indices of fields in TensorFlow's schema.fbs.
_MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS = 1, 2, 4
_SUBGRAPH_TENSORS, _SUBGRAPH_OPERATORS = 0, 3
_TENSOR_SHAPE, _TENSOR_NAME, _TENSOR_QUANTIZATION = 0, 3, 4
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = 0, 1, 2


def find_end(file: BinaryIO, size: int) -> int:
    """Return the offset behind the last constant, name or table; more than `size` if one lies beyond the file."""
    try:
        return max(_Walk(file).ends(), default=0)
    except EOFError:
        return size + 1


class _Walk:
    """Follows the offsets of a FlatBuffer. Raises EOFError if one leads out of the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def ends(self) -> Iterator[int]:
        model = self._number(0)
        for buffer in self._tables(model, _MODEL_BUFFERS):
            yield self._vector_end(buffer, _BUFFER_DATA, 1)
            offset, length = self._field(buffer, _BUFFER_OFFSET), self._field(buffer, _BUFFER_SIZE)
            if offset and length:
                yield self._number(offset, 8) + self._number(length, 8)
        for subgraph in islice(self._tables(model, _MODEL_SUBGRAPHS), _MAX_SUBGRAPHS):
            for tensor in self._tables(subgraph, _SUBGRAPH_TENSORS):
                yield self._vector_end(tensor, _TENSOR_SHAPE, 4)
                yield self._vector_end(tensor, _TENSOR_NAME, 1)
                if place := self._field(tensor, _TENSOR_QUANTIZATION):
                    yield self._vector_end(place + self._number(place), 2, 4)
            for operator in self._tables(subgraph, _SUBGRAPH_OPERATORS):
                yield self._vector_end(operator, 1, 4)
                yield self._vector_end(operator, 2, 4)
        for code in self._tables(model, _MODEL_CODES):
            yield code + 4

    def _number(self, offset: int, length: int = 4) -> int:
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) < length:
            raise EOFError
        return int.from_bytes(data, "little")

    def _field(self, table: int, index: int) -> int:
        """Offset of a field of a table; 0 if it has its default."""
        vtable = table - ((self._number(table) ^ 1 << 31) - (1 << 31))
        if vtable < 0:
            raise EOFError
        if self._number(vtable, 2) < 6 + 2 * index:
            return 0
        inside = self._number(vtable + 4 + 2 * index, 2)
        return table + inside if inside else 0

    def _tables(self, owner: int, index: int) -> Iterator[int]:
        """The tables of a vector."""
        if place := self._field(owner, index):
            vector = place + self._number(place)
            for entry in range(vector + 4, vector + 4 + 4 * min(self._number(vector), _MAX_TABLES), 4):
                yield entry + self._number(entry)

    def _vector_end(self, table: int, index: int, item_size: int) -> int:
        place = self._field(table, index)
        if not place:
            return 0
        vector = place + self._number(place)
        return vector + 4 + item_size * self._number(vector)
