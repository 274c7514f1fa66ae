"""Layer-wise reconstruction: run the float and the quantized network side by side, one operator at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..exporters import tensorflow
from ..ir import graph as g
from . import fitting
from .calibrate import Images, Real, fake_quantize
from .plan import Plan, QuantizedConv, fused_activation, result_of

_BATCH_SIZE = 8


@dataclass(frozen=True)
class LayerComparison:
    """Results of one node in the float and in the quantized network, float32 (n, rows, columns, channels)."""

    node: g.Node
    float_map: Real
    quantized_map: Real
    """With the quantization errors of all operators up to this one."""
    isolated_map: Real
    """Result of the quantized operator for the float network's maps: only the error of this operator."""


def fit_layers(
    plan: Plan, images: Images, sample_weight: Real, progress: Callable[[str], object] = lambda name: None
) -> Plan:
    """Fit the integer weights of all convolutions, from the first to the last.

    Each convolution is fitted to what the quantized layers before it compute, so it also corrects their errors.

    Args:
        plan: Plan with the quantization parameters of all maps. Convolutions in `Plan.floats` are not fitted.
        images: Calibration images (n, height, width, 3), uint8.
        sample_weight: Importance of each part of each image, (n, rows, columns).
        progress: Called with the name of each convolution that was fitted.
    """
    graph = plan.graph
    unused = _find_unused_maps(graph)
    float_maps: dict[str, Real] = {graph.input.name: images.astype(np.float32)}
    quantized_maps = dict(float_maps)
    convs: dict[str, QuantizedConv] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, g.Input):
            continue
        float_maps[name] = _run_operator(node, float_maps)
        if isinstance(node, g.Conv) and result_of(graph, node) not in plan.floats:
            has_relu = fused_activation(graph, node) is not None
            source = quantized_maps[node.inputs[0]]
            convs[name] = fitting.layer(node, source, float_maps[name], sample_weight, has_relu)
            progress(name)
        quantized_maps[name] = _run_quantized_operator(plan, node, convs.get(name), quantized_maps)
        for maps in (float_maps, quantized_maps):
            _delete_maps(maps, unused[name])
    return replace(plan, convs=convs)


def compare_layers(plan: Plan, images: Images) -> Iterator[LayerComparison]:
    """Run both networks and compare every stored map, in the order of the graph."""
    graph = plan.graph
    unused = _find_unused_maps(graph)
    float_maps: dict[str, Real] = {graph.input.name: images.astype(np.float32)}
    quantized_maps, isolated_maps = dict(float_maps), dict(float_maps)
    for name, node in graph.nodes.items():
        if isinstance(node, g.Input):
            continue
        conv = plan.convs.get(name)
        float_maps[name] = _run_operator(node, float_maps)
        quantized_maps[name] = _run_quantized_operator(plan, node, conv, quantized_maps)
        # A ReLU is fused with the convolution before it, so their errors are counted together.
        is_fused = isinstance(node, g.Activation) and node.kind != "elu"
        isolated_maps[name] = _run_quantized_operator(plan, node, conv, isolated_maps if is_fused else float_maps)
        if name in plan.maps:
            yield LayerComparison(node, float_maps[name], quantized_maps[name], isolated_maps[name])
        for maps in (float_maps, quantized_maps, isolated_maps):
            _delete_maps(maps, unused[name])


def results(plan: Plan, images: Images) -> dict[str, Real]:
    """Run the quantized network on images and return heatmaps and PAFs by the names of their nodes.

    The network is simulated in float32. Maps without quantization parameters and convolutions without integer weights
    are computed as in the float network.
    """
    graph = plan.graph
    unused = _find_unused_maps(graph)
    maps: dict[str, Real] = {graph.input.name: images.astype(np.float32)}
    for name, node in graph.nodes.items():
        if not isinstance(node, g.Input):
            maps[name] = _run_quantized_operator(plan, node, plan.convs.get(name), maps)
        _delete_maps(maps, unused[name])
    return maps


def _find_unused_maps(graph: g.Graph) -> dict[str, set[str]]:
    """Find, for every node, the maps that no later node reads; they are deleted to save memory."""
    last_reader = {source: name for name, node in graph.nodes.items() for source in node.inputs}
    return {name: {i for i in node.inputs if last_reader[i] == name} for name, node in graph.nodes.items()}


def _delete_maps(maps: dict[str, Real], names: Iterable[str]) -> None:
    for name in names:
        del maps[name]


def _run_quantized_operator(plan: Plan, node: g.Node, conv: QuantizedConv | None, maps: dict[str, Real]) -> Real:
    """Run an operator on quantized maps and quantize its result if it is stored as integers.

    `conv`: the integer weights of a convolution, None for a float convolution or another operator.
    """
    if isinstance(node, g.Conv) and conv is not None:
        node = replace(node, kernel=conv.real(node.depthwise), bias=conv.bias.astype(np.float32))
    result = _run_operator(node, maps)
    if node.name not in plan.maps or plan.passed_on_as_float(node.name):
        return result
    return fake_quantize(result, plan.maps[node.name])


def _run_operator(node: g.Node, maps: dict[str, Real]) -> Real:
    """Run an operator on all images, in batches."""
    inputs = [maps[i] for i in node.inputs]
    starts = range(0, len(inputs[0]), _BATCH_SIZE)
    parts = [tensorflow.apply(node, [x[start : start + _BATCH_SIZE] for x in inputs]) for start in starts]
    return np.concatenate([np.asarray(part) for part in parts])
