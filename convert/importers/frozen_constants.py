"""Evaluation of TensorFlow operators on constants and on the sizes of feature maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .limits import ImportBudget, check_concat, check_elements
from .tensorflow_values import Constant, Side, Sizes, read_slices

Array = npt.NDArray[Any]

_FLOAT_TYPES = {1: np.float32, 2: np.float64, 14: np.float32, 19: np.float16}
"""TensorFlow's numbers of its float types; bfloat16 becomes float32."""


def _squeeze(x: Array, attr: Any) -> Array:
    axes = tuple(int(i) for i in attr["squeeze_dims"].list.i)
    return np.squeeze(x, axes or None)


def _cast(x: Array, attr: Any) -> Array:
    target = _FLOAT_TYPES.get(attr["DstT"].type)
    return x.astype(target) if target is not None else x.astype(np.int64)


_ELEMENTWISE: dict[str, Callable[..., Array]] = {
    "Rsqrt": lambda x: 1 / np.sqrt(x),
    "Sqrt": np.sqrt,
    "Square": np.square,
    "Exp": np.exp,
    "Neg": np.negative,
    "Reciprocal": lambda x: 1 / x,
    "Add": np.add,
    "AddV2": np.add,
    "BiasAdd": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "RealDiv": np.divide,
    "Div": lambda x, y: x / y if np.issubdtype(x.dtype, np.floating) else x // y,
    "FloorDiv": np.floor_divide,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
}
_OPERATORS: dict[str, Callable[..., Array]] = {
    "Cast": lambda attr, x: _cast(x, attr),
    "ConcatV2": lambda attr, *values: np.concatenate(values[:-1], int(values[-1])),
    "ExpandDims": lambda attr, x, axis: np.expand_dims(x, int(axis)),
    "GatherV2": lambda attr, x, indices, axis: np.take(x, indices, int(axis)),
    "Pack": lambda attr, *values: np.stack(values, attr["axis"].i),
    "Prod": lambda attr, x, axes: np.prod(x, tuple(np.ravel(axes).tolist()), keepdims=attr["keep_dims"].b),
    "Reshape": lambda attr, x, shape: x.reshape(shape),
    "Shape": lambda attr, x: np.array(np.shape(x), np.int64),
    "Squeeze": lambda attr, x: _squeeze(x, attr),
    "StridedSlice": lambda attr, x, *ends: x[read_slices(attr, *(end.tolist() for end in ends))],
    "Transpose": lambda attr, x, axes: np.transpose(x, axes),
}


def evaluate_operator(op: str, attr: Any, values: list[Array], budget: ImportBudget, label: str) -> Constant | None:
    """Evaluate an operator whose inputs are constants.

    Args:
        op: The operator.
        attr: Its attributes.
        values: The inputs.
        budget: Counts the elements of the result.
        label: The name of the node, for error messages.

    Returns:
        The result; None if the operator is not supported.

    Raises:
        ModelError: The result is too large.
    """
    arrays = [np.asarray(value) for value in values]
    if op in _ELEMENTWISE:
        # The result of an operator on small constants can be large.
        check_elements(np.broadcast_shapes(*(array.shape for array in arrays)), label)
        with np.errstate(all="ignore"):
            result = np.asarray(_ELEMENTWISE[op](*arrays))
    elif op == "Fill":
        check_elements(np.ravel(arrays[0]).tolist(), label)
        result = np.full(arrays[0], arrays[1])
    elif op in _OPERATORS:
        if op in ("ConcatV2", "Pack"):
            check_concat((array.size for array in arrays), label)
        result = np.asarray(_OPERATORS[op](attr, *arrays))
    else:
        return None
    budget.add_array(result.shape, label)
    return Constant(result)


def evaluate_sizes(op: str, attr: Any, values: list[Constant | Sizes]) -> Sizes | None:
    """Evaluate an operator on the sizes of feature maps. Return None if the operator is not supported."""
    sizes = [_as_sizes(value) for value in values]
    first = sizes[0]
    match op:
        case "Cast" | "Floor" | "Round":
            return first
        case "StridedSlice":
            (item,) = read_slices(attr, *(np.ravel(_read(value)).tolist() for value in values[1:]))
            return Sizes((first.sides[item],), True) if isinstance(item, int) else Sizes(first.sides[item])
        case "GatherV2":
            indices = np.asarray(_read(values[1]))
            return Sizes(tuple(first.sides[int(i)] for i in np.ravel(indices)), indices.ndim == 0)
        case "Pack" | "ConcatV2":
            parts = sizes if op == "Pack" else sizes[:-1]
            return Sizes(tuple(side for part in parts for side in part.sides))
        case "Reshape" | "Squeeze" | "ExpandDims" if len(first.sides) == 1:
            return Sizes(first.sides, op == "Squeeze" or (op == "Reshape" and not np.size(_read(values[1]))))
        case "Mul":
            second = sizes[1]
            count = max(len(first.sides), len(second.sides))
            pairs = zip(_repeat(first, count), _repeat(second, count), strict=True)
            return Sizes(tuple(_multiply(a, b) for a, b in pairs), first.is_scalar and second.is_scalar)
    return Sizes((None,) * len(first.sides), first.is_scalar)


def _read(value: Constant | Sizes) -> Any:
    if not isinstance(value, Constant):
        raise ValueError("expected a constant, got the size of a feature map")
    return value.value


def _as_sizes(value: Constant | Sizes) -> Sizes:
    if isinstance(value, Sizes):
        return value
    array = np.asarray(value.value)
    # Only small vectors can be sizes; other constants are parameters of the operator.
    numbers = np.ravel(array)[:8].tolist()
    return Sizes(tuple(int(v) if float(v).is_integer() else None for v in numbers), array.ndim == 0)


def _repeat(sizes: Sizes, count: int) -> tuple[Side | int | None, ...]:
    return sizes.sides * count if len(sizes.sides) == 1 else sizes.sides


def _multiply(first: Side | int | None, second: Side | int | None) -> Side | int | None:
    if isinstance(first, int) and isinstance(second, int):
        return first * second
    for side, factor in ((first, second), (second, first)):
        if isinstance(side, Side) and isinstance(factor, int) and factor >= 1:
            return Side(side.node, side.axis, side.factor * factor)
    return None
