"""Integer weights and bias of one convolution, fitted to the inputs it gets in the quantized network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..ir import graph as g
from . import gptq
from .calibrate import FloatArray
from .plan import QuantizedConv

Array = npt.NDArray[np.float64]
SamplePositions = tuple[npt.NDArray[np.intp], ...]
"""Image, row and column of each sampled position of a map."""

_SAMPLE_COUNT = 12_000
"""Positions of the maps that the weights of a layer are fitted to."""
_MAX_INPUTS_FOR_OUTPUT_MOMENTS = 160
"""Up to this number of inputs (kernel size times channels), each output of a full convolution has its own moments."""
_CLIPPED_WEIGHT = 0.05
"""Weight of a position where a ReLU clips the result to zero; other positions have weight 1."""
_CLIPPING_MARGIN_STD = 0.25
"""A result counts as clipped if it is more than this many standard deviations below zero."""


def fit_conv(
    conv: g.Conv, inputs: FloatArray, target: FloatArray, sample_weight: FloatArray, has_relu: bool
) -> QuantizedConv:
    """Fit integer weights so that the convolution's result for the quantized inputs is closest to the float result.

    The bias corrects the change of the mean that rounding causes (bias correction, Nagel et al., 2019).

    Args:
        conv: Float convolution.
        inputs: Map that the convolution reads in the quantized network, (n, height, width, in).
        target: Result of the convolution in the float network, (n, rows, columns, out).
        sample_weight: Importance of each part of each image, (n, rows, columns) at any resolution.
        has_relu: True if a ReLU follows: positions that it clips to zero have a lower weight.

    Raises:
        ValueError: A depthwise convolution has a depth multiplier other than 1.
    """
    positions = _draw_positions(target.shape[:3], sample_weight)
    sampled = target[positions].astype(np.float64)
    rows, columns, inside, outside = conv.kernel.shape
    if conv.depthwise and outside != 1:
        raise ValueError(f"{conv.name}: unsupported depth multiplier: {outside}; only 1 is supported")
    active = sampled > -_CLIPPING_MARGIN_STD * sampled.std(axis=0) if has_relu else np.ones(sampled.shape, np.bool_)
    if conv.depthwise:
        weights = conv.kernel.reshape(rows * columns, inside).astype(np.float64)
        moments = _compute_depthwise_moments(conv, inputs, positions, target.shape[1:3], sampled, active)
        integers, scale, bias = _fit_per_output(moments, weights)
    else:
        windows = _gather_patches(conv, inputs, positions, target.shape[1:3])
        patches = windows.reshape(len(sampled), -1).astype(np.float64)
        weights = conv.kernel.reshape(-1, outside).astype(np.float64)
        if has_relu and patches.shape[1] <= _MAX_INPUTS_FOR_OUTPUT_MOMENTS:
            integers, scale, bias = _fit_per_output(_compute_moments(patches, sampled, active), weights)
        else:
            integers, scale, bias = _fit_all_outputs(patches, sampled, weights)
    return QuantizedConv(integers.reshape(conv.kernel.shape), scale, bias)


def _fit_all_outputs(patches: Array, target: Array, weights: Array) -> tuple[npt.NDArray[np.int8], Array, Array]:
    """Fit all outputs with the same moments: they have the same inputs, and all positions have the same weight."""
    mean_in, mean_out = patches.mean(axis=0), target.mean(axis=0)
    patches, target = patches - mean_in, target - mean_out
    hessian = patches.T @ patches / len(patches)
    fitted = gptq.fit_weights(hessian, patches.T @ target / len(patches), weights)
    scale = gptq.choose_scales(np.diag(hessian)[:, None], fitted)
    integers = gptq.round_weights(hessian, fitted, scale)
    return integers, scale, mean_out - mean_in @ (integers * scale)


@dataclass(frozen=True)
class _Moments:
    """Weighted first and second moments of the inputs and the target of each output over the sampled positions."""

    means: Array
    """Of the inputs, (outputs, inputs)."""
    mean_out: Array
    """Of the target, (outputs,)."""
    hessians: Array
    """Second moments of the inputs around their means, (outputs, inputs, inputs)."""
    cross: Array
    """Products of inputs and target around their means, (outputs, inputs)."""


def _normalize_position_weights(active: npt.NDArray[np.bool_]) -> Array:
    """Compute the weight of each position for each output, (positions, outputs); the weights of an output sum to 1."""
    weights = np.where(active, 1.0, _CLIPPED_WEIGHT)
    return np.asarray(weights / weights.sum(axis=0))


def _compute_moments(patches: Array, target: Array, active: npt.NDArray[np.bool_]) -> _Moments:
    """Compute moments of outputs that have the same inputs (positions, inputs) but different position weights."""
    position_weights = _normalize_position_weights(active)
    means, mean_out = (patches.T @ position_weights).T, (position_weights * target).sum(axis=0)
    cross = (patches.T @ (position_weights * target)).T - means * mean_out[:, None]
    everywhere = patches.T @ patches
    hessians = np.empty((target.shape[1], *everywhere.shape))
    for output in range(len(hessians)):
        # A weight is 1 or _CLIPPED_WEIGHT, so the part that all outputs have in common is computed once. `a.T @ a`
        # takes half the time of `a.T @ b`.
        inside = patches[active[:, output]]
        hessians[output] = _CLIPPED_WEIGHT * everywhere + (1 - _CLIPPED_WEIGHT) * (inside.T @ inside)
    hessians /= np.where(active, 1.0, _CLIPPED_WEIGHT).sum(axis=0)[:, None, None]
    hessians -= means[:, :, None] * means[:, None, :]
    return _Moments(means, mean_out, hessians, cross)


def _compute_depthwise_moments(
    conv: g.Conv,
    maps: FloatArray,
    positions: SamplePositions,
    size: tuple[int, ...],
    target: Array,
    active: npt.NDArray[np.bool_],
) -> _Moments:
    """Compute moments of the outputs of a depthwise convolution: the inputs of each are its own channel.

    The channels are processed one at a time: the patches of all channels together would need hundreds of megabytes and
    would be read with large strides.
    """
    channels, kernel = maps.shape[3], conv.kernel.shape[0] * conv.kernel.shape[1]
    padded, index = _index_kernel_inputs(conv, maps, positions, size)
    planes = np.ascontiguousarray(np.moveaxis(padded, 3, 0)).reshape(channels, -1)
    position_weights = np.ascontiguousarray(_normalize_position_weights(active).T)
    targets = np.ascontiguousarray(target.T)
    moments = _Moments(
        np.empty((channels, kernel)), (position_weights * targets).sum(axis=1), np.empty((channels, kernel, kernel)),
        np.empty((channels, kernel)),
    )  # fmt: skip
    for channel in range(channels):
        inputs = planes[channel][index].astype(np.float64)
        weighted = inputs * position_weights[channel]
        moments.means[channel] = mean = weighted.sum(axis=1)
        moments.hessians[channel] = weighted @ inputs.T - np.outer(mean, mean)
        moments.cross[channel] = weighted @ targets[channel] - mean * moments.mean_out[channel]
    return moments


def _fit_per_output(moments: _Moments, weights: Array) -> tuple[npt.NDArray[np.int8], Array, Array]:
    """Fit integers for weights (inputs, outputs) with separate moments for each output."""
    fitted = gptq.fit_weights_per_output(moments.hessians, moments.cross, weights)
    scale = gptq.choose_scales(np.diagonal(moments.hessians, axis1=1, axis2=2).T, fitted)
    integers = gptq.round_weights_per_output(moments.hessians, fitted, scale)
    return integers, scale, moments.mean_out - (moments.means.T * integers * scale).sum(axis=0)


def _draw_positions(shape: tuple[int, ...], sample_weight: FloatArray) -> SamplePositions:
    """Draw positions of a map (n, rows, columns) with a probability proportional to their weight."""
    rng = np.random.default_rng(0)
    _, height, width = shape
    rows = np.arange(height) * sample_weight.shape[1] // height
    columns = np.arange(width) * sample_weight.shape[2] // width
    cumulative = np.cumsum(sample_weight[:, rows[:, None], columns].astype(np.float64))
    flat = np.searchsorted(cumulative, rng.random(_SAMPLE_COUNT) * cumulative[-1])
    return np.unravel_index(np.minimum(flat, cumulative.size - 1), shape)


def _gather_patches(conv: g.Conv, maps: FloatArray, positions: SamplePositions, size: tuple[int, ...]) -> FloatArray:
    """Gather the inputs of the convolution at positions of its result: (positions, rows, columns, channels)."""
    padded, (rows, columns) = _pad_and_index(conv, maps, positions, size)
    return np.asarray(padded[positions[0][:, None, None], rows[:, :, None], columns[:, None, :]])


def _index_kernel_inputs(
    conv: g.Conv, maps: FloatArray, positions: SamplePositions, size: tuple[int, ...]
) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """Return the padded maps and the index of the input of each weight at each position.

    Returns:
        The maps (n, height, width, channels), and indices into the plane of a channel (n * height * width), of shape
        (rows * columns of the kernel, positions).
    """
    padded, (rows, columns) = _pad_and_index(conv, maps, positions, size)
    _, height, width, _ = padded.shape
    index = (positions[0][:, None, None] * height + rows[:, :, None]) * width + columns[:, None, :]
    return padded, np.ascontiguousarray(index.reshape(len(index), -1).T)


def _pad_and_index(
    conv: g.Conv, maps: FloatArray, positions: SamplePositions, size: tuple[int, ...]
) -> tuple[FloatArray, list[npt.NDArray[np.intp]]]:
    """Return the padded maps, and the rows and columns that the kernel covers: each (positions, size of the kernel)."""
    covered, padding = [], []
    for axis in (0, 1):
        span = (conv.kernel.shape[axis] - 1) * conv.dilations[axis] + 1
        if conv.padding == "SAME":
            total = max((size[axis] - 1) * conv.strides[axis] + span - maps.shape[1 + axis], 0)
            padding.append((total // 2, total - total // 2))
        else:
            padding.append((0, 0) if isinstance(conv.padding, str) else conv.padding[axis])
        start = positions[1 + axis][:, None] * conv.strides[axis]
        covered.append(start + np.arange(conv.kernel.shape[axis]) * conv.dilations[axis])
    return np.pad(maps, ((0, 0), *padding, (0, 0))), covered
