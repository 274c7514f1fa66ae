"""Integers for one convolution, from what it sees in the quantized network and what the float one makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..ir import graph as g
from . import gptq
from .calibrate import Real
from .plan import QuantizedConv

Array = npt.NDArray[np.float64]
Places = tuple[npt.NDArray[np.intp], ...]

_PLACES = 12_000
"""Places of the maps that a layer's weights are fitted to."""
_LARGEST = 160
"""Inputs up to which every output of a full convolution has second moments of its own."""
_CUT_OFF = 0.05
"""What a place counts where a ReLU makes zero of the result whatever it is, beside one where it does not."""
_MARGIN = 0.25
"""Standard deviations below zero that may still come out above it."""


def layer(conv: g.Conv, coded: Real, wanted: Real, weight: Real, rectified: bool) -> QuantizedConv:
    """The code of `conv` that makes of `coded` (n, h, w, in) what is nearest to `wanted` (n, h, w, out).

    The bias makes up for what rounding does to the mean (bias correction). `weight` (n, rows, columns): how much each
    part of an image counts. `rectified`: only what a ReLU lets through matters.
    """
    places = _places(wanted.shape[:3], weight)
    target = wanted[places].astype(np.float64)
    rows, columns, inside, outside = conv.kernel.shape
    if conv.depthwise and outside != 1:
        raise ValueError(f"{conv.name}: a depth multiplier of {outside} is not known")
    through = target > -_MARGIN * target.std(axis=0) if rectified else np.ones(target.shape, np.bool_)
    if conv.depthwise:
        weights = conv.kernel.reshape(rows * columns, inside).astype(np.float64)
        moments = _depthwise_moments(conv, coded, places, wanted.shape[1:3], target, through)
        integers, step, bias = _each(moments, weights)
    else:
        patches = _patches(conv, coded, places, wanted.shape[1:3]).reshape(len(target), -1).astype(np.float64)
        weights = conv.kernel.reshape(-1, outside).astype(np.float64)
        if rectified and patches.shape[1] <= _LARGEST:
            integers, step, bias = _each(_moments(patches, target, through), weights)
        else:
            integers, step, bias = _together(patches, target, weights)
    return QuantizedConv(integers.reshape(conv.kernel.shape), step, bias)


def _together(patches: Array, target: Array, weights: Array) -> tuple[npt.NDArray[np.int8], Array, Array]:
    """All outputs see the same inputs, and all places count the same."""
    mean_in, mean_out = patches.mean(axis=0), target.mean(axis=0)
    patches, target = patches - mean_in, target - mean_out
    hessian = patches.T @ patches / len(patches)
    fitted = gptq.fit(hessian, patches.T @ target / len(patches), weights)
    step = gptq.steps(np.diag(hessian)[:, None], fitted)
    integers = gptq.rounded(hessian, fitted, step)
    return integers, step, mean_out - mean_in @ (integers * step)


@dataclass(frozen=True)
class _Moments:
    """Of every output's inputs and of its wanted result, over the places, weighted."""

    means: Array
    """(outputs, inputs)."""
    mean_out: Array
    """(outputs,)."""
    hessians: Array
    """(outputs, inputs, inputs), around the means."""
    cross: Array
    """Inputs with the wanted result, around the means: (outputs, inputs)."""


def _counts(through: npt.NDArray[np.bool_]) -> Array:
    """How much each place counts for each output: (places, outputs), 1 in sum."""
    counts = np.where(through, 1.0, _CUT_OFF)
    return np.asarray(counts / counts.sum(axis=0))


def _moments(patches: Array, target: Array, through: npt.NDArray[np.bool_]) -> _Moments:
    """All outputs see the same inputs (places, inputs), and each has weights of the places of its own."""
    counts = _counts(through)
    means, mean_out = (patches.T @ counts).T, (counts * target).sum(axis=0)
    cross = (patches.T @ (counts * target)).T - means * mean_out[:, None]
    everywhere = patches.T @ patches
    hessians = np.empty((target.shape[1], *everywhere.shape))
    for output in range(len(hessians)):
        # A place counts 1 or _CUT_OFF: what all have is computed once. `a.T @ a` is half the work of `a.T @ b`.
        inside = patches[through[:, output]]
        hessians[output] = _CUT_OFF * everywhere + (1 - _CUT_OFF) * (inside.T @ inside)
    hessians /= np.where(through, 1.0, _CUT_OFF).sum(axis=0)[:, None, None]
    hessians -= means[:, :, None] * means[:, None, :]
    return _Moments(means, mean_out, hessians, cross)


def _depthwise_moments(
    conv: g.Conv, maps: Real, places: Places, size: tuple[int, ...], target: Array, through: npt.NDArray[np.bool_]
) -> _Moments:
    """Every output sees its own channel, at the places of a kernel.

    One channel at a time: the patches of all channels together would be hundreds of megabytes, read with large strides.
    """
    channels, kernel = maps.shape[3], conv.kernel.shape[0] * conv.kernel.shape[1]
    padded, index = _kernel_index(conv, maps, places, size)
    planes = np.ascontiguousarray(np.moveaxis(padded, 3, 0)).reshape(channels, -1)
    counts, wanted = np.ascontiguousarray(_counts(through).T), np.ascontiguousarray(target.T)
    found = _Moments(
        np.empty((channels, kernel)), (counts * wanted).sum(axis=1), np.empty((channels, kernel, kernel)),
        np.empty((channels, kernel)),
    )  # fmt: skip
    for channel in range(channels):
        seen = planes[channel][index].astype(np.float64)
        weighted = seen * counts[channel]
        found.means[channel] = mean = weighted.sum(axis=1)
        found.hessians[channel] = weighted @ seen.T - np.outer(mean, mean)
        found.cross[channel] = weighted @ wanted[channel] - mean * found.mean_out[channel]
    return found


def _each(moments: _Moments, weights: Array) -> tuple[npt.NDArray[np.int8], Array, Array]:
    """Integers for weights (inputs, outputs) where every output has moments of its own."""
    fitted = gptq.fit_each(moments.hessians, moments.cross, weights)
    step = gptq.steps(np.diagonal(moments.hessians, axis1=1, axis2=2).T, fitted)
    integers = gptq.rounded_each(moments.hessians, fitted, step)
    return integers, step, moments.mean_out - (moments.means.T * integers * step).sum(axis=0)


def _places(shape: tuple[int, ...], weight: Real) -> Places:
    """Places of a map (n, rows, columns), drawn by their weight."""
    rng = np.random.default_rng(0)
    _, height, width = shape
    rows = np.arange(height) * weight.shape[1] // height
    columns = np.arange(width) * weight.shape[2] // width
    share = np.cumsum(weight[:, rows[:, None], columns].astype(np.float64))
    flat = np.searchsorted(share, rng.random(_PLACES) * share[-1])
    return np.unravel_index(np.minimum(flat, share.size - 1), shape)


def _patches(conv: g.Conv, maps: Real, places: Places, size: tuple[int, ...]) -> Real:
    """What the convolution sees at the places of its result: (places, rows, columns, channels)."""
    padded, (rows, columns) = _pad(conv, maps, places, size)
    return np.asarray(padded[places[0][:, None, None], rows[:, :, None], columns[:, None, :]])


def _kernel_index(conv: g.Conv, maps: Real, places: Places, size: tuple[int, ...]) -> tuple[Real, npt.NDArray[np.intp]]:
    """The padded maps (n, height, width, channels), and where each weight looks: (rows * columns, places).

    The index is that of a channel's plane (n * height * width).
    """
    padded, (rows, columns) = _pad(conv, maps, places, size)
    _, height, width, _ = padded.shape
    index = (places[0][:, None, None] * height + rows[:, :, None]) * width + columns[:, None, :]
    return padded, np.ascontiguousarray(index.reshape(len(index), -1).T)


def _pad(conv: g.Conv, maps: Real, places: Places, size: tuple[int, ...]) -> tuple[Real, list[npt.NDArray[np.intp]]]:
    """The padded maps, and the rows and columns that the kernel covers at each place: (places, size of the kernel)."""
    inside, padding = [], []
    for axis in (0, 1):
        span = (conv.kernel.shape[axis] - 1) * conv.dilations[axis] + 1
        if conv.padding == "SAME":
            total = max((size[axis] - 1) * conv.strides[axis] + span - maps.shape[1 + axis], 0)
            padding.append((total // 2, total - total // 2))
        else:
            padding.append((0, 0) if isinstance(conv.padding, str) else conv.padding[axis])
        start = places[1 + axis][:, None] * conv.strides[axis]
        inside.append(start + np.arange(conv.kernel.shape[axis]) * conv.dilations[axis])
    return np.pad(maps, ((0, 0), *padding, (0, 0))), inside
