"""Layer-wise reconstruction: run the float and the quantized network side by side, one operator at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..exporters import tensorflow
from ..ir import graph as g
from . import fitting
from .calibrate import FloatArray, ImageBatch, fake_quantize
from .plan import QuantizationPlan, QuantizedConv, find_fused_activation, find_stored_map

_BATCH_SIZE = 8


@dataclass(frozen=True)
class LayerComparison:
    """Results of one node in the float and in the quantized network, float32 (n, rows, columns, channels)."""

    node: g.Node
    float_map: FloatArray
    quantized_map: FloatArray
    """With the quantization errors of all operators up to this one."""
    isolated_map: FloatArray
    """Result of the quantized operator for the float network's maps: only the error of this operator."""


def fit_layers(
    plan: QuantizationPlan,
    images: ImageBatch,
    sample_weight: FloatArray,
    progress: Callable[[str], object] = lambda name: None,
) -> QuantizationPlan:
    """Fit the integer weights of all convolutions, from the first to the last.

    Each convolution is fitted to what the quantized layers before it compute, so it also corrects their errors.

    Args:
        plan: Plan with the quantization parameters of all maps. Convolutions in `float_maps` are not fitted.
        images: Calibration images (n, height, width, 3), uint8.
        sample_weight: Importance of each part of each image, (n, rows, columns).
        progress: Called with the name of each convolution that was fitted.
    """
    graph = plan.graph
    unused = _find_unused_maps(graph)
    float_maps: dict[str, FloatArray] = {graph.input.name: images.astype(np.float32)}
    quantized_maps = dict(float_maps)
    convs: dict[str, QuantizedConv] = {}
    for name, node in graph.nodes.items():
        if isinstance(node, g.Input):
            continue
        float_maps[name] = _run_operator(node, float_maps)
        if isinstance(node, g.Conv) and find_stored_map(graph, node) not in plan.float_maps:
            has_relu = find_fused_activation(graph, node) is not None
            source = quantized_maps[node.inputs[0]]
            convs[name] = fitting.fit_conv(node, source, float_maps[name], sample_weight, has_relu)
            progress(name)
        quantized_maps[name] = _run_quantized_operator(plan, node, convs.get(name), quantized_maps)
        for maps in (float_maps, quantized_maps):
            _delete_maps(maps, unused[name])
    return replace(plan, convs=convs)


def compare_layers(plan: QuantizationPlan, images: ImageBatch) -> Iterator[LayerComparison]:
    """Run both networks and compare every stored map, in the order of the graph."""
    graph = plan.graph
    unused = _find_unused_maps(graph)
    float_maps: dict[str, FloatArray] = {graph.input.name: images.astype(np.float32)}
    quantized_maps, isolated_maps = dict(float_maps), dict(float_maps)
    for name, node in graph.nodes.items():
        if isinstance(node, g.Input):
            continue
        conv = plan.convs.get(name)
        float_maps[name] = _run_operator(node, float_maps)
        quantized_maps[name] = _run_quantized_operator(plan, node, conv, quantized_maps)
        # A ReLU is fused with the convolution before it, so their errors are counted together.
        is_fused = isinstance(node, g.Activation) and node.is_fusable
        isolated_maps[name] = _run_quantized_operator(plan, node, conv, isolated_maps if is_fused else float_maps)
        if name in plan.map_params:
            yield LayerComparison(node, float_maps[name], quantized_maps[name], isolated_maps[name])
        for maps in (float_maps, quantized_maps, isolated_maps):
            _delete_maps(maps, unused[name])


def run_quantized_network(plan: QuantizationPlan, images: ImageBatch) -> dict[str, FloatArray]:
    """Run the quantized network on images and return heatmaps and PAFs by the names of their nodes.

    The network is simulated in float32. Maps without quantization parameters and convolutions without integer weights
    are computed as in the float network.
    """
    graph = plan.graph
    unused = _find_unused_maps(graph)
    maps: dict[str, FloatArray] = {graph.input.name: images.astype(np.float32)}
    for name, node in graph.nodes.items():
        if not isinstance(node, g.Input):
            maps[name] = _run_quantized_operator(plan, node, plan.convs.get(name), maps)
        _delete_maps(maps, unused[name])
    return maps


def _find_unused_maps(graph: g.Graph) -> dict[str, set[str]]:
    """Find, for every node, the maps that no later node reads; they are deleted to save memory."""
    last_reader = {source: name for name, node in graph.nodes.items() for source in node.inputs}
    return {name: {i for i in node.inputs if last_reader[i] == name} for name, node in graph.nodes.items()}


def _delete_maps(maps: dict[str, FloatArray], names: Iterable[str]) -> None:
    for name in names:
        del maps[name]


def _run_quantized_operator(
    plan: QuantizationPlan, node: g.Node, conv: QuantizedConv | None, maps: dict[str, FloatArray]
) -> FloatArray:
    """Run an operator on quantized maps and quantize its result if it is stored as integers.

    `conv`: the integer weights of a convolution, None for a float convolution or another operator.
    """
    if isinstance(node, g.Conv) and conv is not None:
        node = replace(node, kernel=conv.dequantize_kernel(node.depthwise), bias=conv.bias.astype(np.float32))
    result = _run_operator(node, maps)
    if node.name not in plan.map_params or plan.is_never_quantized(node.name):
        return result
    return fake_quantize(result, plan.map_params[node.name])


def _run_operator(node: g.Node, maps: dict[str, FloatArray]) -> FloatArray:
    """Run an operator on all images, in batches."""
    inputs = [maps[i] for i in node.inputs]
    starts = range(0, len(inputs[0]), _BATCH_SIZE)
    parts = [tensorflow.run_operator(node, [x[start : start + _BATCH_SIZE] for x in inputs]) for start in starts]
    return np.concatenate([np.asarray(part) for part in parts])
