"""Which layers to leave in float so that a network loses no more than it may: found by measuring, not by a list.

What is left in float is a block: layers in a row that nothing else reads from. A single layer in float between integers
gains little, because what it passes on is rounded all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from ...runtime.errors import ModelError
from ..ir import graph as g
from ..ir import macs
from . import layerwise
from .calibrate import Images, Real
from .pipeline import Calibration
from .plan import Plan, result_of

_IMAGES = 6
_FLOAT_COST = 1e6
"""What a block in float costs beside its multiply-accumulates, in the same unit: the conversions around it."""

Block = tuple[str, ...]
"""Names of the stored maps of layers in a row."""


@dataclass(frozen=True)
class Mixed:
    """A plan with some blocks in float, the file it makes and what that loses, and how many blocks were measured."""

    plan: Plan
    flatbuffer: bytes
    loss: float
    blocks: tuple[Block, ...] = ()
    measured: int = 0


def search_mixed_precision(
    start: Mixed,
    calibration: Calibration,
    size: tuple[int, int],
    assess: Callable[[Plan], Mixed],
    max_loss: float,
    note: Callable[[str], None],
) -> Mixed:
    """The plan with the fewest blocks in float that loses at most `max_loss`; `start` has all in int8.

    Blocks are taken in the order of what they gain for what they cost. Where no plan is good enough, the one that loses
    least. `size`: width and height of the input. `assess`: writes a plan and measures its loss.
    """
    note(f"everything in int8 loses {start.loss:.4f}, at most {max_loss:.4f} is wanted")
    if start.loss <= max_loss:
        return start
    order = ranked(start.plan, calibration, size)
    found: dict[int, Mixed] = {0: start}

    def enough(count: int) -> bool:
        if count not in found:
            first = tuple(order[:count])
            found[count] = replace(assess(in_float(start.plan, names(first))), blocks=first, measured=len(order))
            note(f"{count} of {len(order)} blocks in float: loses {found[count].loss:.4f}")
        return found[count].loss <= max_loss

    count = 1
    while count < len(order) and not enough(count):
        count *= 2
    low, high = count // 2, min(count, len(order))
    while high - low > 1 and enough(high):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    good = [mix for mix in found.values() if mix.loss <= max_loss]
    return min(good, key=lambda mix: len(mix.blocks)) if good else min(found.values(), key=lambda mix: mix.loss)


def ranked(plan: Plan, calibration: Calibration, size: tuple[int, int]) -> list[Block]:
    """All blocks, first those whose float form gains most for what it costs."""
    some, _ = calibration.chosen(_IMAGES)
    wanted = outputs(replace(plan, convs={}, maps={}), some)
    whole = _error(wanted, outputs(plan, some))
    known = macs.sizes(plan.graph, size[1], size[0])
    work: dict[str, int] = {}
    for conv in plan.graph.nodes.values():
        if isinstance(conv, g.Conv):
            rows, columns = known[conv.name]
            work[result_of(plan.graph, conv)] = rows * columns * conv.kernel.size
    gains: dict[Block, float] = {}
    for block in tqdm(blocks(plan.graph), desc="measuring blocks", unit="block", disable=None):
        gain = whole - _error(wanted, outputs(in_float(plan, block), some))
        gains[block] = gain / (sum(work.get(name, 0) for name in block) + _FLOAT_COST)
    if not gains:
        raise ModelError("the network has no convolutions")
    return sorted(gains, key=lambda block: -gains[block])


def blocks(graph: g.Graph) -> list[Block]:
    """Convolutions in a row, with the activations between them; where two read a map, rows end and begin."""
    inside: dict[str, list[str]] = {}
    found: list[list[str]] = []
    for node in graph.nodes.values():
        name = result_of(graph, node)
        if name in inside or not isinstance(node, g.Conv | g.Activation):
            continue
        source = node.inputs[0]
        if source in inside and len(graph.consumers(source)) == 1:
            inside[name] = inside[source]
        elif isinstance(node, g.Conv):
            inside[name] = []
            found.append(inside[name])
        else:
            continue
        inside[name].append(name)
    return [tuple(block) for block in found]


def names(chosen: Iterable[Block]) -> frozenset[str]:
    """The stored maps of some blocks."""
    return frozenset(name for block in chosen for name in block)


def in_float(plan: Plan, floats: Iterable[str]) -> Plan:
    """The plan with some stored maps, and the convolutions that make them, in float32 beside those that were."""
    every = plan.floats | frozenset(floats)
    convs = {
        name: code for name, code in plan.convs.items() if result_of(plan.graph, plan.graph.nodes[name]) not in every
    }
    return replace(plan, convs=convs, floats=every)


def outputs(plan: Plan, images: Images) -> list[Real]:
    """Heatmaps and PAFs of the quantized network, as simulated; a map without a code stays real."""
    found = layerwise.results(plan, images)
    return [found[plan.graph.heatmaps][..., :-1], found[plan.graph.pafs]]


def _error(wanted: list[Real], got: list[Real]) -> float:
    """Noise power over signal power, both outputs together."""
    return sum(float(np.mean((a - b) ** 2) / np.mean(a**2)) for a, b in zip(wanted, got, strict=True))
