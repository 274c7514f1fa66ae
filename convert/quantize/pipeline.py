"""From a folded float graph to a plan: equalize, observe, choose codes, round the weights layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from tqdm import tqdm

from ...runtime.errors import ModelError
from ..exporters import tensorflow
from ..ir import graph as g
from . import layerwise
from .calibrate import Images, Real, codes, observe
from .cross_layer_equalization import equalized
from .plan import Plan, stored

_FITTED = 24
"""Images that the weights are fitted to, those that show most of people."""
_HELD_OUT = 12
"""Images that decide between two plans."""
_RARE = (1.0, 0.5)
"""Shares of the largest value of a channel that are tried, see `MapStatistics.peaks`."""
_EXACT = 1e-4
"""How much the preparation may change the float network's maps, of their largest value."""
_SOMEBODY = 0.4
"""How strong a keypoint or limb must be for somebody to be there."""
_BACKGROUND = 0.3
"""What a place without a person counts, beside one with."""


@dataclass(frozen=True)
class Calibration:
    """Images (n, height, width, 3), and how much of a person the float network sees at every cell, 0 to 1."""

    images: Images
    presence: Real

    @property
    def people(self) -> int:
        """How many of the images show somebody."""
        return int((self.presence.max(axis=(1, 2)) > _SOMEBODY).sum())

    def others(self, count: int = _HELD_OUT) -> Images:
        """The images that come next after the chosen ones; those themselves where there are no more."""
        order = np.argsort(-self.presence.sum(axis=(1, 2)), kind="stable")
        return self.images[order[_FITTED:][:count] if len(order) > _FITTED else order[:count]]

    def chosen(self, count: int = _FITTED) -> tuple[Images, Real]:
        """The images that show most of people, and how much each part of them counts (n, rows, columns)."""
        order = np.argsort(-self.presence.sum(axis=(1, 2)), kind="stable")[:count]
        around = np.ones((3, 3), np.uint8)
        weight = [_BACKGROUND + cv2.dilate((self.presence[i] > 0.1).astype(np.float32), around) for i in order]
        return self.images[order], np.stack(weight).astype(np.float32)


@dataclass(frozen=True)
class Fitted:
    """An equalized graph, the largest change of its float maps (of their range), its calibration and its int plan."""

    graph: g.Graph
    change: float
    seen: Calibration
    plan: Plan


def fit_network(graph: g.Graph, images: Images, kind: Literal["int8", "int16"]) -> Fitted:
    """The plan of a folded graph that is best on images with people that it was not fitted to.

    Whether channels should share a scale by their largest or by their usual values differs from network to network
    (see `MapStatistics.peaks`): both are tried.
    """
    with tqdm(total=len(images), desc="measuring ranges", unit="image", disable=None) as progress:
        statistics = observe(graph, images, progress.update)
    seen = look_for_people(graph, images)
    others = seen.others()
    wanted = _maps(graph, others)
    best, least = None, np.inf
    for rare in _RARE if kind == "int8" else _RARE[:1]:
        prepared = equalized(graph, statistics, rare)
        change = _change(graph, prepared, images[:2])
        plan = plan_of(prepared, seen, kind)
        results = layerwise.results(plan, others)
        error = sum(
            float(np.mean(np.square(results[name] - true)) / np.mean(np.square(true)))
            for name, true in zip((prepared.heatmaps, prepared.pafs), wanted, strict=True)
        )
        if best is None or error < least:
            best, least = Fitted(prepared, change, seen, plan), error
    assert best is not None
    return best


def _change(graph: g.Graph, prepared: g.Graph, images: Images) -> float:
    """Raises ModelError where the two are not the same function."""
    pairs = zip(_maps(graph, images), _maps(prepared, images), strict=True)
    change = max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)
    if not change < _EXACT:
        raise ModelError(f"equalization changed the maps by {change:.1e} of their range; {_EXACT:.0e} is allowed")
    return change


def plan_of(graph: g.Graph, calibration: Calibration, kind: Literal["int8", "int16"]) -> Plan:
    """The plan of a prepared graph; in 16 bits the ELUs are left in float32, having no other form."""
    chosen, weight = calibration.chosen()
    maps = codes(graph, observe(graph, calibration.images), kind)
    elus = frozenset(name for name in stored(graph) if _is_elu(graph, name))
    empty = Plan(graph, maps, {}, elus if kind == "int16" else frozenset())
    count = sum(isinstance(node, g.Conv) for node in graph.nodes.values())
    with tqdm(total=count, desc="rounding weights", unit="layer", disable=None) as progress:
        return layerwise.quantize(empty, chosen, weight, lambda name: progress.update())


def look_for_people(graph: g.Graph, images: Images) -> Calibration:
    """Runs the float network over the images to see where people are."""
    return Calibration(images, np.concatenate([_presence(graph, images[i : i + 8]) for i in range(0, len(images), 8)]))


def _presence(graph: g.Graph, images: Images) -> Real:
    heatmaps, pafs = _maps(graph, images)
    presence = np.maximum(np.clip(heatmaps[..., :-1], 0, 1).max(-1), np.clip(np.abs(pafs), 0, 1).max(-1))
    return np.asarray(presence, np.float32)


def _maps(graph: g.Graph, images: Images) -> tuple[Real, Real]:
    results = tensorflow.build(graph, images.astype(np.float32))
    return np.asarray(results[graph.heatmaps]), np.asarray(results[graph.pafs])


def _is_elu(graph: g.Graph, name: str) -> bool:
    node = graph.nodes[name]
    return isinstance(node, g.Activation) and node.kind == "elu"
