"""What the float network's maps look like on real images, and the integer codes that follow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runtime.errors import ModelError
from ..exporters import tensorflow
from ..ir import graph as g
from .plan import Kind, QuantParams, map_code, same_code, stored

Images = npt.NDArray[np.uint8]
Real = npt.NDArray[np.float32]

_SAMPLES = 100_000
_SHARES = tuple(np.linspace(0.5, 1.0, 11))
_BELOW_ELU = tuple(np.linspace(0.05, 1.0, 20))
_USUAL = 0.75
"""Share of the images whose largest value of a channel its range should hold."""


@dataclass
class MapStatistics:
    """What is known of a stored map: least and largest value, largest of every channel image by image, a sample."""

    low: float = 0.0
    high: float = 0.0
    peaks_by_image: list[Real] = field(default_factory=list)
    sample: list[Real] = field(default_factory=list)

    def peaks(self, rare: float) -> Real:
        """A large value of every channel: the usual one, or `rare` of the largest if that is more.

        Few images have the largest, and all pay for it; but what is rare may be what matters.
        """
        found = np.concatenate(self.peaks_by_image)
        return np.asarray(np.maximum(np.quantile(found, _USUAL, axis=0), rare * found.max(axis=0)), np.float32)

    @property
    def values(self) -> Real:
        """The sample."""
        return np.concatenate(self.sample)


def observe(
    graph: g.Graph, images: Images, progress: Callable[[int], object] = lambda count: None
) -> dict[str, MapStatistics]:
    """Statistics of every stored map over images (n, height, width, 3)."""
    rng = np.random.default_rng(0)
    wanted = set(stored(graph))
    found: dict[str, MapStatistics] = {}
    batches = range(0, len(images), 8)

    def see(node: g.Node, value: Any) -> None:
        if node.name not in wanted:
            return
        array = np.asarray(value)
        sample = array.reshape(-1)[rng.integers(0, array.size, _SAMPLES // len(batches))]
        known = found.setdefault(node.name, MapStatistics())
        known.peaks_by_image.append(np.abs(array).max(axis=(1, 2)))
        known.low, known.high = min(known.low, float(array.min())), max(known.high, float(array.max()))
        known.sample.append(sample)

    for start in batches:
        part = images[start : start + 8]
        tensorflow.build(graph, part.astype(np.float32), observe=see)
        progress(len(part))
    return found


def codes(graph: g.Graph, statistics: Mapping[str, MapStatistics], kind: Kind) -> dict[str, QuantParams]:
    """The code of every stored map: ends of the least square error, one for maps that must share it."""
    found: dict[str, QuantParams] = {}
    shared = {name: group for group in same_code(graph) for name in group}
    for name in statistics:
        if name not in found:
            group = sorted(shared.get(name, {name}))
            found.update(dict.fromkeys(group, _searched(graph, group, statistics, kind)))
    found.pop(graph.input.name)
    return {**found, **image_code(graph)}


def image_code(graph: g.Graph) -> dict[str, QuantParams]:
    """The codes of the image and of the image less a constant: bytes stand for themselves.

    Raises ModelError where the constant is not the same whole number for all channels.
    """
    readers = graph.consumers(graph.input.name)
    if not (len(readers) == 1 and isinstance(affine := readers[0], g.Affine)):
        return {graph.input.name: QuantParams(1.0, -128, "int8")}
    scales, offsets = np.unique(affine.scale.astype(np.float64)), np.unique(affine.offset.astype(np.float64))
    if len(scales) == len(offsets) == 1:
        zero = -offsets[0] / scales[0]
        if abs(zero - round(zero)) < 0.02 and 0 <= round(zero) <= 255 and scales[0] > 0:
            return {affine.name: QuantParams(float(scales[0]), round(zero) - 128, "int8")}
    raise ModelError(
        f"{affine.name!r} adds {np.round(offsets, 3).tolist()} to the image: integers can only express one whole "
        "number for all channels; convert to float16 instead"
    )


def _searched(graph: g.Graph, group: list[str], statistics: Mapping[str, MapStatistics], kind: Kind) -> QuantParams:
    """Ends drawn in as far as the error of what is cut off allows, each by itself."""
    low, high = min(statistics[n].low for n in group), max(statistics[n].high for n in group)
    best, least = map_code(low, high, kind), np.inf
    if kind != "int8":
        return best
    through = _elu if all(_feeds_elu(graph, name) for name in group) else _as_it_is
    samples = [statistics[n].values for n in group]
    wanted = [through(sample) for sample in samples]
    powers = [float(np.mean(np.square(values))) + 1e-12 for values in wanted]
    downs = (1.0,) if low >= 0 else _BELOW_ELU if through is _elu else _SHARES
    for down, up in itertools.product(downs, _SHARES):
        code = map_code(low * down, high * up, kind)
        # Every map counts by its own power: a strong one must not drown the others.
        error = sum(
            float(np.mean(np.square(through(fake_quantize(sample, code)) - values))) / power
            for sample, values, power in zip(samples, wanted, powers, strict=True)
        )
        if error < least:
            best, least = code, error
    return best


def _feeds_elu(graph: g.Graph, name: str) -> bool:
    readers = graph.consumers(name)
    return bool(readers) and all(isinstance(node, g.Activation) and node.kind == "elu" for node in readers)


def _elu(values: Real) -> Real:
    """What an ELU makes of a map: how far below zero it is hardly matters."""
    return np.where(values > 0, values, np.expm1(np.minimum(values, 0)))


def _as_it_is(values: Real) -> Real:
    return values


def fake_quantize(values: Real, code: QuantParams) -> Real:
    """Real values as they come back from being stored."""
    low, high = (np.float32(end) for end in code.ends)
    scale = np.float32(code.scale)
    return np.asarray(np.clip(np.rint(values / scale) * scale, low, high), np.float32)
