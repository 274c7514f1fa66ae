"""Size limits for untrusted files, checked before memory is allocated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ...runtime.errors import ModelError

MAX_ELEMENTS = 1 << 26
"""Maximum number of elements of one array.

The largest kernel of the known networks has 1.2 million elements, the largest network 53 million.
"""
MAX_TOTAL_ELEMENTS = 1 << 28
"""Maximum number of elements of all arrays of one import."""
MAX_FILE_BYTES = 1 << 30
"""Maximum size of a weight file, and of the unpacked content of an archive."""
MAX_NODES = 100_000
"""Maximum number of nodes, layers, arrays or dictionaries of one import."""


def check_elements(shape: Sequence[int], label: str) -> int:
    """Return the number of elements of a shape.

    Args:
        shape: The shape of an array.
        label: The name of the array, for error messages.

    Raises:
        ModelError: A dimension is negative, or the shape has more than `MAX_ELEMENTS` elements.
    """
    sides = [int(side) for side in shape]
    if any(side < 0 for side in sides):
        raise ModelError(f"{label} has the shape {tuple(sides)[:8]}; expected dimensions of 0 or more")
    if (count := math.prod(sides)) > MAX_ELEMENTS:
        raise ModelError(f"{label} has the shape {tuple(sides)[:8]}; expected at most {MAX_ELEMENTS} elements")
    return count


def check_concat(sizes: Iterable[int], label: str) -> None:
    """Check the number of elements of a concatenation before it is made: one constant can be read many times.

    Args:
        sizes: The number of elements of each input.
        label: The name of the operator, for error messages.

    Raises:
        ModelError: The result has more than `MAX_ELEMENTS` elements.
    """
    check_elements((sum(sizes),), label)


def check_file_size(size: int) -> None:
    """Check the size of a weight file in bytes.

    Raises:
        ModelError: The file is larger than `MAX_FILE_BYTES`.
    """
    if size > MAX_FILE_BYTES:
        raise ModelError(f"the file has {size} bytes; expected at most {MAX_FILE_BYTES}")


class ImportBudget:
    """Counter of the nodes and array elements of one import."""

    def __init__(self) -> None:
        self.used = 0
        self.items = 0

    def add_item(self) -> None:
        """Count one item: a node, layer, array or dictionary.

        Raises:
            ModelError: There are more than `MAX_NODES` items.
        """
        self.items += 1
        if self.items > MAX_NODES:
            raise ModelError(f"too many nodes or arrays; expected at most {MAX_NODES}")

    def add_array(self, shape: Sequence[int], label: str) -> None:
        """Add an array to the total number of elements.

        Args:
            shape: The shape of the array.
            label: The name of the array, for error messages.

        Raises:
            ModelError: The array has more than `MAX_ELEMENTS` elements, or all arrays more than `MAX_TOTAL_ELEMENTS`.
        """
        self.used += check_elements(shape, label)
        if self.used > MAX_TOTAL_ELEMENTS:
            raise ModelError(
                f"{label}: all arrays together have too many elements; expected at most {MAX_TOTAL_ELEMENTS}"
            )
