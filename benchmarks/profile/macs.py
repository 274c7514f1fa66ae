"""Multiply-accumulates of a loaded network, from the shapes of its operators' tensors."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from ...runtime.model.interpreter import Network


class Described(NamedTuple):
    """An operator: kind, name of its first output, multiply-accumulates, and bytes it reads and writes."""

    kind: str
    name: str
    macs: int
    bytes: int
    integer: bool
    """Whether its first input is whole numbers."""


def operators(network: Network) -> list[Described]:
    """The operators of a network in order."""
    found = []
    for kind, inputs, outputs in network.operators():
        first = outputs[0]
        moved = sum(prod(tensor.shape) * tensor.item_bytes for tensor in (*inputs, *outputs))
        shapes = [tensor.shape for tensor in inputs]
        found.append(Described(kind, first.name, _macs(kind, shapes, first.shape), moved, inputs[0].whole))
    return found


def _macs(kind: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> int:
    if kind == "CONV_2D" or kind == "FULLY_CONNECTED":
        return prod(output) * prod(inputs[1][1:])
    if kind == "DEPTHWISE_CONV_2D":
        return prod(output) * prod(inputs[1][1:3])
    if kind == "TRANSPOSE_CONV":
        # Weights (out, height, width, in), and the image comes last.
        return prod(inputs[-1][:3]) * prod(inputs[1])
    return 0
