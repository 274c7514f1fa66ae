"""Execution of a `Graph` with TensorFlow operators, for calibration, verification and the TFLite exporter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..ir import graph as g


def run_graph(
    graph: g.Graph,
    image: Any,
    node_names: Iterable[str] | None = None,
    observe: Callable[[g.Node, Any], None] | None = None,
    moments: dict[str, tuple[Any, Any]] | None = None,
) -> dict[str, Any]:
    """Compute the output of a graph for a batch of images, eagerly or inside a `tf.function`.

    A node's result is released after its last use, so that large batches fit into memory.

    Args:
        graph: The network.
        image: Tensor (batch, height, width, 3), float32, values 0 to 255, in the channel order of the graph.
        node_names: The names of the nodes to return. Default: the two outputs.
        observe: Called with every node and its result.
        moments: Filled with the mean and variance of the batch for every batch normalization in training mode.

    Returns:
        The results by node name.
    """
    node_names = {graph.heatmaps, graph.pafs} if node_names is None else set(node_names)
    last_use = {source: name for name, node in graph.nodes.items() for source in node.inputs}
    alive: dict[str, Any] = {}
    results: dict[str, Any] = {}
    for name, node in graph.nodes.items():
        value = image if isinstance(node, g.Input) else run_operator(node, [alive[i] for i in node.inputs], moments)
        alive[name] = value
        if observe is not None:
            observe(node, value)
        if name in node_names:
            results[name] = value
            if len(results) == len(node_names):
                break
        for source in {i for i in node.inputs if last_use[i] == name}:
            del alive[source]
    return results


def run_operator(node: g.Node, inputs: list[Any], moments: dict[str, tuple[Any, Any]] | None = None) -> Any:
    """Compute the result of one operator.

    Args:
        node: The operator.
        inputs: The results of the nodes in `node.inputs`.
        moments: As in `run_graph`.

    Raises:
        TypeError: The node type is unknown.
    """
    import tensorflow as tf

    x = inputs[0]
    match node:
        case g.Conv():
            return _convolve(node, x)
        case g.BatchNorm() if node.is_training:
            y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=x, scale=node.gamma, offset=node.beta, mean=[], variance=[], epsilon=node.epsilon, is_training=True
            )
            if moments is not None:
                # The operator returns the unbiased variance but normalizes with the biased one, which is needed here.
                count = x.shape[0] * x.shape[1] * x.shape[2]
                moments[node.name] = (mean, variance * (count - 1) / count)
            return y
        case g.BatchNorm():
            normalize: Any = tf.nn.batch_normalization
            return normalize(x, node.mean, node.variance, node.beta, node.gamma, node.epsilon)
        case g.Affine():
            return x * node.scale + node.offset
        case g.Activation():
            return _activate(node, x)
        case g.Add():
            return inputs[0] + inputs[1]
        case g.Concat():
            return tf.concat(inputs, axis=-1)
        case g.MaxPool():
            return tf.nn.max_pool2d(x, node.window, node.strides, _format_padding(node.padding))
        case g.ResizeLike():
            # tf.image.resize always uses half-pixel centers; these networks often do not.
            size = [side * node.factor for side in inputs[1].shape[1:3]]
            resize = tf.raw_ops.ResizeNearestNeighbor if node.nearest else tf.raw_ops.ResizeBilinear
            return resize(
                images=x, size=size, half_pixel_centers=node.half_pixel_centers, align_corners=node.align_corners
            )
        case g.Slice():
            return x[..., node.start : node.stop]
    raise TypeError(f"unknown node type: {type(node).__name__}")


def _activate(node: g.Activation, x: Any) -> Any:
    import tensorflow as tf

    match node.kind:
        case "relu6" if node.cap is not None:
            return tf.minimum(tf.nn.relu(x), node.cap)
        case "leaky_relu":
            return tf.nn.leaky_relu(x, node.slope)
        case "prelu":
            assert node.alpha is not None
            return tf.nn.relu(x) - node.alpha * tf.nn.relu(-x)
        case "hard_swish":
            return x * tf.nn.relu6(x + 3.0) * (1 / 6)
    functions = {
        "relu": tf.nn.relu, "relu6": tf.nn.relu6, "elu": tf.nn.elu, "sigmoid": tf.nn.sigmoid, "tanh": tf.nn.tanh,
        "swish": lambda y: y * tf.nn.sigmoid(y),
    }  # fmt: skip
    return functions[node.kind](x)


def _convolve(node: g.Conv, x: Any) -> Any:
    import tensorflow as tf

    if node.depthwise:
        # TensorFlow's depthwise convolution does not support explicit padding together with dilation: pad first.
        if not isinstance(node.padding, str):
            x, padding = tf.pad(x, [(0, 0), *node.padding, (0, 0)]), "VALID"
        else:
            padding = node.padding
        y = tf.nn.depthwise_conv2d(x, node.kernel, [1, *node.strides, 1], padding, dilations=node.dilations)
    else:
        y = tf.nn.conv2d(x, node.kernel, node.strides, _format_padding(node.padding), dilations=node.dilations)
    bias: Any = node.bias
    return y if bias is None else tf.nn.bias_add(y, bias)


def _format_padding(padding: g.Padding) -> Any:
    return padding if isinstance(padding, str) else [(0, 0), *padding, (0, 0)]
