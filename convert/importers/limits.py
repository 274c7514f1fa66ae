"""Limits for files that come from elsewhere: how much memory a file may ask for before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...runtime.errors import ModelError

MAX_ELEMENTS = 1 << 26
"""Elements of one array. The largest kernel of the known networks has 1.2 million, the largest network 53 million."""
MAX_TOTAL_ELEMENTS = 1 << 28
"""Elements of all arrays that one importer holds."""
MAX_FILE_BYTES = 1 << 30
"""Size of one file of weights, and of what an archive unpacks to."""
MAX_NODES = 100_000
"""Nodes or layers of one graph."""


def check_elements(shape: Sequence[int], what: str) -> int:
    """Return the number of elements of a shape.

    Raises:
        ModelError: A side is negative, or the shape has more than MAX_ELEMENTS elements.
    """
    sides = [int(side) for side in shape]
    if any(side < 0 for side in sides):
        raise ModelError(f"{what} has the shape {tuple(sides)[:8]}; expected sides of 0 or more")
    if (count := math.prod(sides)) > MAX_ELEMENTS:
        raise ModelError(f"{what} has the shape {tuple(sides)[:8]}; expected at most {MAX_ELEMENTS} elements")
    return count


def check_file_size(size: int) -> None:
    """Raise ModelError for a file of weights that is larger than MAX_FILE_BYTES."""
    if size > MAX_FILE_BYTES:
        raise ModelError(f"the file has {size} bytes; expected at most {MAX_FILE_BYTES}")


class Budget:
    """Counts the elements of all arrays of one import."""

    def __init__(self) -> None:
        self.used = 0
        self.items = 0

    def count(self) -> None:
        """Count an item (node, layer, array, dictionary). Raise ModelError if there are more than MAX_NODES."""
        self.items += 1
        if self.items > MAX_NODES:
            raise ModelError(f"expected at most {MAX_NODES} nodes or arrays")

    def take(self, shape: Sequence[int], what: str) -> None:
        """Count an array. Raise ModelError if it, or all arrays together, are too large."""
        self.used += check_elements(shape, what)
        if self.used > MAX_TOTAL_ELEMENTS:
            raise ModelError(f"{what}: all arrays together have more than {MAX_TOTAL_ELEMENTS} elements")
