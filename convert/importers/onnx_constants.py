"""Evaluation of ONNX operators whose inputs are all constants, such as the arithmetic on shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .limits import check_concat, check_elements
from .onnx_file import Constant, Operator, import_onnx

_NUMPY_DTYPES = {
    1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_,
    10: np.float16, 11: np.float64, 12: np.uint32, 13: np.uint64,
}  # fmt: skip
"""NumPy types by the data type numbers of ONNX."""


def _cast(operator: Operator, x: Constant) -> Constant:
    return x.astype(_NUMPY_DTYPES[operator.get_int("to")])


def _gather(operator: Operator, x: Constant, indices: Constant) -> Constant:
    check_elements((x.size, indices.size), operator.label)
    return np.asarray(np.take(x, indices, axis=operator.get_int("axis")))


def _concat(operator: Operator, *values: Constant) -> Constant:
    check_concat((value.size for value in values), operator.label)
    return np.concatenate(values, operator.get_int("axis"))


def _unsqueeze(operator: Operator, x: Constant, axes: Constant | None = None) -> Constant:
    return np.expand_dims(x, read_axes(operator, axes))


def _squeeze(operator: Operator, x: Constant, axes: Constant | None = None) -> Constant:
    return np.squeeze(x, read_axes(operator, axes) or None)


def _reshape(operator: Operator, x: Constant, shape: Constant) -> Constant:
    sides = [x.shape[i] if side == 0 else int(side) for i, side in enumerate(shape.tolist())]
    return x.reshape(sides)


def _expand(operator: Operator, x: Constant, shape: Constant) -> Constant:
    target = np.broadcast_shapes(x.shape, tuple(shape.tolist()))
    check_elements(target, operator.label)
    return np.broadcast_to(x, target)


def _fill(operator: Operator, shape: Constant) -> Constant:
    sides = [int(side) for side in shape.tolist()]
    check_elements(sides, operator.label)
    value = operator.attributes.get("value")
    if value is None:
        return np.zeros(sides, np.float32)
    if list(value.t.dims) not in ([], [1]):
        raise ValueError(f"{operator.label}: expected one value")
    return np.full(sides, import_onnx().numpy_helper.to_array(value.t).ravel()[0])


def _range(operator: Operator, start: Constant, stop: Constant, step: Constant) -> Constant:
    first, last, distance = float(start.item()), float(stop.item()), float(step.item())
    check_elements((max(0, int(np.ceil((last - first) / distance))),), operator.label)
    return np.arange(first, last, distance).astype(start.dtype)


def _divide(operator: Operator, x: Constant, y: Constant) -> Constant:
    if x.dtype.kind != "f":
        return np.asarray(np.trunc(x / y), x.dtype)
    return np.asarray(x / y)


def _slice(operator: Operator, x: Constant, *bounds: Constant | None) -> Constant:
    ranges = read_ranges(operator, bounds, x.ndim)
    return x[tuple(slice(*ranges[axis]) if axis in ranges else slice(None) for axis in range(x.ndim))]


def _transpose(operator: Operator, x: Constant) -> Constant:
    return np.transpose(x, operator.get_ints("perm") or None)


def _reduce_product(operator: Operator, x: Constant, axes: Constant | None = None) -> Constant:
    keep = bool(operator.get_int("keepdims", 1))
    return np.asarray(np.prod(x, axis=read_axes(operator, axes) or None, keepdims=keep, dtype=x.dtype))


def _where(operator: Operator, condition: Constant, x: Constant, y: Constant) -> Constant:
    return np.asarray(np.where(condition, x, y))


_OPERATORS: dict[str, Callable[..., Constant]] = {
    "Cast": _cast,
    "Gather": _gather,
    "Concat": _concat,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Expand": _expand,
    "ConstantOfShape": _fill,
    "Range": _range,
    "Slice": _slice,
    "Transpose": _transpose,
    "ReduceProd": _reduce_product,
    "Div": _divide,
    "Identity": lambda operator, x: x,
    "Add": lambda operator, x, y: x + y,
    "Sub": lambda operator, x, y: x - y,
    "Mul": lambda operator, x, y: x * y,
    "Pow": lambda operator, x, y: np.asarray(np.power(x, y), x.dtype),
    "Sqrt": lambda operator, x: np.sqrt(x),
    "Reciprocal": lambda operator, x: 1 / x,
    "Neg": lambda operator, x: -x,
    "Abs": lambda operator, x: np.abs(x),
    "Floor": lambda operator, x: np.floor(x),
    "Ceil": lambda operator, x: np.ceil(x),
    "Equal": lambda operator, x, y: np.equal(x, y),
    "Where": _where,
    "Min": lambda operator, *values: np.minimum.reduce(values),
    "Max": lambda operator, *values: np.maximum.reduce(values),
}
_BROADCASTING = {"Add", "Sub", "Mul", "Div", "Pow", "Equal", "Where"}


def evaluate(operator: Operator, values: Sequence[Constant | None]) -> Constant:
    """Evaluate an operator.

    Args:
        operator: The operator.
        values: The values of its inputs; None for an optional input that is not used.

    Raises:
        ModelError: The operator is not supported, or the result is too large.
        ValueError: The values do not fit the operator.
    """
    if operator.kind not in _OPERATORS:
        raise operator.refuse("not supported on constants")
    if operator.kind in _BROADCASTING:
        # The result of an operator on small constants can be large.
        check_elements(np.broadcast_shapes(*(np.asarray(value).shape for value in values)), operator.label)
    with np.errstate(all="ignore"):
        return np.asarray(_OPERATORS[operator.kind](operator, *values))


def read_axes(operator: Operator, axes: Constant | None) -> tuple[int, ...]:
    """Return the axes of an operator: an input in later opsets, an attribute before."""
    return operator.get_ints("axes") if axes is None else tuple(int(axis) for axis in axes.ravel().tolist())


def read_ranges(operator: Operator, bounds: Sequence[Constant | None], rank: int) -> dict[int, tuple[int, int, int]]:
    """Return the ranges of a Slice.

    Args:
        operator: The operator; it has the ranges as attributes before opset 10.
        bounds: Its constant inputs after the first: starts, ends, axes and steps; None if not used.
        rank: The number of axes of the sliced value.

    Returns:
        Start, end and step by axis.
    """
    lists = [[] if value is None else value.ravel().tolist() for value in (*bounds, None, None, None, None)]
    starts = lists[0] if bounds else list(operator.get_ints("starts"))
    ends = lists[1] if bounds else list(operator.get_ints("ends"))
    axes = lists[2] or list(operator.get_ints("axes")) or list(range(len(starts)))
    steps = lists[3] or [1] * len(starts)
    ranges = {int(a) % rank: (int(s), int(e), int(d)) for s, e, a, d in zip(starts, ends, axes, steps, strict=True)}
    if len(ranges) != len(starts):
        raise ValueError(f"{operator.label}: an axis is named twice")
    return ranges
