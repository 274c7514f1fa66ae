"""Evaluation of TensorFlow operators on constants and on the sizes of feature maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Constant = npt.NDArray[Any]


def _squeeze(x: Constant, attr: Any) -> Constant:
    axes = tuple(int(i) for i in attr["squeeze_dims"].list.i)
    return np.squeeze(x, axes or None)


_OPERATORS: dict[str, Callable[..., Constant]] = {
    "Rsqrt": lambda attr, x: 1 / np.sqrt(x),
    "Sqrt": lambda attr, x: np.sqrt(x),
    "Neg": lambda attr, x: -x,
    "Add": lambda attr, x, y: x + y,
    "AddV2": lambda attr, x, y: x + y,
    "Sub": lambda attr, x, y: x - y,
    "Mul": lambda attr, x, y: x * y,
    "RealDiv": lambda attr, x, y: x / y,
    "Reshape": lambda attr, x, y: x.reshape(y),
    "ExpandDims": lambda attr, x, y: np.expand_dims(x, int(y)),
    "Squeeze": lambda attr, x: _squeeze(x, attr),
}


def evaluate_operator(op: str, attr: Any, values: list[Constant]) -> Constant | None:
    """Evaluate an operator whose inputs are constants. Return None if the operator is not supported."""
    return _OPERATORS[op](attr, *values) if op in _OPERATORS else None


@dataclass(frozen=True)
class MapSize:
    """Value that is computed from the size of a feature map.

    It is the size of the node `name` times `factor`. `factor` is None if the value cannot be written in this form.
    """

    name: str
    factor: int | None = 1

    def apply_operator(self, op: str, constants: list[Constant]) -> MapSize:
        """Return the result of an operator on this value and on constants."""
        if op in ("StridedSlice", "Pack", "Cast", "Identity"):
            return self
        if op == "Mul" and self.factor is not None and constants:
            values = {float(v) for v in np.ravel(constants[0])}
            if len(values) == 1 and (value := values.pop()) >= 1 and value.is_integer():
                return MapSize(self.name, self.factor * int(value))
        return MapSize(self.name, None)
