"""Channel pruning of a trained network, to make a smaller student that starts near the result of the large network.

Removes input channels of convolutions one by one. Each time, the channel is removed whose removal changes the result
least, and the remaining weights are refitted by least squares: the optimal brain surgeon of Hassibi and Stork, "Second
Order Derivatives for Network Pruning" (1992), for the squared error of one layer. What is needed of the training images
are the second moments of the layer's inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import cv2
import numpy as np
import numpy.typing as npt

from ...runtime.errors import ModelError
from ..ir import graph as g

Matrix = npt.NDArray[np.float64]

_DAMPING = 1e-4
"""Share of the mean second moment that is added to the diagonal, so that the inverse exists."""
_MIN_PRESENCE = 0.15
"""Smallest value of a heatmap that counts as a person."""
_BACKGROUND_LIKELIHOOD = 0.15
"""Likelihood of a position without people, relative to one with people."""


@dataclass(frozen=True)
class PrunedKernel:
    """Kernel and bias of a convolution that reads fewer channels.

    Attributes:
        channels: Indices of the channels that are kept, in ascending order.
        kernel: Refitted kernel (height, width, kept channels, out).
        bias: Refitted bias (out,).
        error: Mean squared change of the result, as a share of its variance.
    """

    channels: npt.NDArray[np.intp]
    kernel: g.Array
    bias: g.Array
    error: float


def list_prunable_convolutions(graph: g.Graph) -> list[str]:
    """List the convolutions whose input channels can be removed, in the order of the graph.

    These are dense convolutions of stride 1 with SAME padding. Their input comes from one other dense convolution,
    through activations and depthwise convolutions only, and nothing else reads these maps.
    """
    return [name for name in graph.nodes if _find_producers(graph, name)]


def get_prunable_convolution(graph: g.Graph, name: str) -> g.Conv:
    """Return a convolution whose input channels can be removed.

    Raises:
        ModelError: There is no such node, or its input channels cannot be removed.
    """
    conv = graph.nodes.get(name)
    if not isinstance(conv, g.Conv) or not _find_producers(graph, name):
        raise ModelError(
            f"{name!r}: the input channels of this node cannot be removed; expected one of "
            + ", ".join(list_prunable_convolutions(graph))
        )
    return conv


def _find_producers(graph: g.Graph, name: str) -> list[str]:
    """Return the nodes between a convolution and the dense convolution that makes its channels, with the latter."""
    conv = graph.nodes[name]
    if not isinstance(conv, g.Conv) or conv.depthwise or not _keeps_size(conv):
        return []
    producers: list[str] = []
    while True:
        name = graph.nodes[name].inputs[0]
        node = graph.nodes[name]
        if len(graph.find_consumers(name)) > 1 or name in (graph.heatmaps, graph.pafs):
            return []
        if not isinstance(node, g.Conv | g.Activation):
            return []
        producers.append(name)
        if isinstance(node, g.Conv):
            if not node.depthwise:
                return producers
            if node.kernel.shape[3] != 1:
                return []


def _keeps_size(conv: g.Conv) -> bool:
    """Return True if the stride is 1 and the padding is SAME; for a 1x1 convolution, VALID is the same."""
    is_pointwise = conv.kernel.shape[:2] == (1, 1)
    return conv.strides == (1, 1) and (conv.padding == "SAME" or (is_pointwise and conv.padding == "VALID"))


def compute_second_moments(conv: g.Conv, maps: g.Array, weight: npt.NDArray[np.floating]) -> Matrix:
    """Compute the second moments of the inputs of a convolution, summed over the positions of some images.

    Args:
        conv: Dense convolution of stride 1 with SAME padding.
        maps: Its input, (n, rows, columns, channels).
        weight: Importance of each position, (n, rows, columns); positions of weight 0 are left out.

    Returns:
        Square matrix. Its rows are the inputs (channel by channel, and within a channel tap by tap) and the constant 1.
    """
    rows, columns = maps.shape[1:3]
    spans = [d * (k - 1) for d, k in zip(conv.dilations, conv.kernel.shape[:2], strict=True)]
    padding = [(0, 0), *((span // 2, span - span // 2) for span in spans), (0, 0)]
    padded = np.pad(maps, padding)
    used = weight > 0
    taps = [
        padded[:, y * conv.dilations[0] :][:, :rows, x * conv.dilations[1] :][:, :, :columns][used]
        for y, x in product(*map(range, conv.kernel.shape[:2]))
    ]
    inputs = np.stack(taps, axis=2).astype(np.float64).reshape(int(used.sum()), -1)
    inputs = np.concatenate((inputs, np.ones((len(inputs), 1))), axis=1)
    return np.asarray(inputs.T @ (inputs * weight[used].astype(np.float64)[:, None]))


def prune_kernel(conv: g.Conv, moments: Matrix, keep: int) -> PrunedKernel:
    """Remove input channels of a convolution and refit its other weights.

    Args:
        conv: Dense convolution.
        moments: Second moments of its inputs, see `compute_second_moments`.
        keep: Number of channels to keep.

    Raises:
        ValueError: `keep` is not between 1 and the number of channels.
    """
    rows, columns, channels, outputs = conv.kernel.shape
    if not 1 <= keep <= channels:
        raise ValueError(f"{conv.name!r}: expected 1 to {channels} channels to keep, got {keep}")
    taps = rows * columns
    bias = np.zeros(outputs) if conv.bias is None else conv.bias
    kernel = conv.kernel.transpose(2, 0, 1, 3).reshape(channels * taps, outputs)
    original = np.concatenate((kernel, bias[None]), axis=0).astype(np.float64)
    moments = moments / moments[-1, -1]
    damped = moments.copy()
    damped.flat[: -1 : len(moments) + 1] += _DAMPING * np.trace(moments[:-1, :-1]) / (channels * taps)
    inverse, weights = np.linalg.inv(damped), original.copy()
    alive = np.arange(channels)
    inputs_of = np.arange(channels * taps).reshape(channels, taps)
    while len(alive) > keep:
        blocks = np.linalg.inv(inverse[inputs_of[alive][:, :, None], inputs_of[alive][:, None, :]])
        own = weights[inputs_of[alive]]
        removed = int(np.argmin(np.einsum("cto,cts,cso->c", own, blocks, own, optimize=True)))
        group = inputs_of[alive[removed]]
        gain = inverse[:, group] @ blocks[removed]
        weights -= gain @ weights[group]
        inverse -= gain @ inverse[group]
        weights[group], inverse[group], inverse[:, group] = 0, 0, 0
        alive = np.delete(alive, removed)
    change, mean = weights - original, moments[-1] @ original
    variance = _compute_power(original, moments) - float(mean @ mean)
    kept = weights[inputs_of[alive]].reshape(keep, rows, columns, outputs).transpose(1, 2, 0, 3)
    return PrunedKernel(
        alive,
        np.ascontiguousarray(kept, np.float32),
        weights[-1].astype(np.float32),
        _compute_power(change, moments) / max(variance, 1e-12),
    )


def _compute_power(weights: Matrix, moments: Matrix) -> float:
    return float(np.sum(weights * (moments @ weights)))


def prune_graph(graph: g.Graph, moments: Mapping[str, Matrix], keep: Mapping[str, int]) -> tuple[g.Graph, list[str]]:
    """Remove input channels of convolutions, and the same channels of the layers that make them.

    Args:
        graph: Folded graph.
        moments: Second moments of the inputs of each of these convolutions.
        keep: Number of channels to keep, by the name of the convolution that reads them.

    Returns:
        The smaller graph, and one line of text per convolution.

    Raises:
        ModelError: A convolution is not among those of `list_prunable_convolutions`.
    """
    nodes, lines = dict(graph.nodes), []
    for name, count in keep.items():
        conv = get_prunable_convolution(replace(graph, nodes=nodes), name)
        pruned = prune_kernel(conv, moments[name], count)
        nodes[name] = replace(conv, kernel=pruned.kernel, bias=pruned.bias)
        for producer in _find_producers(graph, name):
            nodes[producer] = _keep_channels(nodes[producer], pruned.channels)
        lines.append(f"{name}: {conv.kernel.shape[2]} -> {count} channels, error {100 * pruned.error:.2f} %")
    return replace(graph, nodes=nodes), lines


def _keep_channels(node: g.Node, channels: npt.NDArray[np.intp]) -> g.Node:
    if isinstance(node, g.Conv):
        axis = 2 if node.depthwise else 3
        bias = None if node.bias is None else node.bias[channels]
        return replace(node, kernel=np.ascontiguousarray(node.kernel.take(channels, axis)), bias=bias)
    assert isinstance(node, g.Activation)
    rows = {name: getattr(node, name) for name in ("cap", "alpha")}
    per_channel = {name: row.reshape(-1)[channels] for name, row in rows.items() if row is not None and row.size > 1}
    return replace(node, **per_channel)


def choose_positions(heatmaps: g.Array, rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    """Choose positions for `compute_second_moments`: a position near a person is seven times as likely as another.

    Args:
        heatmaps: Heatmaps of the keypoints without the background, (n, rows, columns, keypoints).
        rng: Random numbers.
        count: Number of positions per image; at most half of them are used.

    Returns:
        (n, rows, columns): 1 for the chosen positions, 0 for the others.
    """
    presence = heatmaps.max(axis=-1)
    chosen = np.zeros(presence.shape, np.float32)
    for one, target in zip(presence, chosen, strict=True):
        near = cv2.dilate(one, np.ones((5, 5), np.uint8)) > _MIN_PRESENCE
        likelihood = np.where(near.reshape(-1), 1.0, _BACKGROUND_LIKELIHOOD)
        indices = rng.choice(one.size, min(count, one.size // 2), replace=False, p=likelihood / likelihood.sum())
        target.flat[indices] = 1
    return chosen
