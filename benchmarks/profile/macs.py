"""Multiply-accumulates (MACs) of a loaded network, computed from the shapes of its tensors."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from ...runtime.model.interpreter import Network


class OperatorCost(NamedTuple):
    """Cost of an operator.

    Attributes:
        kind: Name of the operator in TFLite, such as `CONV_2D`.
        name: Name of its first output.
        macs: Multiply-accumulates.
        bytes: Bytes of all inputs and outputs.
        integer: True if the dtype of its first input is an integer type.
    """

    kind: str
    name: str
    macs: int
    bytes: int
    integer: bool


def compute_operator_costs(network: Network) -> list[OperatorCost]:
    """Compute the cost of each operator of a network, in the order of execution."""
    found = []
    for kind, inputs, outputs in network.list_operators():
        first = outputs[0]
        total_bytes = sum(prod(tensor.shape) * tensor.item_bytes for tensor in (*inputs, *outputs))
        shapes = [tensor.shape for tensor in inputs]
        found.append(
            OperatorCost(kind, first.name, _compute_macs(kind, shapes, first.shape), total_bytes, inputs[0].is_integer)
        )
    return found


def _compute_macs(kind: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    if kind == "CONV_2D" or kind == "FULLY_CONNECTED":
        return prod(output) * prod(inputs[1][1:])
    if kind == "DEPTHWISE_CONV_2D":
        return prod(output) * prod(inputs[1][1:3])
    if kind == "TRANSPOSE_CONV":
        # Inputs: output shape, weights (out, height, width, in), feature map.
        return prod(inputs[-1][:3]) * prod(inputs[1])
    return 0
