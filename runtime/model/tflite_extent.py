"""End of the content of a TFLite file according to its offsets, to detect incomplete downloads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

_MAX_TABLES = 100_000
_MAX_SUBGRAPHS = 64
# Indices of fields in the tables of TensorFlow's schema.fbs.
_MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS = 1, 2, 4
_SUBGRAPH_TENSORS, _SUBGRAPH_OPERATORS = 0, 3
_TENSOR_SHAPE, _TENSOR_NAME, _TENSOR_QUANTIZATION = 0, 3, 4
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = 0, 1, 2


def find_end(file: BinaryIO, size: int) -> int:
    """Return the offset after the last constant, name or table of a TFLite file.

    Args:
        file: The file, opened for reading.
        size: Its size in bytes.

    Returns:
        An offset in bytes; more than `size` if the file is incomplete.
    """
    try:
        return max(_OffsetReader(file).iterate_ends(), default=0)
    except EOFError:
        return size + 1


class _OffsetReader:
    """Reader that follows the offsets of a FlatBuffer. Its methods raise EOFError if an offset is outside the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def iterate_ends(self) -> Iterator[int]:
        model = self._read_number(0)
        for buffer in self._iterate_tables(model, _MODEL_BUFFERS):
            yield self._find_vector_end(buffer, _BUFFER_DATA, 1)
            offset, length = self._find_field(buffer, _BUFFER_OFFSET), self._find_field(buffer, _BUFFER_SIZE)
            if offset and length:
                yield self._read_number(offset, 8) + self._read_number(length, 8)
        for subgraph in islice(self._iterate_tables(model, _MODEL_SUBGRAPHS), _MAX_SUBGRAPHS):
            for tensor in self._iterate_tables(subgraph, _SUBGRAPH_TENSORS):
                yield self._find_vector_end(tensor, _TENSOR_SHAPE, 4)
                yield self._find_vector_end(tensor, _TENSOR_NAME, 1)
                if place := self._find_field(tensor, _TENSOR_QUANTIZATION):
                    yield self._find_vector_end(place + self._read_number(place), 2, 4)
            for operator in self._iterate_tables(subgraph, _SUBGRAPH_OPERATORS):
                yield self._find_vector_end(operator, 1, 4)
                yield self._find_vector_end(operator, 2, 4)
        for code in self._iterate_tables(model, _MODEL_CODES):
            yield code + 4

    def _read_number(self, offset: int, length: int = 4) -> int:
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) < length:
            raise EOFError
        return int.from_bytes(data, "little")

    def _find_field(self, table: int, index: int) -> int:
        """Return the offset of a field of a table; 0 if the field is not stored because it has its default value."""
        vtable = table - ((self._read_number(table) ^ 1 << 31) - (1 << 31))
        if vtable < 0:
            raise EOFError
        if self._read_number(vtable, 2) < 6 + 2 * index:
            return 0
        inside = self._read_number(vtable + 4 + 2 * index, 2)
        return table + inside if inside else 0

    def _iterate_tables(self, owner: int, index: int) -> Iterator[int]:
        """Yield the offsets of all tables in a vector field, at most `_MAX_TABLES`."""
        if place := self._find_field(owner, index):
            vector = place + self._read_number(place)
            for entry in range(vector + 4, vector + 4 + 4 * min(self._read_number(vector), _MAX_TABLES), 4):
                yield entry + self._read_number(entry)

    def _find_vector_end(self, table: int, index: int, item_size: int) -> int:
        place = self._find_field(table, index)
        if not place:
            return 0
        vector = place + self._read_number(place)
        return vector + 4 + item_size * self._read_number(vector)
