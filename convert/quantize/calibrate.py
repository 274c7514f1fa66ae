"""Activation statistics of the float network on calibration images, and quantization parameters chosen from them."""

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
from .plan import MapDtype, QuantParams, compute_quant_params, find_maps_with_shared_params, list_stored_maps

ImageBatch = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

_SAMPLES_PER_MAP = 100_000
_CLIP_RATIOS = tuple(np.linspace(0.5, 1.0, 11))
"""Candidates for the ends of a range, as ratios of the smallest and largest observed value."""
_ELU_LOW_CLIP_RATIOS = tuple(np.linspace(0.05, 1.0, 20))
"""Candidates for the lower end of a map that only ELUs read."""
_TYPICAL_QUANTILE = 0.75
"""Quantile over the images of a channel's largest value: this share of the images lies within the channel's range."""


@dataclass
class MapStatistics:
    """Statistics of a stored map: range, smallest and largest value per image and channel, random sample of values."""

    low: float = 0.0
    high: float = 0.0
    min_by_image: list[FloatArray] = field(default_factory=list)
    max_by_image: list[FloatArray] = field(default_factory=list)
    samples: list[FloatArray] = field(default_factory=list)

    def measure_channel_limits(self) -> tuple[FloatArray, FloatArray]:
        """Return the smallest and the largest value of each channel over all images, float32 (channels,)."""
        return np.concatenate(self.min_by_image).min(axis=0), np.concatenate(self.max_by_image).max(axis=0)

    def shift(self, offsets: FloatArray) -> MapStatistics:
        """Return the limits per image and channel after a constant was subtracted from each channel.

        The range and the sample of the map are left out, because their values do not name their channel.

        Args:
            offsets: Constant of each channel, float32 (channels,).
        """
        return MapStatistics(
            min_by_image=[values - offsets for values in self.min_by_image],
            max_by_image=[values - offsets for values in self.max_by_image],
        )

    def compute_channel_ranges(self, min_ratio: float) -> FloatArray:
        """Compute the range that each channel should be able to represent.

        It is the 0.75 quantile over the images of the channel's largest absolute value, because only few images reach
        the overall maximum, and a larger range makes the resolution of all images coarser. But rare large values can be
        important, so the range is at least `min_ratio` times the overall maximum.

        Args:
            min_ratio: Smallest allowed range of a channel, as a ratio of its overall maximum, 0 to 1.

        Returns:
            Largest absolute value to represent per channel, float32 (channels,).
        """
        maxima = np.maximum(np.abs(np.concatenate(self.min_by_image)), np.abs(np.concatenate(self.max_by_image)))
        typical = np.quantile(maxima, _TYPICAL_QUANTILE, axis=0)
        return np.asarray(np.maximum(typical, min_ratio * maxima.max(axis=0)), np.float32)

    @property
    def sampled_values(self) -> FloatArray:
        """Random sample of the map's values over all images, (n,)."""
        return np.concatenate(self.samples)


def collect_statistics(
    graph: g.Graph, images: ImageBatch, progress: Callable[[int], object] = lambda count: None
) -> dict[str, MapStatistics]:
    """Collect statistics of every stored map of the float network.

    Args:
        graph: Folded float graph.
        images: Calibration images (n, height, width, 3), uint8, in the graph's channel order.
        progress: Called with the number of images after each batch.
    """
    rng = np.random.default_rng(0)
    names = set(list_stored_maps(graph))
    statistics: dict[str, MapStatistics] = {}
    batches = range(0, len(images), 8)

    def record(node: g.Node, value: Any) -> None:
        if node.name not in names:
            return
        array = np.asarray(value)
        sample = array.reshape(-1)[rng.integers(0, array.size, _SAMPLES_PER_MAP // len(batches))]
        entry = statistics.setdefault(node.name, MapStatistics())
        entry.min_by_image.append(array.min(axis=(1, 2)))
        entry.max_by_image.append(array.max(axis=(1, 2)))
        entry.low, entry.high = min(entry.low, float(array.min())), max(entry.high, float(array.max()))
        entry.samples.append(sample)

    for start in batches:
        batch = images[start : start + 8]
        tensorflow.run_graph(graph, batch.astype(np.float32), observe=record)
        progress(len(batch))
    return statistics


def choose_map_params(
    graph: g.Graph, statistics: Mapping[str, MapStatistics], dtype: MapDtype
) -> dict[str, QuantParams]:
    """Choose the quantization parameters of every stored map.

    The ends of each range minimize the mean squared error. Maps that must share their parameters, such as the
    inputs and the result of a concat, get the same ones (`find_maps_with_shared_params`).

    Raises:
        ModelError: The offset of the image cannot be expressed in integers, see `choose_image_params`.
    """
    params: dict[str, QuantParams] = {}
    groups = {name: group for group in find_maps_with_shared_params(graph) for name in group}
    for name in statistics:
        if name not in params:
            group = sorted(groups.get(name, {name}))
            params.update(dict.fromkeys(group, _search_params(graph, group, statistics, dtype)))
    params.pop(graph.input.name)
    return {**params, **choose_image_params(graph)}


def choose_image_params(graph: g.Graph) -> dict[str, QuantParams]:
    """Choose the quantization parameters of the image, or of the image after its constant offset was subtracted.

    Scale and zero point are set so that every byte of the image is stored exactly.

    Raises:
        ModelError: The offset is not the same whole number for all channels.
    """
    readers = graph.find_consumers(graph.input.name)
    if not (len(readers) == 1 and isinstance(affine := readers[0], g.Affine)):
        return {graph.input.name: QuantParams(1.0, -128, "int8")}
    scales, offsets = np.unique(affine.scale.astype(np.float64)), np.unique(affine.offset.astype(np.float64))
    if len(scales) == len(offsets) == 1:
        zero = -offsets[0] / scales[0]
        if abs(zero - round(zero)) < 0.02 and 0 <= round(zero) <= 255 and scales[0] > 0:
            return {affine.name: QuantParams(float(scales[0]), round(zero) - 128, "int8")}
    raise ModelError(
        f"{affine.name!r} adds {np.round(offsets, 3).tolist()} to the image: an integer network needs the same whole "
        "number for all channels; convert to float16 instead"
    )


def _search_params(
    graph: g.Graph, group: list[str], statistics: Mapping[str, MapStatistics], dtype: MapDtype
) -> QuantParams:
    """Search the range of a group of maps with the smallest mean squared error; each end is clipped independently."""
    low, high = min(statistics[n].low for n in group), max(statistics[n].high for n in group)
    best, best_error = compute_quant_params(low, high, dtype), np.inf
    if dtype != "int8":
        return best
    transform = _apply_elu if all(_feeds_elu(graph, name) for name in group) else _identity
    samples = [statistics[n].sampled_values for n in group]
    targets = [transform(sample) for sample in samples]
    powers = [float(np.mean(np.square(values))) + 1e-12 for values in targets]
    low_ratios = (1.0,) if low >= 0 else _ELU_LOW_CLIP_RATIOS if transform is _apply_elu else _CLIP_RATIOS
    for low_ratio, high_ratio in itertools.product(low_ratios, _CLIP_RATIOS):
        params = compute_quant_params(low * low_ratio, high * high_ratio, dtype)
        # Each map's error is divided by its own power: otherwise a map with large values would outweigh the others.
        error = sum(
            float(np.mean(np.square(transform(fake_quantize(sample, params)) - values))) / power
            for sample, values, power in zip(samples, targets, powers, strict=True)
        )
        if error < best_error:
            best, best_error = params, error
    return best


def _feeds_elu(graph: g.Graph, name: str) -> bool:
    readers = graph.find_consumers(name)
    return bool(readers) and all(isinstance(node, g.Activation) and node.kind == "elu" for node in readers)


def _apply_elu(values: FloatArray) -> FloatArray:
    """Apply an ELU: errors of strongly negative values hardly change its result."""
    return np.where(values > 0, values, np.expm1(np.minimum(values, 0)))


def _identity(values: FloatArray) -> FloatArray:
    return values


def fake_quantize(values: FloatArray, params: QuantParams) -> FloatArray:
    """Quantize and dequantize values: round them to multiples of the scale and clip them to the range of `params`."""
    low, high = (np.float32(end) for end in params.value_range)
    scale = np.float32(params.scale)
    return np.asarray(np.clip(np.rint(values / scale) * scale, low, high), np.float32)
