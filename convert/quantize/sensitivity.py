"""Search for the layers that must stay in float32 so that a quantized network keeps its accuracy.

The unit of the search is a block: a chain of layers whose inner maps no other layer reads. A single float layer between
integer layers gains little, because its result is rounded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from ...runtime.errors import ModelError
from ...runtime.io.messages import iterate_with_progress
from ..ir import graph as g
from ..ir import macs
from . import layerwise
from .calibrate import FloatArray, ImageBatch
from .pipeline import CalibrationSet
from .plan import QuantizationPlan, find_stored_map

_MEASURED_IMAGES = 6
_CONVERSION_COST_MACS = 1e6
"""Cost of the conversions before and after a float block, added to its multiply-accumulates."""

Block = tuple[str, ...]
"""Names of the stored maps of a chain of layers."""


@dataclass(frozen=True)
class MixedPrecision:
    """Mixed-precision plan and its measured loss.

    Attributes:
        plan: Plan with some blocks in float32.
        flatbuffer: TFLite file of the plan.
        loss: Loss of accuracy, in the unit of the budget.
        blocks: Blocks in float32.
        measured_blocks: Number of blocks whose gain was measured.
    """

    plan: QuantizationPlan
    flatbuffer: bytes
    loss: float
    blocks: tuple[Block, ...] = ()
    measured_blocks: int = 0


def search_mixed_precision(
    start: MixedPrecision,
    calibration: CalibrationSet,
    size: tuple[int, int],
    assess: Callable[[QuantizationPlan], MixedPrecision],
    max_loss: float,
    note: Callable[[str], None],
) -> MixedPrecision:
    """Search the plan with the fewest float blocks whose loss is at most `max_loss`.

    Blocks are added in the order of their gain per cost. The number of blocks is doubled until the loss is small enough
    and then reduced by binary search. If no plan is good enough, the one with the smallest loss is returned.

    Args:
        start: The plan with all layers in int8.
        calibration: Images to measure the gain of each block on.
        size: Width and height of the network's input in pixels.
        assess: Writes the file of a plan and measures its loss.
        max_loss: Largest allowed loss, in the unit of `assess`.
        note: Called with messages for the user.
    """
    note(f"everything in int8 loses {start.loss:.4f}; the limit is {max_loss:.4f}")
    if start.loss <= max_loss:
        return start
    order = _rank_blocks(start.plan, calibration, size)
    assessed: dict[int, MixedPrecision] = {0: start}

    def is_good_enough(count: int) -> bool:
        if count not in assessed:
            blocks = tuple(order[:count])
            result = assess(keep_in_float(start.plan, _list_maps(blocks)))
            assessed[count] = replace(result, blocks=blocks, measured_blocks=len(order))
            note(f"{count} of {len(order)} blocks in float: loses {assessed[count].loss:.4f}")
        return assessed[count].loss <= max_loss

    count = 1
    while count < len(order) and not is_good_enough(count):
        count *= 2
    low, high = count // 2, min(count, len(order))
    if is_good_enough(high):
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if is_good_enough(middle) else (middle, high)
    good = [mix for mix in assessed.values() if mix.loss <= max_loss]
    return min(good, key=lambda mix: len(mix.blocks)) if good else min(assessed.values(), key=lambda mix: mix.loss)


def _rank_blocks(plan: QuantizationPlan, calibration: CalibrationSet, size: tuple[int, int]) -> list[Block]:
    """Sort all blocks by the error that their float form removes, per cost in multiply-accumulates; best first."""
    images, _ = calibration.select_fit_images(_MEASURED_IMAGES)

    def run(plan: QuantizationPlan) -> list[FloatArray]:
        return _run_network(plan, images, calibration.keypoint_count)

    float_outputs = run(replace(plan, convs={}, map_params={}))
    int8_error = _compute_error(float_outputs, run(plan))
    sizes = macs.compute_sizes(plan.graph, size[1], size[0])
    block_macs: dict[str, int] = {}
    for conv in plan.graph.nodes.values():
        if isinstance(conv, g.Conv):
            rows, columns = sizes[conv.name]
            block_macs[find_stored_map(plan.graph, conv)] = rows * columns * conv.kernel.size
    gains: dict[Block, float] = {}
    for block in iterate_with_progress(_find_blocks(plan.graph), "measuring blocks", "block"):
        gain = int8_error - _compute_error(float_outputs, run(keep_in_float(plan, block)))
        gains[block] = gain / (sum(block_macs.get(name, 0) for name in block) + _CONVERSION_COST_MACS)
    if not gains:
        raise ModelError("the network has no convolutions; --precision auto needs at least one")
    return sorted(gains, key=lambda block: -gains[block])


def _find_blocks(graph: g.Graph) -> list[Block]:
    """Find chains of convolutions and activations; a chain ends at a map that several operators read."""
    chain_of: dict[str, list[str]] = {}
    chains: list[list[str]] = []
    for node in graph.nodes.values():
        name = find_stored_map(graph, node)
        if name in chain_of or not isinstance(node, g.Conv | g.Activation):
            continue
        source = node.inputs[0]
        if source in chain_of and len(graph.find_consumers(source)) == 1:
            chain_of[name] = chain_of[source]
        elif isinstance(node, g.Conv):
            chain_of[name] = []
            chains.append(chain_of[name])
        else:
            continue
        chain_of[name].append(name)
    return [tuple(chain) for chain in chains]


def _list_maps(blocks: Iterable[Block]) -> frozenset[str]:
    return frozenset(name for block in blocks for name in block)


def keep_in_float(plan: QuantizationPlan, floats: Iterable[str]) -> QuantizationPlan:
    """Return the plan with more stored maps, and the convolutions that compute them, in float32.

    Args:
        plan: Plan; its float maps stay float.
        floats: Names of the stored maps to compute in float32.
    """
    all_floats = plan.float_maps | frozenset(floats)
    graph = plan.graph
    convs = {
        name: conv for name, conv in plan.convs.items() if find_stored_map(graph, graph.nodes[name]) not in all_floats
    }
    return replace(plan, convs=convs, float_maps=all_floats)


def _run_network(plan: QuantizationPlan, images: ImageBatch, keypoint_count: int) -> list[FloatArray]:
    """Simulate the quantized network and return keypoint heatmaps (without background) and PAFs."""
    maps = layerwise.run_quantized_network(plan, images)
    return [maps[plan.graph.heatmaps][..., :keypoint_count], maps[plan.graph.pafs]]


def _compute_error(targets: list[FloatArray], outputs: list[FloatArray]) -> float:
    """Compute noise power divided by signal power, summed over heatmaps and PAFs."""
    return sum(float(np.mean((a - b) ** 2) / np.mean(a**2)) for a, b in zip(targets, outputs, strict=True))
