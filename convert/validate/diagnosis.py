"""Search for the cause if a network does not find people: run it with other inputs, and read its outputs differently.

The cause is the alternative with which the network finds the people of the synthetic scenes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...runtime.decode import Decoder
from ...runtime.skeleton import Skeleton
from ...runtime.synthetic import SceneFrame
from ...runtime.types import ChannelOrder, GridToFrame, Image, PoseFields
from . import scene_check
from .scene_check import FloatArray, SceneResult, SceneScore

_SEARCH_SCENES = 4
_MIN_SHARE = 0.5
"""Share of the people that an alternative must find."""
_MIN_GAIN = 1.3
"""Factor by which an alternative must find people better. Published networks find them 1.4 to 10 times better in the
right channel order; networks that were trained with changed colors have 1.0."""
_SAME_QUALITY = 0.96
"""Networks find people in images of low contrast nearly as well: two value ranges with the same middle can differ by
less than the rounding of an interpreter. In images with clipped values they find them much worse (0.7)."""
_MIN_MISMATCHES = 6
_MIN_PEAK = 0.1


@dataclass(frozen=True)
class Cause:
    """Likely cause of a failure, and what to do about it."""

    text: str
    advice: str


@dataclass(frozen=True)
class ValueRange:
    """Pixel values that a network may expect: `(x - mean) / scale` per channel, in the order R, G, B."""

    name: str
    option: str
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]

    @classmethod
    def between(cls, low: float, high: float) -> ValueRange:
        """Make the range from `low` for black to `high` for white."""
        scale = 255 / (high - low)
        return cls(
            f"{low:g} to {high:g}", f"--value-range {low:g} {high:g}", _triple((-low * scale,)), _triple((scale,))
        )

    @classmethod
    def from_normalization(cls, mean: Sequence[float], scale: Sequence[float]) -> ValueRange:
        """Make the range for `--mean` and `--scale`: one number, or three in the order R, G, B."""
        return cls("with mean and scale as given", "other --mean and --scale", _triple(mean), _triple(scale))


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values if len(values) == 3 else (values[0],) * 3
    return red, green, blue


VALUE_RANGES = (
    ValueRange.between(0, 255),
    ValueRange.between(0, 1),
    ValueRange.between(-1, 1),
    ValueRange.between(-0.5, 0.5),
    ValueRange.between(-128, 127),
    ValueRange(
        "with the mean and standard deviation of ImageNet subtracted and divided",
        "--mean 123.675,116.28,103.53 --scale 58.395,57.12,57.375",
        (123.675, 116.28, 103.53),
        (58.395, 57.12, 57.375),
    ),
)


class Probe(Protocol):
    """Network that can be run on any values, for the search."""

    def prepare_values(self, image: Image, channel_order: ChannelOrder) -> FloatArray:
        """Resize an image to the input of the network: (height, width, 3), values 0 to 255."""
        ...

    def infer_values(self, values: FloatArray) -> PoseFields:
        """Run the network on (height, width, 3) values."""
        ...


@dataclass(frozen=True)
class _InputChange:
    causes: tuple[Cause, ...]
    prepare: Callable[[Probe, Image], FloatArray]
    width: float
    """Difference between the values of white and black."""


@dataclass(frozen=True)
class _Alternative:
    causes: tuple[Cause, ...]
    quality: float
    width: float


@dataclass(frozen=True)
class _OutputChange:
    causes: tuple[Cause, ...]
    apply: Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]


def find_cause(
    probe: Probe,
    scenes: Sequence[SceneFrame],
    decoder: Decoder,
    to_frame: Callable[[Image], GridToFrame],
    current: ValueRange = VALUE_RANGES[0],
) -> tuple[tuple[Cause, ...], SceneScore]:
    """Find out what the network expects.

    Args:
        probe: The network.
        scenes: Synthetic scenes.
        decoder: Decoder for its maps.
        to_frame: Transform from cells of the maps to pixels of an image.
        current: Pixel values that the network gets now.

    Returns:
        The causes, none if no alternative finds the people; and what the network finds as it is.
    """
    scenes = scenes[:_SEARCH_SCENES]
    found: list[_Alternative] = []
    baseline: list[SceneResult] = []
    for change in _list_input_changes(current):
        fields = [_infer(probe, change, frame) for frame in scenes]
        if any(maps is None for maps in fields):
            continue
        for output in _list_output_changes(decoder.skeleton):
            results = [
                scene_check.decode_scene(frame, *output.apply(*maps), decoder, to_frame)
                for frame, maps in zip(scenes, fields, strict=True)
                if maps is not None
            ]
            causes = (*change.causes, *output.causes)
            if not causes:
                baseline = results
            score = scene_check.summarize(results)
            if score.share >= _MIN_SHARE:
                found.append(_Alternative(causes, score.quality, change.width))
    now = scene_check.summarize(baseline) if baseline else SceneScore(len(scenes), 0, 0.0)
    likely = _choose(found)
    if likely is not None and likely.causes and likely.quality > _MIN_GAIN * now.quality:
        return likely.causes, now
    if now.share < _MIN_SHARE and baseline and (cause := _find_other_channels(baseline, decoder, to_frame)):
        return (cause,), now
    return (), now


def _choose(found: Sequence[_Alternative]) -> _Alternative | None:
    """Return the most likely alternative: of those about as good as the best, the one with the fewest changes."""
    best = max((one.quality for one in found), default=0.0)
    good = [one for one in found if one.quality > 0.9 * best]
    fewest = min((len(one.causes) for one in good), default=0)
    simple = [one for one in good if len(one.causes) == fewest]
    best = max((one.quality for one in simple), default=0.0)
    same = [one for one in simple if one.quality > _SAME_QUALITY * best]
    return max(same, default=None, key=lambda one: (one.width, one.quality))


def prefers_other_order(now: SceneScore, swapped: SceneScore) -> bool:
    """Return True if the network finds people much better with red and blue exchanged."""
    return swapped.share >= _MIN_SHARE and swapped.quality > _MIN_GAIN * now.quality


OTHER_ORDER = Cause(
    "channel order: the network finds people much better with red and blue exchanged",
    "convert with --source-channel-order rgb (with bgr, if you gave rgb)",
)


def _infer(probe: Probe, change: _InputChange, frame: SceneFrame) -> tuple[FloatArray, FloatArray] | None:
    """Run the network; None if the maps are not finite."""
    fields = probe.infer_values(change.prepare(probe, frame.image))
    heatmaps = fields.heatmap_quantization.dequantize(fields.heatmaps)
    pafs = fields.paf_quantization.dequantize(fields.pafs)
    return (heatmaps, pafs) if np.isfinite(heatmaps).all() and np.isfinite(pafs).all() else None


def _list_input_changes(current: ValueRange) -> Iterator[_InputChange]:
    others = [current, *(r for r in VALUE_RANGES if (r.mean, r.scale) != (current.mean, current.scale))]
    for value_range in others:
        range_causes = () if value_range is current else (_describe_range(value_range, current),)
        width = 255 / value_range.scale[0]
        yield _InputChange(range_causes, _make_prepare(value_range, current, "bgr"), width)
        yield _InputChange((OTHER_ORDER, *range_causes), _make_prepare(value_range, current, "rgb"), width)

    def read_planes(probe: Probe, image: Image) -> FloatArray:
        values = probe.prepare_values(image, "bgr")
        return np.ascontiguousarray(values.transpose(2, 0, 1)).reshape(values.shape)

    layout = Cause(
        "layout: the network reads the image channel by channel (NCHW)", "export the network with NHWC layout"
    )
    yield _InputChange((layout,), read_planes, 255 / current.scale[0])


def _describe_range(value_range: ValueRange, current: ValueRange) -> Cause:
    text = f"value range: the network expects pixels {value_range.name}, and gets {current.name}"
    return Cause(text, f"convert with {value_range.option}")


def _make_prepare(wanted: ValueRange, current: ValueRange, order: ChannelOrder) -> Callable[[Probe, Image], FloatArray]:
    """Make the function that gives the network other values, although it normalizes its input as in `current`."""
    wanted_mean, wanted_scale, mean, scale = (
        np.array(values, np.float32)[:: -1 if order == "bgr" else 1]
        for values in (wanted.mean, wanted.scale, current.mean, current.scale)
    )

    def prepare(probe: Probe, image: Image) -> FloatArray:
        values = probe.prepare_values(image, order)
        return np.asarray((values - wanted_mean) / wanted_scale * scale + mean, np.float32)

    return prepare


def _list_output_changes(skeleton: Skeleton) -> Iterator[_OutputChange]:
    order = "name the outputs with --heatmaps and --pafs, or export them in the order heatmaps, PAFs"
    yield _OutputChange((), lambda heatmaps, pafs: (heatmaps, pafs))
    first = Cause("output order: the PAFs come first, then the heatmaps", order)
    yield _OutputChange((first,), _read_pafs_first)
    background = Cause(
        "output order: the first channel of the heatmaps is the background; expected the last",
        "export the heatmaps with the background as last channel",
    )
    if skeleton.background:
        yield _OutputChange((background,), _read_background_first)
    axes = Cause("output order: the PAFs have y before x", "export the PAFs with the x component of each limb before y")
    yield _OutputChange((axes,), lambda heatmaps, pafs: (heatmaps, _swap_pairs(pafs)))
    sign = Cause("PAFs: they point from the second keypoint of a limb to the first", "negate the PAFs")
    yield _OutputChange((sign,), lambda heatmaps, pafs: (heatmaps, -pafs))
    scale = Cause(
        "scale of the outputs: the heatmaps have their maxima at the keypoints, but not values of about 1",
        "check the scale of the last layer",
    )
    keypoint_count = len(skeleton.keypoints)
    yield _OutputChange((scale,), lambda heatmaps, pafs: _normalize(heatmaps, pafs, keypoint_count))


def _read_pafs_first(heatmaps: FloatArray, pafs: FloatArray) -> tuple[FloatArray, FloatArray]:
    joined = np.concatenate((heatmaps, pafs), axis=2)
    count = pafs.shape[2]
    return _copy(joined[:, :, count:]), _copy(joined[:, :, :count])


def _read_background_first(heatmaps: FloatArray, pafs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Move the first channel to the end, if its values are those of a background: high almost everywhere."""
    is_background = float(np.median(heatmaps[:, :, 0])) > 0.5
    return (_copy(np.roll(heatmaps, -1, axis=2)), pafs) if is_background else (heatmaps, pafs)


def _swap_pairs(pafs: FloatArray) -> FloatArray:
    rows, columns, channels = pafs.shape
    return _copy(pafs.reshape(rows, columns, channels // 2, 2)[..., ::-1].reshape(pafs.shape))


def _normalize(heatmaps: FloatArray, pafs: FloatArray, keypoint_count: int) -> tuple[FloatArray, FloatArray]:
    """Scale heatmaps and PAFs so that the largest values are 1, unless they are already."""
    result = []
    for values in (heatmaps[:, :, :keypoint_count], pafs):
        highest = float(np.abs(values).max())
        result.append(1 / highest if highest > 0 and not 0.3 < highest < 2 else 1.0)
    return heatmaps * np.float32(result[0]), pafs * np.float32(result[1])


def _copy(values: FloatArray) -> FloatArray:
    return np.ascontiguousarray(values, np.float32)


def _find_other_channels(
    results: Sequence[SceneResult], decoder: Decoder, to_frame: Callable[[Image], GridToFrame]
) -> Cause | None:
    """Find out if the heatmaps are those of other keypoints: which channel is highest at each keypoint?"""
    names = decoder.skeleton.keypoints
    sums = np.zeros((len(names), len(names)))
    for result in results:
        scale = to_frame(result.frame.image)
        for person in result.frame.keypoints:
            columns = np.clip(person[:, 0] / scale[0], 0, decoder.width - 1).astype(int)
            rows = np.clip(person[:, 1] / scale[1], 0, decoder.height - 1).astype(int)
            for keypoint, (row, column) in enumerate(zip(rows, columns, strict=True)):
                window = result.heatmaps[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2, : len(names)]
                sums[keypoint] += window.max(axis=(0, 1)) / len(results)
    highest = sums.argmax(axis=1)
    clear = sums.max(axis=1) > _MIN_PEAK
    wrong = [k for k in range(len(names)) if clear[k] and highest[k] != k and sums[k, k] < 0.5 * sums[k].max()]
    if len(wrong) < _MIN_MISMATCHES or len(set(highest[wrong])) < len(wrong) / 2:
        return None
    keypoint = wrong[0]
    text = (
        f"order of the keypoints: {len(wrong)} heatmaps show other keypoints; channel {highest[keypoint]} shows the "
        f"{names[keypoint].replace('_', ' ')}, expected the {names[highest[keypoint]].replace('_', ' ')}"
    )
    return Cause(text, "convert with the skeleton that the network was trained for")
