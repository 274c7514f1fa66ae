"""Layer after layer: what the quantized network has computed so far decides how the next weights are rounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..exporters import tensorflow
from ..ir import graph as g
from . import fitting
from .calibrate import Images, Real, fake_quantize
from .plan import Plan, QuantizedConv, fused_activation, result_of

_BATCH = 8


@dataclass(frozen=True)
class Step:
    """A node's result in the float network and in the quantized one, over all images."""

    node: g.Node
    true: Real
    coded: Real
    alone: Real
    """What the quantized operator makes of the float network's own maps: its own share of the error."""


def quantize(plan: Plan, images: Images, weight: Real, progress: Callable[[str], object] = lambda name: None) -> Plan:
    """The plan with integers for its convolutions, fitted to images (n, height, width, 3).

    `weight` (n, rows, columns): how much each part of an image counts.
    """
    convs: dict[str, QuantizedConv] = {}

    def fit(conv: g.Conv, true: Real, coded: Real, wanted: Real) -> None:
        rectified = fused_activation(plan.graph, conv) is not None
        convs[conv.name] = fitting.layer(conv, coded, wanted, weight, rectified)
        progress(conv.name)

    for _ in _run(replace(plan, convs=convs), images, fit, False):
        pass
    return replace(plan, convs=convs)


def compare(plan: Plan, images: Images) -> Iterator[Step]:
    """Every stored map of the quantized network beside that of the float one."""
    yield from _run(plan, images, None, True)


def results(plan: Plan, images: Images) -> dict[str, Real]:
    """Heatmaps and PAFs of the quantized network, by the names of their nodes."""
    graph = plan.graph
    last_use = {source: name for name, node in graph.nodes.items() for source in node.inputs}
    coded: dict[str, Real] = {graph.input.name: images.astype(np.float32)}
    for name, node in graph.nodes.items():
        if not isinstance(node, g.Input):
            coded[name] = _stored(plan, name, _apply(_coded(plan, node), [coded[i] for i in node.inputs]))
        for source in {i for i in node.inputs if last_use[i] == name}:
            del coded[source]
    return coded


def _run(
    plan: Plan,
    images: Images,
    fit: Callable[[g.Conv, Real, Real, Real], None] | None,
    alone: bool,
) -> Iterator[Step]:
    """Both networks, operator by operator; maps are dropped once nothing reads them any more."""
    graph = plan.graph
    last_use = {source: name for name, node in graph.nodes.items() for source in node.inputs}
    true: dict[str, Real] = {}
    coded: dict[str, Real] = {}
    own: dict[str, Real] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, g.Input):
            true[name] = coded[name] = own[name] = images.astype(np.float32)
            continue
        true[name] = _apply(node, [true[i] for i in node.inputs])
        if isinstance(node, g.Conv) and fit is not None and result_of(graph, node) not in plan.floats:
            fit(node, true[node.inputs[0]], coded[node.inputs[0]], true[name])
        quantized = _coded(plan, node)
        coded[name] = _stored(plan, name, _apply(quantized, [coded[i] for i in node.inputs]))
        if alone:
            # A ReLU belongs to the convolution before it: their error is one.
            fused = isinstance(node, g.Activation) and node.kind != "elu"
            sources = [own[i] if fused else true[i] for i in node.inputs]
            own[name] = _stored(plan, name, _apply(quantized, sources))
            if name in plan.maps:
                yield Step(node, true[name], coded[name], own[name])
        for source in {i for i in node.inputs if last_use[i] == name}:
            for table in (true, coded, own):
                table.pop(source, None)


def _coded(plan: Plan, node: g.Node) -> g.Node:
    if not isinstance(node, g.Conv) or node.name not in plan.convs:
        return node
    code = plan.convs[node.name]
    return replace(node, kernel=code.real(node.depthwise), bias=code.bias.astype(np.float32))


def _stored(plan: Plan, name: str, values: Real) -> Real:
    if name not in plan.maps or plan.passed_on_as_float(name):
        return values
    return fake_quantize(values, plan.maps[name])


def _apply(node: g.Node, inputs: list[Real]) -> Real:
    """An operator on all images, a batch at a time."""
    starts = range(0, len(inputs[0]), _BATCH)
    parts = [tensorflow.apply(node, [x[start : start + _BATCH] for x in inputs]) for start in starts]
    return np.concatenate([np.asarray(part) for part in parts])
