"""Export of a graph to a Keras model: for training, for its summary, and to read a `.weights.h5` file.

Layers have the names of the graph's nodes, with dots instead of slashes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import ModelError
from ..ir import graph as g
from .tensorflow_quiet import import_tensorflow

keras: Any = import_tensorflow().keras
Layer: Any = keras.layers.Layer


@keras.utils.register_keras_serializable("edgepose")
class ResizeLike(Layer):  # type: ignore[misc]
    """Resize of the first feature map to `factor` times the size of the second, as `graph.ResizeLike`."""

    def __init__(
        self,
        factor: int = 1,
        half_pixel_centers: bool = False,
        align_corners: bool = False,
        nearest: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.factor, self.half_pixel_centers = factor, half_pixel_centers
        self.align_corners, self.nearest = align_corners, nearest

    def call(self, maps: list[Any]) -> Any:
        """Resize the first of two feature maps."""
        import tensorflow as tf

        static_size = maps[1].shape[1:3]
        size = static_size if None not in static_size else tf.shape(maps[1])[1:3]
        size = [side * self.factor for side in size] if None not in static_size else size * self.factor
        resize = tf.raw_ops.ResizeNearestNeighbor if self.nearest else tf.raw_ops.ResizeBilinear
        return resize(
            images=maps[0], size=size, half_pixel_centers=self.half_pixel_centers, align_corners=self.align_corners
        )

    def compute_output_shape(self, shapes: list[Any]) -> tuple[Any, ...]:
        """Return the output shape: height and width of the second input times `factor`, channels of the first."""
        sides = (side and side * self.factor for side in shapes[1][1:3])
        return (shapes[0][0], *sides, shapes[0][3])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = {
            "factor": self.factor, "half_pixel_centers": self.half_pixel_centers, "align_corners": self.align_corners,
            "nearest": self.nearest,
        }  # fmt: skip
        return {**super().get_config(), **own}


@keras.utils.register_keras_serializable("edgepose")
class SliceChannels(Layer):  # type: ignore[misc]
    """Channels `start` to `stop` (exclusive) of a feature map, as `graph.Slice`."""

    def __init__(self, start: int, stop: int, **options: Any) -> None:
        super().__init__(**options)
        self.start, self.stop = start, stop

    def call(self, x: Any) -> Any:
        """Cut the channels out of a feature map."""
        return x[..., self.start : self.stop]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "start": self.start, "stop": self.stop}


def to_keras(graph: g.Graph, width: int | None = None, height: int | None = None) -> Any:
    """Create a `keras.Model` with the weights of a graph.

    A batch normalization in training mode starts with mean 0 and variance 1.

    Args:
        graph: The network.
        width: Input width in pixels; None accepts any width.
        height: Input height in pixels; None accepts any height.

    Returns:
        A model whose input is a batch of images (batch, height, width, 3) with values 0 to 255. Its output is a
        dictionary with `heatmaps` and `pafs`.

    Raises:
        ModelError: There is no Keras layer for an operator.
    """
    tensors: dict[str, Any] = {}
    for node in graph.nodes.values():
        if isinstance(node, g.Input):
            tensors[node.name] = keras.Input((height, width, 3), name=_make_layer_name(node.name))
            continue
        inputs = [tensors[i] for i in node.inputs]
        tensors[node.name] = _make_layer(node)(_pad(node, inputs[0]) if len(inputs) == 1 else inputs)
    outputs = {"heatmaps": tensors[graph.heatmaps], "pafs": tensors[graph.pafs]}
    model = keras.Model(tensors[graph.input.name], outputs)
    for node in graph.nodes.values():
        if weights := _get_keras_weights(node):
            model.get_layer(_make_layer_name(node.name)).set_weights(weights)
    return model


def load_weights(graph: g.Graph, path: Path) -> g.Graph:
    """Read a `.weights.h5` file that was written by a model of `to_keras`.

    Returns:
        The graph with these weights.

    Raises:
        ModelError: The file is damaged or belongs to another network.
    """
    model = to_keras(graph)
    try:
        model.load_weights(path)
    except Exception as error:  # h5py, Keras and the file system raise different types
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: cannot read the weights: {reason}") from None
    return from_keras(graph, model)


def from_keras(graph: g.Graph, model: Any) -> g.Graph:
    """Return the graph with the current weights of a model that `to_keras` created from it."""
    changes: dict[str, g.Node | str] = {}
    for node in graph.nodes.values():
        if isinstance(node, g.Conv):
            kernel, *bias = model.get_layer(_make_layer_name(node.name)).get_weights()
            changes[node.name] = replace(node, kernel=kernel, bias=bias[0] if bias else None)
        elif isinstance(node, g.BatchNorm):
            gamma, beta, mean, variance = model.get_layer(_make_layer_name(node.name)).get_weights()
            changes[node.name] = replace(node, gamma=gamma, beta=beta, mean=mean, variance=variance)
        elif isinstance(node, g.Activation) and node.kind == "prelu":
            (alpha,) = model.get_layer(_make_layer_name(node.name)).get_weights()
            changes[node.name] = replace(node, alpha=alpha.reshape(-1))
    return graph.substitute(changes)


def _make_layer_name(node: str) -> str:
    return node.replace("/", ".")


def _get_keras_weights(node: g.Node) -> list[g.Array]:
    match node:
        case g.Conv():
            return [node.kernel] if node.bias is None else [node.kernel, node.bias]
        case g.BatchNorm():
            mean = np.zeros_like(node.beta) if node.mean is None else node.mean
            variance = np.ones_like(node.beta) if node.variance is None else node.variance
            return [node.gamma, node.beta, mean, variance]
        case g.Activation(kind="prelu", alpha=alpha) if alpha is not None:
            return [alpha.reshape(1, 1, -1)]
    return []


def _pad(node: g.Node, x: Any) -> Any:
    padding = getattr(node, "padding", "SAME")
    return x if isinstance(padding, str) else keras.layers.ZeroPadding2D(padding)(x)


def _make_layer(node: g.Node) -> Any:
    layers, name = keras.layers, _make_layer_name(node.name)
    match node:
        case g.Conv():
            options = {
                "kernel_size": node.kernel.shape[:2], "strides": node.strides, "dilation_rate": node.dilations,
                "padding": _format_padding(node.padding), "use_bias": node.bias is not None, "name": name,
            }  # fmt: skip
            if node.depthwise:
                return layers.DepthwiseConv2D(depth_multiplier=node.kernel.shape[3], **options)
            return layers.Conv2D(node.out_channels, **options)
        case g.BatchNorm():
            return layers.BatchNormalization(epsilon=node.epsilon, name=name)
        case g.Affine():
            scale, offset = (v.tolist() if v.size > 1 else float(v[0]) for v in (node.scale, node.offset))
            return layers.Rescaling(scale, offset, name=name)
        case g.Activation():
            return _make_activation(node)
        case g.Add():
            return layers.Add(name=name)
        case g.Concat():
            return layers.Concatenate(name=name)
        case g.MaxPool():
            return layers.MaxPooling2D(node.window, node.strides, padding=_format_padding(node.padding), name=name)
        case g.ResizeLike():
            return ResizeLike(node.factor, node.half_pixel_centers, node.align_corners, node.nearest, name=name)
        case g.Slice():
            return SliceChannels(node.start, node.stop, name=name)
    raise ModelError(f"operator {type(node).__name__} of node {node.name!r} is not supported in Keras models")


def _make_activation(node: g.Activation) -> Any:
    layers, name = keras.layers, _make_layer_name(node.name)
    if node.cap is not None:
        if len(np.unique(node.cap)) > 1:
            raise ModelError(f"{node.name!r}: an activation with a limit per channel is not supported in Keras models")
        return layers.ReLU(float(np.ravel(node.cap)[0]), name=name)
    match node.kind:
        case "leaky_relu":
            return layers.LeakyReLU(node.slope, name=name)
        case "prelu":
            return layers.PReLU(shared_axes=[1, 2], name=name)
    return layers.Activation(node.kind, name=name)


def _format_padding(padding: g.Padding) -> str:
    return padding.lower() if isinstance(padding, str) else "valid"
