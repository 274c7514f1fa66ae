"""Integers for one convolution, from what it sees in the quantised network and what the float one makes of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import graph as g
from . import rounding
from .calibrate import Real
from .plan import ConvCode

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


def layer(conv: g.Conv, coded: Real, wanted: Real, weight: Real, rectified: bool) -> ConvCode:
    """The code of `conv` that makes of `coded` (n, h, w, in) what is nearest to `wanted` (n, h, w, out).

    The bias makes up for what rounding does to the mean (bias correction). `weight` (n, rows, columns): how much each
    part of a picture counts. `rectified`: only what a ReLU lets through matters.
    """
    places = _places(wanted.shape[:3], weight)
    patches = _patches(conv, coded, places, wanted.shape[1:3]).astype(np.float64)
    target = wanted[places].astype(np.float64)
    rows, columns, inside, outside = conv.kernel.shape
    if conv.depthwise and outside != 1:
        raise ValueError(f"{conv.name}: a depth multiplier of {outside} is not known")
    counts = np.ones_like(target)
    if rectified:
        counts = np.where(target > -_MARGIN * target.std(axis=0), 1.0, _CUT_OFF)
    counts /= counts.sum(axis=0)
    if conv.depthwise:
        patches = patches.reshape(len(patches), rows * columns, inside)
        weights = conv.kernel.reshape(rows * columns, inside).astype(np.float64)
        integers, step, bias = _each([patches[:, :, c] for c in range(inside)], target, weights, counts)
    else:
        patches = patches.reshape(len(patches), -1)
        weights = conv.kernel.reshape(-1, outside).astype(np.float64)
        if rectified and patches.shape[1] <= _LARGEST:
            integers, step, bias = _each([patches] * outside, target, weights, counts)
        else:
            integers, step, bias = _together(patches, target, weights)
    return ConvCode(integers.reshape(conv.kernel.shape), step, bias)


def _together(patches: Array, target: Array, weights: Array) -> tuple[npt.NDArray[np.int8], Array, Array]:
    """All outputs see the same inputs, and all places count the same."""
    mean_in, mean_out = patches.mean(axis=0), target.mean(axis=0)
    patches, target = patches - mean_in, target - mean_out
    hessian = patches.T @ patches / len(patches)
    fitted = rounding.fit(hessian, patches.T @ target / len(patches), weights)
    step = rounding.steps(np.diag(hessian)[:, None], fitted)
    integers = rounding.rounded(hessian, fitted, step)
    return integers, step, mean_out - mean_in @ (integers * step)


def _each(
    patches: list[Array], target: Array, weights: Array, counts: Array
) -> tuple[npt.NDArray[np.int8], Array, Array]:
    """Every output has inputs (places, inputs) and weights of the places, `counts` (places, outputs), of its own."""
    inputs, outputs = weights.shape
    hessians, cross = np.empty((outputs, inputs, inputs)), np.empty((outputs, inputs))
    means = np.empty((inputs, outputs))
    mean_out = (counts * target).sum(axis=0)
    for output, seen in enumerate(patches):
        count = counts[:, output]
        means[:, output] = mean = count @ seen
        weighted = (seen * count[:, None]).T
        hessians[output] = weighted @ seen - np.outer(mean, mean)
        cross[output] = weighted @ target[:, output] - mean * mean_out[output]
    fitted = rounding.fit_each(hessians, cross, weights)
    step = rounding.steps(np.diagonal(hessians, axis1=1, axis2=2).T, fitted)
    integers = rounding.rounded_each(hessians, fitted, step)
    return integers, step, mean_out - (means * integers * step).sum(axis=0)


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
    padded = np.pad(maps, ((0, 0), *padding, (0, 0)))
    return np.asarray(padded[places[0][:, None, None], inside[0][:, :, None], inside[1][:, None, :]])
