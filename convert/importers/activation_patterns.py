"""Recognition of activation functions that a file writes as several operators: swish, hard_swish, PReLU, leaky ReLU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..ir import graph as g

_TOLERANCE = 1e-5


@dataclass(frozen=True)
class ScaledActivation:
    """Activation of the map `source`, times `scale`."""

    source: str
    kind: g.ActivationKind
    scale: float = 1.0
    alpha: g.Array | None = None


def match_product(nodes: Mapping[str, g.Node], maps: tuple[str, ...]) -> ScaledActivation | None:
    """Recognize the product of a map and its gate: swish or hard_swish. Return None if it is anything else."""
    for first, second in (maps, maps[::-1]):
        gate, gate_scale = _list_scaled(nodes, second)[-1]
        node = nodes[gate]
        if not isinstance(node, g.Activation) or gate_scale.size != 1:
            continue
        for source, scale in _list_scaled(nodes, first):
            factor = float((scale * gate_scale).item()) if scale.size == 1 else None
            if factor is None:
                break
            for inner, slope in _list_scaled(nodes, node.inputs[0]) if node.kind == "sigmoid" else ():
                # x * sigmoid(b * x) is swish(b * x) / b.
                if inner == source and slope.size == 1 and slope.item() != 0:
                    is_plain = slope.item() == 1
                    return ScaledActivation(source if is_plain else node.inputs[0], "swish", factor / slope.item())
            if node.kind == "relu6" and (height := _match_ramp(nodes, node, source)) is not None:
                return ScaledActivation(source, "hard_swish", factor * height)
    return None


def match_sum(nodes: Mapping[str, g.Node], maps: tuple[str, ...]) -> ScaledActivation | None:
    """Recognize `relu(x) - alpha * relu(-x)`: PReLU or leaky ReLU. Return None if it is anything else."""
    for first, second in (maps, maps[::-1]):
        positive = nodes[first]
        if not (isinstance(positive, g.Activation) and positive.kind == "relu"):
            continue
        name, slope = _list_scaled(nodes, second)[-1]
        negative = nodes[name]
        if not (isinstance(negative, g.Activation) and negative.kind == "relu"):
            continue
        mirrored = _list_scaled(nodes, negative.inputs[0])
        if any(source == positive.inputs[0] and np.all(scale == -1) for source, scale in mirrored):
            return ScaledActivation(positive.inputs[0], "prelu", 1.0, -slope)
    return None


def match_maximum(nodes: Mapping[str, g.Node], maps: tuple[str, ...]) -> ScaledActivation | None:
    """Recognize `maximum(x, alpha * x)`: leaky ReLU. Return None if it is anything else."""
    for first, second in (maps, maps[::-1]):
        for source, slope in _list_scaled(nodes, second)[1:]:
            if source == first and np.all((slope >= 0) & (slope <= 1)):
                kind: g.ActivationKind = "leaky_relu" if slope.size == 1 else "prelu"
                return ScaledActivation(source, kind, 1.0, slope)
    return None


def _list_scaled(nodes: Mapping[str, g.Node], name: str) -> list[tuple[str, g.Array]]:
    """Return the maps whose multiple a map is, from the map itself to the farthest, with their factors."""
    found = [(name, np.ones(1, np.float32))]
    while isinstance(node := nodes[found[-1][0]], g.Affine) and not np.any(node.offset):
        found.append((node.inputs[0], np.asarray(found[-1][1] * node.scale, np.float32)))
    return found


def _match_ramp(nodes: Mapping[str, g.Node], gate: g.Activation, source: str) -> float | None:
    """Return the height of a gate that limits a line through `source`, in the form of hard_swish."""
    cap = 6.0 if gate.cap is None else float(gate.cap.flat[0])
    scale, offset, name = 1.0, 0.0, gate.inputs[0]
    while name != source:
        node = nodes[name]
        if not isinstance(node, g.Affine) or node.scale.size != 1 or node.offset.size != 1:
            return None
        offset += scale * node.offset.item()
        scale *= node.scale.item()
        name = node.inputs[0]
    # hard_swish: the gate is cap * clip(x / 6 + 1 / 2, 0, 1).
    if abs(scale - cap / 6) < _TOLERANCE * cap and abs(offset - cap / 2) < _TOLERANCE * cap:
        return cap
    return None
