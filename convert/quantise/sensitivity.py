"""Which layers to leave in float so that a network loses no more than it may: found by measuring, not by a list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from edgepose.runtime.errors import ModelError

from .. import graph as g
from .. import macs
from . import layerwise
from .calibrate import Pictures, Real
from .pipeline import Calibration, plan_of
from .plan import Plan, result_of

_PICTURES = 6
_FLOAT_COST = 1e6
"""What a layer in float costs beside its multiply-accumulates, in the same unit: the conversions around it."""


@dataclass(frozen=True)
class Mixed:
    """A plan with some layers in float, what it loses, and how many layers were measured."""

    plan: Plan
    loss: float
    measured: int


def mixed(
    start: Plan,
    calibration: Calibration,
    size: tuple[int, int],
    loss: Callable[[Plan], float],
    max_loss: float,
    note: Callable[[str], None],
) -> Mixed:
    """The plan with the fewest layers in float whose `loss` is at most `max_loss`; `start` has all in int8.

    Layers are taken in the order of what they gain for what they cost. Where no plan is good enough, the one that loses
    least. `size`: width and height of the input.
    """
    best = Mixed(start, loss(start), 0)
    note(f"everything in int8 loses {best.loss:.4f}, at most {max_loss:.4f} is wanted")
    if best.loss <= max_loss:
        return best
    order = ranked(best.plan, calibration, size)
    found: dict[int, Mixed] = {0: best}

    def attempt(count: int) -> Mixed:
        if count not in found:
            plan = plan_of(start.graph, calibration, "int8", frozenset(order[:count]))
            found[count] = Mixed(plan, loss(plan), len(order))
            note(f"{count} layers in float: loses {found[count].loss:.4f}")
        return found[count]

    count = 1
    while count < len(order) and attempt(count).loss > max_loss:
        count *= 2
    low, high = count // 2, min(count, len(order))
    while high - low > max(1, high // 8) and attempt(high).loss <= max_loss:
        middle = (low + high) // 2
        low, high = (low, middle) if attempt(middle).loss <= max_loss else (middle, high)
    enough = [mix for mix in found.values() if mix.loss <= max_loss]
    if enough:
        return min(enough, key=lambda mix: len(mix.plan.floats))
    return min(found.values(), key=lambda mix: mix.loss)


def ranked(plan: Plan, calibration: Calibration, size: tuple[int, int]) -> list[str]:
    """The results of all convolutions, first those whose float form gains most for what it costs."""
    some, _ = calibration.chosen(_PICTURES)
    wanted = outputs(replace(plan, convs={}, maps={}), some)
    whole = _error(wanted, outputs(plan, some))
    known = macs.sizes(plan.graph, size[1], size[0])
    gains = {}
    convs = [node for node in plan.graph.nodes.values() if isinstance(node, g.Conv)]
    for conv in tqdm(convs, desc="measuring layers", unit="layer", disable=None):
        name = result_of(plan.graph, conv)
        without = {key: code for key, code in plan.convs.items() if key != conv.name}
        trial = replace(plan, convs=without, maps={key: code for key, code in plan.maps.items() if key != name})
        rows, columns = known[conv.name]
        gains[name] = (whole - _error(wanted, outputs(trial, some))) / (rows * columns * conv.kernel.size + _FLOAT_COST)
    if not gains:
        raise ModelError("the network has no convolutions")
    return sorted((name for name in gains if gains[name] > 0), key=lambda name: -gains[name])


def outputs(plan: Plan, pictures: Pictures) -> list[Real]:
    """Heatmaps and PAFs of the quantised network, as simulated; a map without a code stays real."""
    found = layerwise.results(plan, pictures)
    return [found[plan.graph.heatmaps][..., :-1], found[plan.graph.pafs]]


def _error(wanted: list[Real], got: list[Real]) -> float:
    """Noise power over signal power, both outputs together."""
    return sum(float(np.mean((a - b) ** 2) / np.mean(a**2)) for a, b in zip(wanted, got, strict=True))
